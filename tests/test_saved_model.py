"""The SavedModel: what is in it, loaded as servers load it, and requests that it refuses."""

import collections
import pathlib
import shutil
import struct
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from pose_requests import BOXES, SIZE, SKELETON, card, encoded, signature, smooth_image, smooth_model
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from hrnet_tf.errors import InputError
from hrnet_tf.export.saved_model import export_saved_model
from hrnet_tf.export.warmup import _varint
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.build import build_model

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "tensorflow_example.py"


@pytest.fixture(scope="module")
def model():
    return smooth_model()


@pytest.fixture(scope="module")
def image():
    return smooth_image()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small HRNet, what it was exported to by options, and crops for it."""
    model = build_model("hrnet_w18_small_v1", SIZE, 3)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            fan_in = np.prod(layer.kernel.shape[:3])
            layer.kernel.assign(rng.normal(0, np.sqrt(1.5 / fan_in), layer.kernel.shape))
    folder = tmp_path_factory.mktemp("small")
    for name, options in (("folded", {}), ("bfloat16", {"precision": "bfloat16"})):
        export_saved_model(model, folder / name / "1", card(), **options)
    return model, folder, rng.integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


PNG = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def claiming(side, data):
    """A JPEG file whose header claims another height and width."""
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", side, side) + data[start + 4 :]


BAD_REQUESTS = [
    (lambda data: b"", BOXES, "image must be a JPEG or PNG file"),
    (lambda data: b"no image at all", BOXES, "image must be a JPEG or PNG file"),
    (lambda data: PNG[:10], BOXES, "image must be a JPEG or PNG file"),
    (lambda data: data[: len(data) // 2], BOXES, "Invalid JPEG data"),
    (lambda data: claiming(30_000, data), BOXES, "image must have at most 200000000 pixels"),
    (lambda data: PNG[:16] + struct.pack(">II", 1 << 16, 1 << 16) + PNG[24:], BOXES, "image must have at most"),
    (lambda data: PNG[:16] + struct.pack(">II", 1 << 31, 2) + PNG[24:], BOXES, "image must have at most"),
    (lambda data: PNG[:20], BOXES, "image must be a JPEG or PNG file"),
    (lambda data: PNG[:30], BOXES, "Invalid PNG"),
    (lambda data: cv2.imencode(".gif", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), BOXES, "image must be a JPEG or"),
    (lambda data: data, [[0, 0, np.nan, 5]], "boxes must be"),
    (lambda data: data, [[0, 0, np.inf, 5]], "boxes must be"),
    (lambda data: data, [[0, 0, 10, 10], [0, 0, -1, 5]], "boxes must be"),
    (lambda data: data, [[5, 5, 0, 0]], "boxes must be"),
    (lambda data: data, [[2e6, 5, 1, 1]], "boxes must be"),
    (lambda data: data, [[5, 5, 1, 1]] * 1025, "there must be at most 1024 boxes"),
]


@pytest.mark.parametrize(("change", "boxes", "message"), BAD_REQUESTS)
def test_bad_requests_are_invalid_arguments(change, boxes, message, small, image):
    _, folder, _ = small
    pose = signature(folder / "folded" / "1", "pose")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        pose(image=tf.constant(change(encoded(image))), boxes=tf.constant(boxes, tf.float32))


def test_signatures_take_any_number(small, image):
    _, folder, crops = small
    signatures = tf.saved_model.load(str(folder / "folded" / "1")).signatures
    assert set(signatures) == {"serving_default", "heatmaps", "pose"}
    height, width = SIZE
    for count in (0, 1, 3):
        heatmaps = signatures["heatmaps"](images=crops[:count])["heatmaps"]
        assert heatmaps.shape == (count, height // 4, width // 4, 3)
        assert signatures["serving_default"](images=crops[:count])["keypoints"].shape == (count, 3, 3)
        outputs = signatures["pose"](image=tf.constant(encoded(image)), boxes=tf.constant(BOXES[:count]))
        assert {name: value.shape for name, value in outputs.items()} == {"keypoints": (count, 3, 3), "scores": count}
        assert {value.dtype for value in outputs.values()} == {tf.float32}


@pytest.mark.parametrize(("name", "tolerance"), [("folded", 1e-5), ("bfloat16", 0.05)])
def test_heatmaps_are_the_networks(name, tolerance, small):
    model, folder, crops = small
    expected = model(crops, training=False).numpy()
    actual = signature(folder / name / "1", "heatmaps")(images=crops)["heatmaps"]
    assert actual.dtype == tf.float32
    largest = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, atol=tolerance * largest)
    if name == "bfloat16":
        assert np.abs(actual - expected).max() > 1e-4 * largest


@pytest.mark.slow
def test_normalisation_is_kept_on_demand(small, tmp_path):
    model, _, crops = small
    mixed = build_model("hrnet_w18_small_v1", SIZE, 3, dtype="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    for network, precision, tolerance in ((model, "float32", 1e-5), (mixed, "bfloat16", 1e-2)):
        export_saved_model(model, tmp_path / "1", card(), precision=precision, fold=False)
        actual = signature(tmp_path / "1", "heatmaps")(images=crops)["heatmaps"]
        expected = network(crops, training=False).numpy()
        np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())
        assert operations_of(tmp_path / "1")["Rsqrt"] > 0


def weights_size(path):
    return sum(file.stat().st_size for file in path.glob("variables/variables.data*"))


def test_variables_are_stored_once(small):
    model, folder, _ = small
    size = sum(4 * np.prod(variable.shape) for variable in model.variables)
    assert 0.9 * size <= weights_size(folder / "folded" / "1") <= size
    assert 0.45 * size <= weights_size(folder / "bfloat16" / "1") <= 0.55 * size


def operations_of(path):
    """How many there are of each in the whole SavedModel; also checks that they are stock and run without XLA."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (meta_graph,) = saved.meta_graphs
    functions = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    operations = collections.Counter(node.op for node in nodes)
    assert all(op_def_registry.get(operation) for operation in operations)
    assert not {"PyFunc", "EagerPyFunc"} & set(operations)
    assert not any(entry.attr["_XlaMustCompile"].b for entry in (*functions, *nodes))
    return operations


@pytest.mark.parametrize("name", ["folded", "bfloat16"])
def test_operations_are_stock(name, small):
    model, folder, _ = small
    operations = operations_of(folder / name / "1")
    # One copy of the network, without normalisation, serves all three signatures.
    assert operations["Conv2D"] == sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
    assert operations["Rsqrt"] == 0


def test_loads_as_tensorflow_serving_does(small, image, tmp_path):
    """By TensorFlow's C interface, in a program without Python."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    tensorflow = pathlib.Path(tf.__file__).parent
    libraries = [tensorflow / "libtensorflow_cc.so.2", tensorflow / "libtensorflow_framework.so.2"]
    if not all(library.exists() for library in libraries):
        pytest.skip("this TensorFlow has no C library")
    program, source = tmp_path / "load", pathlib.Path(__file__).with_name("load_saved_model.c")
    options = [f"-I{tensorflow / 'include'}", f"-Wl,-rpath,{tensorflow}"]
    subprocess.run([compiler, "-o", program, source, *options, *libraries], check=True)

    path = small[1] / "folded" / "1"
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    pose = saved.meta_graphs[0].signature_def["pose"]
    output, index = pose.outputs["keypoints"].name.split(":")
    tensors = [pose.inputs[name].name.split(":")[0] for name in ("image", "boxes")]

    def run(data, boxes):
        (tmp_path / "image").write_bytes(data)
        numbers = np.ravel(boxes).tolist()
        command = [program, path, tmp_path / "image", *tensors, output, index, *numbers]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    result = run(encoded(image), BOXES)
    assert result.returncode == 0, result.stdout + result.stderr
    expected = signature(path, "pose")(image=tf.constant(encoded(image)), boxes=tf.constant(BOXES))["keypoints"]
    np.testing.assert_allclose(list(map(float, result.stdout.split())), np.ravel(expected), atol=1e-3)
    nobody = run(encoded(image), [])
    assert (nobody.returncode, nobody.stdout) == (0, "")
    refused = run(b"no image", BOXES)
    assert (refused.returncode, refused.stdout.split()[0]) == (2, str(tf.errors.INVALID_ARGUMENT))
    assert "image must be a JPEG or PNG file" in refused.stdout


def test_model_card_lies_in_the_folder(small):
    assert read_card(small[1] / "folded" / "1") == card()


def test_warmup_requests_are_the_servers_messages(small):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path = small[1] / "folded" / "1"
    records = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    signatures = tf.saved_model.load(str(path)).signatures
    requests = [logs.PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    counts = {name: [] for name in signatures}
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        (count,) = {len(value) for value in signatures[request.model_spec.signature_name](**inputs).values()}
        counts[request.model_spec.signature_name].append(count)
    assert counts == {"serving_default": [1], "heatmaps": [1], "pose": [1, 2, 4, 8, 16]}


@pytest.mark.parametrize(("value", "data"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varint(value, data):
    assert _varint(value) == data


def test_refusals(model, tmp_path):
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, bfloat16. Received: 'int8'"):
        export_saved_model(model, tmp_path / "1", card(), precision="int8")
    with pytest.raises(ValueError, match=r"Received: \(64, 64\) and 3"):
        export_saved_model(model, tmp_path / "1", ModelCard("smooth", (64, 64), SKELETON))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file"):
        export_saved_model(model, tmp_path / "file" / "1", card())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_example_needs_tensorflow_alone(small, image, tmp_path):
    path = small[1] / "folded" / "1"
    (tmp_path / "image.jpg").write_bytes(encoded(image))
    box = [20, 10, 60, 90]
    script = "import runpy, sys\n"
    script += 'sys.modules |= dict.fromkeys(("hrnet_tf", "keras", "cv2", "onnxruntime"))\n'
    script += 'sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name="__main__")'
    arguments = [EXAMPLE, path, tmp_path / "image.jpg", *box]
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert tuple(line[0] for line in lines) == SKELETON.names
    boxes = tf.constant([box], tf.float32)
    expected = signature(path, "pose")(image=tf.constant(encoded(image)), boxes=boxes)["keypoints"][0]
    np.testing.assert_allclose(np.array([line[1:] for line in lines], float), expected, atol=0.006)
