"""Networks, weights and model cards that are cut off, huge, or programs: one line."""

import json
import os
import struct
import subprocess
import sys
import warnings
import zipfile

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from tool_runs import ROOT, SECONDS

from hrnet_tf.detection import PersonDetector
from hrnet_tf.errors import InputError
from hrnet_tf.model_card import read_card
from hrnet_tf.model_files import check_model_file
from hrnet_tf.prediction.network import load_network
from hrnet_tf.prediction.runners import heatmap_runner
from hrnet_tf.weights import read_checkpoint


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory):
    """The bytes of a `.keras` file of a small network."""
    images = keras.Input((32, 32, 3))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model(images, keras.layers.Conv2D(17, 3, 4, "same")(images)).save(path)
    return path.read_bytes()


def save_onnx(path, nodes, shape):
    """An ONNX file that makes `heatmaps` [batch,8,8,17] of `images`, or says so."""
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)
    heatmaps = onnx.helper.make_tensor_value_info("heatmaps", onnx.TensorProto.FLOAT, ["batch", 8, 8, 17])
    graph = onnx.helper.make_graph(nodes, "network", [images], [heatmaps])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))


class TestModels:
    def test_a_litert_file_that_is_cut_off_or_has_no_graph(self, tmp_path):
        """In a process of its own, which the code as it was ended with."""
        script = f"""
import flatbuffers
import tensorflow as tf
from tensorflow.lite.python.schema_py_generated import ModelT
from hrnet_tf.errors import InputError
from hrnet_tf.prediction.runners import heatmap_runner
@tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
def network(images):
    return tf.nn.conv2d(images, tf.ones((3, 3, 3, 17)), 4, "SAME")
converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], network)
content, path = converter.convert(), {str(tmp_path / "model.tflite")!r}
empty, builder = ModelT.InitFromPackedBuf(content, 0), flatbuffers.Builder()
empty.subgraphs = None
builder.Finish(empty.Pack(builder), b"TFL3")
lengths = (0, 7, 100, len(content) // 2, len(content) * 9 // 10)
for damaged in (*(content[:length] for length in lengths), bytes(builder.Output())):
    open(path, "wb").write(damaged)
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
        assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [*(6 * ["refused"]), "17"]

    @pytest.mark.parametrize("suffix", [".keras", ".onnx"])
    def test_other_files_that_are_cut_off(self, suffix, tmp_path, whole_model):
        path = tmp_path / f"model{suffix}"
        save_onnx(path, [onnx.helper.make_node("Identity", ["images"], ["heatmaps"])], ["batch", 32, 32, 3])
        whole = whole_model if suffix == ".keras" else path.read_bytes()
        for length in (0, 7, len(whole) // 2, len(whole) - 3):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"cannot be loaded|does not"):
                load_network(path)

    def test_networks_of_huge_images_are_not_run(self, tmp_path):
        for suffix, shape in ((".onnx", ["batch", 1 << 22, 32, 3]), (".keras", [1 << 22, 32, 3])):
            path = tmp_path / f"huge{suffix}"
            if suffix == ".onnx":
                save_onnx(path, [onnx.helper.make_node("Identity", ["images"], ["heatmaps"])], shape)
            else:
                images = keras.Input(shape)
                keras.Model(images, keras.layers.Conv2D(17, 3, 4, "same")(images)).save(path)
            with pytest.raises(InputError, match=r"4194304.* pixels, of at most 4096 a side"):
                load_network(path)

    def test_a_file_that_loads_and_cannot_be_run(self, tmp_path):
        """The number of images becomes a shape that these have not."""
        nodes = [
            onnx.helper.make_node("MaxPool", ["images"], ["pooled"], kernel_shape=[4, 1], strides=[4, 1]),
            onnx.helper.make_node("Constant", [], ["shape"], value_ints=[-1, 8, 8, 17]),
            onnx.helper.make_node("Reshape", ["pooled", "shape"], ["heatmaps"]),
        ]
        save_onnx(tmp_path / "a.onnx", nodes, ["batch", 32, 32, 3])
        runner = heatmap_runner(tmp_path / "a.onnx")
        with pytest.raises(InputError, match=r"a.onnx cannot be run: .*Reshape"):
            runner(np.zeros((1, 32, 32, 3), np.uint8))

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
