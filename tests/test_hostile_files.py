"""Paths that are no files, outputs over inputs, and files that were made to do harm: one line, and nothing hangs."""

import json
import os
import stat
import struct
import subprocess
import sys
import threading
import warnings
import zipfile

import cv2
import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from absl import flags
from conftest import write_dataset
from tool_runs import ROOT, complaint

from hrnet_tf import doctor
from hrnet_tf.cli import flag_groups, places
from hrnet_tf.data import pixels
from hrnet_tf.data.records import read_image
from hrnet_tf.detection import PersonDetector
from hrnet_tf.errors import InputError
from hrnet_tf.files import read_json, read_mat, replacing
from hrnet_tf.inputs import load_image
from hrnet_tf.model_card import read_card
from hrnet_tf.model_files import check_model_file
from hrnet_tf.prediction import results, video
from hrnet_tf.prediction.network import load_network
from hrnet_tf.weights import read_checkpoint

SECONDS = 120  # a process that waits for ever is ended then


def command(*arguments, **options):
    """Runs `hrnet-tf` with arguments in a process of its own."""
    line = [sys.executable, "-m", "hrnet_tf.cli", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, **options)


def make_device(path, minor):
    """A device like /dev/null, 3, or /dev/full, 7."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, minor))
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        pytest.skip("devices can be made by root alone")
    return path


class TestOutputPaths:
    """Devices are made for the test: what goes wrong with those of /dev goes wrong for the whole machine."""

    def test_a_device_is_written_to(self, tmp_path):
        null, full = make_device(tmp_path / "null", 3), make_device(tmp_path / "full", 7)
        with replacing(null) as temporary:
            temporary.write_text("content")
        no_space = pytest.raises(InputError, match=r"full: No space left on device")
        with no_space, replacing(full) as temporary:
            temporary.write_text("content")
        assert stat.S_ISCHR(null.stat().st_mode)
        assert stat.S_ISCHR(full.stat().st_mode)

    def test_a_link_stays_and_what_it_points_to_is_written(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        target, link = tmp_path / "elsewhere" / "target.txt", tmp_path / "link.txt"
        link.symlink_to(target)
        for text in ("first", "second"):  # there is no target at first
            with replacing(link) as temporary:
                temporary.write_text(text)
            assert (link.is_symlink(), target.read_text()) == (True, text)

    def test_a_pipe_is_written_to_where_somebody_reads(self, tmp_path):
        pipe, read = tmp_path / "pipe", []
        os.mkfifo(pipe)
        with pytest.raises(InputError, match=r"pipe: it is a pipe \(FIFO\) that nobody reads"), replacing(pipe):
            pytest.fail("nothing to write to")
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        thread = threading.Thread(target=lambda: read.append(os.fdopen(reader, "rb").read()))
        with replacing(pipe) as temporary:
            thread.start()
            temporary.write_bytes(bytes(1 << 20))  # more than a pipe holds
        thread.join(SECONDS)
        assert (read, stat.S_ISFIFO(pipe.stat().st_mode)) == ([bytes(1 << 20)], True)

    def test_what_is_written_to_standard_output_comes_after_what_was_printed(self, tmp_path):
        script = """
from hrnet_tf.files import replacing
print("before")
with replacing("/dev/fd/1") as temporary:
    temporary.write_text("content\\n")
print("after")
"""
        with open(tmp_path / "out.txt", "w") as file:
            subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=file, timeout=SECONDS, check=True)
        assert (tmp_path / "out.txt").read_text() == "before\ncontent\nafter\n"


class TestOutputsOverInputs:
    def test_a_command_refuses(self, tmp_path):
        write_dataset(tmp_path)
        annotations = tmp_path / "annotations" / "person_keypoints_tiny.json"
        before = annotations.read_bytes()
        result = command("check", f"--data_dir={tmp_path}", "--split=tiny", f"--json={annotations}")
        assert "--json would replace the annotations of --split" in complaint(result)
        assert annotations.read_bytes() == before

    def test_the_names_of_results_are_known(self):
        assert {results.JSON_NAME, results.CSV_NAME} <= set(places.WRITTEN)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"json": "link.json"}, "--json would replace the annotations of --split"),
            ({"picture": "images/tiny/000000000001.jpg"}, "--picture is a file in the folder of the images of --split"),
            ({"model": "best.keras", "metrics": "best.keras"}, "--metrics would replace --model"),
            ({"model": "saved", "sheet": "saved/variables/a.png"}, "--sheet is a file in the folder of --model saved/"),
            ({"model": "out/model.keras", "out_dir": "out"}, "model.keras of --out_dir would replace --model"),
            ({"detections": "out/predictions.json", "out_dir": "out"}, "predictions.json of --out_dir would replace"),
            ({"weights": "best.keras", "out": "./best.keras"}, "--out would replace --weights"),
            ({"json": "report.json", "picture": "new.jpg", "out_dir": "out"}, ""),
        ],
    )
    def test_flags(self, given, said, tmp_path, monkeypatch):
        write_dataset(tmp_path)
        names = ("best.keras", "report.json", "out/model.keras", "out/predictions.json", "saved/variables/a.png")
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "link.json").symlink_to(tmp_path / "annotations" / "person_keypoints_tiny.json")
        monkeypatch.chdir(tmp_path)
        values = flags.FlagValues()
        for name, value in ({"data_dir": ".", "split": "tiny", "dataset": "coco"} | given).items():
            flags.DEFINE_string(name, value, "", flag_values=values)
        values(["test"])
        if said:
            with pytest.raises(InputError, match=said):
                places.check(values)
        else:
            places.check(values)


class TestInputPaths:
    """In a process of its own where the code as it was waited for ever, or read a device without an end."""

    @pytest.mark.parametrize("read", [read_json, lambda path: read_mat(path, ["a"]), load_image])
    def test_a_device_is_refused(self, read):
        with pytest.raises(InputError, match=r"/dev/null: it is a device. Give a file"):
            read("/dev/null")

    @pytest.mark.parametrize("read", [load_network, read_json, read_card, load_image, read_checkpoint])
    def test_paths_that_are_none_are_refused(self, read):
        for path, said in ((f"{'a' * 5000}.keras", "File name too long"), ("a\0.keras", "null")):
            with pytest.raises(InputError, match=said):
                read(path)

    def test_pipes_are_refused(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        os.mkfifo(tmp_path / "pipe.onnx")
        write_dataset(tmp_path)
        os.mkfifo(tmp_path / "images" / "tiny" / "pipe.jpg")
        script = f"""
from hrnet_tf.data.header import read_header
from hrnet_tf.errors import InputError
from hrnet_tf.files import read_json, read_mat
from hrnet_tf.inputs import load_image
from hrnet_tf.prediction.sources import find_images
from hrnet_tf.prediction.network import load_network
from hrnet_tf.prediction.runners import heatmap_runner
from hrnet_tf.prediction.video import is_video
from hrnet_tf.weights import read_checkpoint
pipe, onnx = {str(tmp_path / "pipe")!r}, {str(tmp_path / "pipe.onnx")!r}
assert read_header(pipe) is None
for read in (read_json, lambda path: read_mat(path, ["a"]), load_image, is_video, read_checkpoint):
    try:
        read(pipe)
    except InputError as error:
        print(error)
for read in (load_network, heatmap_runner):
    try:
        read(onnx)
    except InputError as error:
        print(error)
print(len(find_images({str(tmp_path / "images" / "tiny")!r}, print)))
"""
        result = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        lines = result.stdout.splitlines()
        assert result.returncode == 0, result.stderr
        assert len(lines) == 9
        assert all("it is a pipe (FIFO). Give a file" in line for line in lines[:-1]), lines
        assert lines[-1] == "4"


class TestPixels:
    @pytest.fixture
    def limit(self):
        """Sets the limit of pixels for a test."""
        yield pixels.limit_pixels
        pixels.limit_pixels(pixels.DEFAULT_MAX_PIXELS)

    @pytest.mark.parametrize(
        "suffix", [".jpg", ".png", ".gif", ".bmp", ".tiff", ".webp", ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".pam"]
    )
    def test_the_size_is_told_from_the_header(self, suffix, tmp_path, limit):
        path = tmp_path / f"image{suffix}"
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
        image = image[..., 0] if suffix in (".pgm", ".pbm") else image
        assert cv2.imwrite(str(path), image)
        assert pixels.stored_size(path.read_bytes()) == (70, 50)
        limit(50 * 70)
        assert read_image(path).shape == (50, 70, 3)
        limit(50 * 70 - 1)
        with pytest.raises(pixels.TooManyPixelsError, match=r"has 70 x 50 pixels, more than 3499.*--max_pixels"):
            read_image(path)

    def test_a_few_bytes_that_claim_gigabytes_are_not_decoded(self, tmp_path):
        screen = b"GIF89a" + struct.pack("<HH", 30000, 30000) + b"\x80\0\0" + bytes(6)
        frame = b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0;"
        (tmp_path / "bomb.gif").write_bytes(screen + frame)
        _, jpeg = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
        claimed = jpeg.tobytes().replace(struct.pack(">HH", 16, 16), struct.pack(">HH", 30000, 30000), 1)
        (tmp_path / "bomb.jpg").write_bytes(claimed)
        for name in ("bomb.gif", "bomb.jpg"):
            with pytest.raises(InputError, match=rf"{name} has 30000 x 30000 pixels, more than 200000000"):
                load_image(tmp_path / name)

    def test_arrays_count_too(self, limit):
        limit(99)
        with pytest.raises(InputError, match=r"an image has 10 x 10 pixels"):
            load_image(np.zeros((10, 10, 3), np.uint8))

    def test_frames_of_videos_count_too(self, tmp_path, limit):
        path = tmp_path / "video.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
        limit(64 * 48 - 1)
        too_many = pytest.raises(InputError, match=r"video.avi has 64 x 48 pixels")
        with video.open_video(path) as opened, too_many:
            list(opened)

    def test_the_doctor_names_them(self, tmp_path, limit):
        content = write_dataset(tmp_path)
        image = content["images"][1]
        cv2.imwrite(str(tmp_path / "images" / "tiny" / image["file_name"]), np.zeros((240, 320, 3), np.uint8))
        limit(200 * 200)
        report, _ = doctor.check_split(tmp_path, "tiny")
        (finding,) = [finding for finding in report.findings if finding.code == "image_too_large"]
        assert (finding.severity, finding.count) == ("error", 1)


class TestModels:
    def test_a_litert_file_that_is_cut_off(self, tmp_path):
        """In a process of its own, which the code as it was ended with."""
        script = f"""
import tensorflow as tf
from hrnet_tf.errors import InputError
from hrnet_tf.prediction.runners import heatmap_runner
@tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
def network(images):
    return tf.nn.conv2d(images, tf.ones((3, 3, 3, 17)), 4, "SAME")
converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], network)
content, path = converter.convert(), {str(tmp_path / "model.tflite")!r}
for length in (0, 7, 100, len(content) // 2, len(content) * 9 // 10):
    open(path, "wb").write(content[:length])
    try:
        heatmap_runner(path)
    except InputError as error:
        print("refused:", error)
open(path, "wb").write(content)
print(heatmap_runner(path).num_keypoints)
"""
        line = [sys.executable, "-c", script]
        result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert result.returncode == 0, result.stderr
        assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [*(5 * ["refused"]), "17"]

    @pytest.mark.parametrize("suffix", [".keras", ".onnx"])
    def test_other_files_that_are_cut_off(self, suffix, tmp_path, whole_model):
        path = tmp_path / f"model{suffix}"
        images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 32, 32, 3])
        nodes = [onnx.helper.make_node("Identity", ["images"], ["heatmaps"])]
        graph = onnx.helper.make_graph(nodes, "cut off", [images], [onnx.ValueInfoProto(name="heatmaps")])
        whole = whole_model if suffix == ".keras" else onnx.helper.make_model(graph).SerializeToString()
        for length in (0, 7, len(whole) // 2, len(whole) - 3):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"cannot be loaded|does not"):
                load_network(path)

    @pytest.mark.parametrize("name", ["model_card.json", "config.json", "model.weights.h5"])
    def test_what_is_read_at_once_of_a_keras_file_is_limited(self, name, tmp_path, whole_model):
        path = tmp_path / "model.keras"
        path.write_bytes(whole_model)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a name that is there already
            archive.writestr(name, b" " * (length := 40 << 20))
        assert path.stat().st_size < length / 10
        with pytest.raises(
            InputError, match=r"a model card has at most|config.json in it has 41943040 bytes|no weights do"
        ):
            read_card(path) if name == "model_card.json" else load_network(path)

    def test_a_detector_in_a_zip_file_is_limited(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "detector.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("end2end.onnx", bytes(40 << 20))
        with pytest.raises(
            InputError, match=r"end2end.onnx in it unpacks from \d+ bytes to 41943040, which no weights"
        ):
            PersonDetector(tmp_path / "detector.zip")

    def test_a_card_beside_a_file_is_limited(self, tmp_path):
        (tmp_path / "model.tflite").touch()
        with open(tmp_path / "model.json", "wb") as file:
            file.truncate(3 << 30)
        with pytest.raises(InputError, match=r"model.tflite: a model card has at most 1048576 bytes"):
            read_card(tmp_path / "model.tflite")

    def test_a_safetensors_header_is_limited(self, tmp_path):
        path, header = tmp_path / "a.safetensors", json.dumps({"a": [0] * (6 << 20)}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(InputError, match=r"its header has \d+ bytes, of at most 16777216"):
            read_checkpoint(path)

    def test_a_pickle_is_limited(self, tmp_path):
        path = tmp_path / "a.pth"
        data = b"\x80\x02" + 3_000_000 * b"}" + b"."
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        with pytest.raises(InputError, match=r"its pickle has more than 2000000 operations"):
            read_checkpoint(path)


class _Program(tf.Module):
    """A SavedModel to be, which does `what` besides computing."""

    def __init__(self, what):
        super().__init__()
        self.what, self.scale = what, tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.uint8)])
    def heatmaps(self, images):
        self.what()
        return {"heatmaps": tf.zeros((tf.shape(images)[0], 8, 8, 17)) * self.scale}


class TestSavedModels:
    @pytest.mark.parametrize(
        ("what", "name"),
        [
            (lambda path: tf.io.write_file(path, "x"), "WriteFile"),
            (lambda path: tf.io.read_file(path), "ReadFile"),
            (lambda path: tf.print("x", output_stream=f"file://{path}"), "PrintV2"),
            (lambda path: tf.numpy_function(lambda: None, [], []), "PyFunc"),
            (
                lambda path: tf.raw_ops.SaveV2(
                    prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.ones(1)]
                ),
                "MergeV2Checkpoints, RestoreV2, SaveV2",
            ),
        ],
    )
    def test_what_does_more_than_compute_is_refused(self, what, name, tmp_path):
        program = _Program(lambda: what(str(tmp_path / "written")))
        tf.saved_model.save(program, tmp_path / "model", signatures={"heatmaps": program.heatmaps})
        with pytest.raises(InputError, match=rf"does more than compute: {name}\. If you trust .*--trust_model"):
            load_network(tmp_path / "model")
        network, _ = load_network(tmp_path / "model", trusted=True)
        assert network.num_keypoints == 17
        assert not list(tmp_path.glob("written*"))

    def test_what_keras_and_tensorflow_write_is_taken(self, tmp_path):
        layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
        keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Resizing(4, 4)]).export(
            tmp_path / "keras", verbose=False
        )

        class Plain(tf.Module):
            def __init__(self):
                super().__init__()
                self.count = tf.Variable(1.0)
                table = tf.lookup.KeyValueTensorInitializer([1], [2])
                self.table = tf.lookup.StaticHashTable(table, 0)

            @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
            def run(self, numbers):
                for _ in tf.range(3):
                    self.count.assign_add(1.0)
                tf.debugging.assert_positive(self.count)
                return tf.cast(self.table.lookup(numbers), tf.float32) * self.count + tf.random.uniform([])

        plain = Plain()
        tf.saved_model.save(plain, tmp_path / "plain", signatures={"run": plain.run})
        check_model_file(tmp_path / "keras")
        check_model_file(tmp_path / "plain")

    def test_damaged_and_huge_graphs(self, tmp_path):
        program = _Program(lambda: None)
        tf.saved_model.save(program, tmp_path, signatures={"heatmaps": program.heatmaps})
        graph = tmp_path / "saved_model.pb"
        content = graph.read_bytes()
        for length in (10, len(content) // 2, len(content) - 1):
            graph.write_bytes(content[:length])
            with pytest.raises(InputError, match=r"cannot be loaded"):
                load_network(tmp_path)
        graph.write_bytes(content)
        os.truncate(tmp_path / "variables" / "variables.data-00000-of-00001", 2)
        with pytest.raises(InputError, match=r"cannot be loaded"):
            load_network(tmp_path)
        os.truncate(graph, 3 << 30)
        with pytest.raises(InputError, match=r"saved_model.pb has 3221225472 bytes, of at most 268435456"):
            load_network(tmp_path)
        graph.unlink()
        os.mkfifo(tmp_path / "assets" / "pipe")
        graph.write_bytes(content)
        with pytest.raises(InputError, match=r"it is a pipe"):
            load_network(tmp_path)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (f"--flagfile={'a' * 5000}", "File name too long"),
        ("--batch_size=12345678901234567890", "--batch_size=12345678901234567890"),
        ("--score_threshold=nan", "--score_threshold must be a finite number. Received: nan"),
    ],
)
def test_absurd_flags(argument, said, tmp_path):
    write_dataset(tmp_path)
    given = ["--model=a.keras", f"--input={tmp_path / 'images' / 'tiny'}", "--out_dir=/tmp", "--whole_image", argument]
    assert said in complaint(command("predict", *given))


def test_absurd_sizes():
    assert flag_groups.parse_size("4096x32") == (4096, 32)
    for text in ("4128x32", f"32x{32 * 10**20}", "nanx32"):
        assert flag_groups.parse_size(text) is None


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory):
    """The bytes of a `.keras` file of a small network."""
    images = keras.Input((32, 32, 3))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model(images, keras.layers.Conv2D(17, 3, 4, "same")(images)).save(path)
    return path.read_bytes()
