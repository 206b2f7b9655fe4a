"""Inputs that are no files, claim gigabytes or were made to do harm: one line, and nothing hangs."""

import os
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
import scipy.io
from conftest import write_dataset
from tool_runs import ROOT, SECONDS, complaint, hrnet_tf_command

from hrnet_tf import doctor, mat_files
from hrnet_tf.cli import flag_groups
from hrnet_tf.data import pixels
from hrnet_tf.data.records import read_image
from hrnet_tf.errors import InputError
from hrnet_tf.files import read_json
from hrnet_tf.inputs import load_image
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction import video
from hrnet_tf.prediction.network import load_network
from hrnet_tf.weights import read_checkpoint


class TestInputPaths:
    """In a process of its own where the code as it was waited for ever, or read a device without an end."""

    @pytest.mark.parametrize("read", [read_json, lambda path: mat_files.read_mat(path, ["a"]), load_image])
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
from hrnet_tf.files import read_json
from hrnet_tf.mat_files import read_mat
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


class TestImages:
    def test_a_png_chunk_that_claims_gigabytes(self, tmp_path):
        """OpenCV allocates them. In a process of its own, to see what it takes."""
        png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
        (tmp_path / "chunk.png").write_bytes(png[:33] + struct.pack(">I", 0x7FFFFFFF) + b"acTL" + png[33:])
        script = f"""
import resource
from hrnet_tf.data.records import read_image
from hrnet_tf.errors import InputError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image({str(tmp_path / "chunk.png")!r})
except InputError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
        said, kilobytes = done.stdout.splitlines()
        assert "chunk.png: truncated or damaged, though it begins as a PNG image" in said
        assert int(kilobytes) < 500_000

    def test_a_png_with_something_behind_it_is_read(self, tmp_path):
        image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
        path = tmp_path / "more.png"
        path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes() + b"more")
        np.testing.assert_array_equal(read_image(path), image)


class TestMatlabFiles:
    @pytest.mark.parametrize(
        ("program", "said"),
        [
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it is damaged"),
            ("import pickle, sys; sys.stdout.buffer.write(pickle.dumps(print))", "it holds a print"),
            ("", "it is damaged"),
            ("import sys; sys.exit('some reason')", "some reason"),
            ("import time; time.sleep(60)", "it takes more than 1 s"),
        ],
    )
    def test_whatever_becomes_of_the_process_that_reads_is_one_line(self, program, said, tmp_path, monkeypatch):
        (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(200))
        monkeypatch.setattr(mat_files, "_PROGRAM", program)
        if "sleep" in program:
            monkeypatch.setattr(mat_files, "_MAX_SECONDS", 1)
        with pytest.raises(InputError, match=rf"cannot read .*a.mat as a MATLAB file: {said}$"):
            mat_files.read_mat(tmp_path / "a.mat", ["a"])

    def test_a_file_that_ends_the_process_of_scipy(self, tmp_path):
        scipy.io.savemat(tmp_path / "a.mat", {"a": np.array(["rank", "rkne"], object)})
        data = (tmp_path / "a.mat").read_bytes()
        assert data.count(b"\x10\0\x04\0rank") == 1
        (tmp_path / "a.mat").write_bytes(data.replace(b"\x10\0\x04\0rank", b"\xd2\0\x04\0rank"))  # no type of text
        with pytest.raises(InputError, match=r"a.mat as a MATLAB file: "):
            mat_files.read_mat(tmp_path / "a.mat", ["a"])

    def test_structs_come_through(self, tmp_path):
        content = {"a": np.array([(1.5, "text")], [("x", "O"), ("y", "O")]), "b": np.arange(3), "c": ["p", "qr"]}
        scipy.io.savemat(tmp_path / "a.mat", content)
        for options in ({}, {"struct_as_record": False, "squeeze_me": True}):
            found = mat_files.read_mat(tmp_path / "a.mat", ["a", "b"], **options)
            expected = scipy.io.loadmat(tmp_path / "a.mat", variable_names=["a", "b"], **options)
            assert set(found) == set(expected)
            np.testing.assert_array_equal(found["b"], expected["b"])
        assert (found["a"].x, found["a"].y) == (1.5, "text")


def test_json_is_limited(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.write(b"[1,")
        file.truncate(3 << 30)
    with pytest.raises(InputError, match=r"a.json has 3221225472 bytes, of at most 2147483648"):
        read_json(tmp_path / "a.json")


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
    assert said in complaint(hrnet_tf_command("predict", *given))


def test_absurd_sizes():
    assert flag_groups.parse_size("4096x32") == (4096, 32)
    for text in ("4128x32", f"32x{32 * 10**20}", "nanx32"):
        assert flag_groups.parse_size(text) is None
