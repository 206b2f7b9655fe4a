"""Exports are loaded and run as their users would: in other processes, without this package."""

import collections
import importlib.util
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from hrnet_tf import export
from hrnet_tf.errors import InputError
from hrnet_tf.heatmaps import decode, flip_back
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.build import build_model
from hrnet_tf.models.clones import float32_clone
from hrnet_tf.skeletons import Skeleton

SIZE = (96, 64)
NUM_KEYPOINTS = 5
SKELETON = Skeleton(("nose", "left_eye", "right_eye", "left_ear", "right_ear"), ((1, 2), (3, 4)), (), (0.1,) * 5, ())
CARD = ModelCard("hrnet_w18_small_v1", SIZE, SKELETON)
# Put before a script: makes modules as good as not installed.
HIDE_MODULES = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {names!r} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Hiding, sys.meta_path)
"""


def lively(model):
    """Gives `model` weights under which every layer matters and heatmaps have a spread of about 0.3."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            fan_in = np.prod(weights[0].shape[:3])
            weights[0] = rng.normal(0, np.sqrt(2 / fan_in), weights[0].shape)
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = weights
            weights = [rng.uniform(0.5, 1.0, gamma.shape), rng.normal(0, 0.1, beta.shape)]
            weights += [rng.normal(0, 0.1, mean.shape), rng.uniform(0.5, 1.5, variance.shape)]
        layer.set_weights(weights)
    final = model.get_layer("final_layer")
    kernel, bias = final.get_weights()
    final.set_weights([kernel * 0.3 / model(random_crops(4)).numpy().std(), bias])
    return model


def random_crops(count):
    return np.random.default_rng(1).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def small_model(dtype="float32"):
    return build_model("hrnet_w18_small_v1", SIZE, NUM_KEYPOINTS, dtype=dtype)


def run_python(script, *arguments, cwd, hidden=(), **environment):
    """Runs `script` in a process of its own, in isolated mode, and returns what it printed."""
    result = subprocess.run(
        [sys.executable, "-I", "-c", HIDE_MODULES.format(names=hidden) + script, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def model():
    """Trained, as it were, in mixed precision."""
    model = small_model("mixed_bfloat16")
    model.set_weights(lively(small_model()).get_weights())
    return model


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """More crops than a batch and not a multiple of it."""
    return export.export_all(model, tmp_path_factory.mktemp("exports") / "new", random_crops(10), CARD)


@pytest.fixture(scope="module")
def paths(exported):
    """{format: path of its heatmaps}."""
    return dict(zip(("keras", "saved_model", "onnx"), exported[0], strict=False))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A file of crops and of the heatmaps and keypoints of the float32 model."""
    crops = random_crops(3)
    heatmaps = lively(small_model())(crops).numpy()
    path = tmp_path_factory.mktemp("expected") / "expected.npz"
    np.savez(path, crops=crops, heatmaps=heatmaps, keypoints=decode(heatmaps, "quarter").numpy() * [4, 4, 1])
    return path


def test_export_all_writes_three_formats_that_agree(exported):
    paths, differences = exported
    folder = paths[0].parent
    names = ["model.keras", "saved_model/1", "model.onnx", "keypoints.onnx"]
    assert [str(path.relative_to(folder)) for path in paths] == names
    assert {path.name for path in folder.iterdir()} == {"model.keras", "saved_model", "model.onnx", "keypoints.onnx"}
    assert all(read_card(path) == CARD for path in paths)
    measured = ["model.keras", "saved_model/1 heatmaps", "saved_model/1 keypoints", "model.onnx", "keypoints.onnx"]
    assert list(differences) == measured
    assert max(differences.values()) < 1e-4


@pytest.mark.slow
def test_export_all_writes_what_is_asked_for(model, tmp_path):
    options = export.ExportOptions(flip_test=True, precision="bfloat16", onnx_layout="nchw", int8_symmetric=True)
    formats = ("litert", "onnx", "onnx_float16", "saved_model")
    paths, differences = export.export_all(model, tmp_path, random_crops(2), CARD, formats, options, random_crops(4))
    names = ["model_float32.tflite", "model_float16.tflite", "model.onnx", "keypoints.onnx", "saved_model/1"]
    names += ["model_int8.tflite", "model_int8.onnx", "model_float16.onnx"]
    assert sorted(str(path.relative_to(tmp_path)) for path in paths) == sorted(names)
    assert all(read_card(path) == CARD for path in paths)
    assert not [name for name in differences if "int8" in name]
    assert 1e-4 < differences["saved_model/1 heatmaps"] < 0.05  # of bfloat16
    assert 1e-5 < differences["model_float16.onnx"] < 0.005
    quantized = onnx.load(tmp_path / "model_int8.onnx").graph
    assert onnx.TensorProto.UINT8 not in {tensor.data_type for tensor in quantized.initializer}
    images = tf.constant(random_crops(2))
    signatures = tf.saved_model.load(str(tmp_path / "saved_model" / "1")).signatures
    both = signatures["heatmaps"](images=tf.concat([images, images[:, :, ::-1]], 0))["heatmaps"].numpy()
    averaged = 0.5 * (both[:2] + flip_back(both[2:], SKELETON.flip_pairs).numpy())
    keypoints = signatures["serving_default"](images=images)["keypoints"]
    np.testing.assert_allclose(keypoints, decode(averaged).numpy() * [4, 4, 1], atol=1e-3)
    for name in ("model.onnx", "model_float16.onnx", "model_int8.onnx"):
        assert onnxruntime.InferenceSession(tmp_path / name).get_inputs()[0].shape[1] == 3
    with pytest.raises(ValueError, match=r"`formats` must be of keras, .*Received: torch"):
        export.export_all(model, tmp_path, random_crops(1), CARD, ("torch",))


def test_a_format_that_is_named_twice_is_written_once(model, tmp_path):
    paths, differences = export.export_all(model, tmp_path, random_crops(1), CARD, ("keras", "keras"))
    assert [path.name for path in paths] == ["model.keras"] and len(differences) == 1


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras_file_runs_without_the_package(backend, paths, expected, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    script = """
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
assert {layer.dtype_policy.compute_dtype for layer in model.layers} == {"float32"}
assert not model.compiled
expected = np.load(sys.argv[2])
heatmaps = keras.ops.convert_to_numpy(model(expected["crops"]))
print(keras.backend.backend(), np.abs(heatmaps - expected["heatmaps"]).max())
"""
    printed = run_python(script, paths["keras"], expected, cwd=tmp_path, hidden=["hrnet_tf"], KERAS_BACKEND=backend)
    name, difference = printed.split()
    assert name == backend
    assert float(difference) < 1e-4


def test_saved_model_runs_without_keras(paths, expected, tmp_path):
    script = """
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
expected = np.load(sys.argv[2])
for signature, output in (("heatmaps", "heatmaps"), ("serving_default", "keypoints")):
    for count in (1, 3):
        actual = loaded.signatures[signature](images=tf.constant(expected["crops"][:count]))[output]
        print(np.abs(actual - expected[output][:count]).max())
assert "keras" not in sys.modules
"""
    printed = run_python(script, paths["saved_model"], expected, cwd=tmp_path, hidden=["hrnet_tf", "keras"])
    assert max(map(float, printed.split())) < 1e-4


def test_onnx_graph_is_as_small_as_it_can_be(model, paths):
    proto = onnx.load(paths["onnx"])
    layers = collections.Counter(type(layer) for layer in model.layers)
    census = collections.Counter(node.op_type for node in proto.graph.node)
    # One more Add is the mean of the normalisation; the two transposes are those of input and output.
    fuse_terms = sum(len(layer.input) - 1 for layer in model.layers if isinstance(layer, keras.layers.Add))
    assert census == {
        "Conv": layers[keras.layers.Conv2D],
        "Relu": layers[keras.layers.ReLU],
        "Resize": layers[keras.layers.UpSampling2D],
        "Add": fuse_terms + 1,
        "Transpose": 2,
    }
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 18


def test_onnx_interface(paths, expected):
    session = onnxruntime.InferenceSession(paths["onnx"], providers=["CPUExecutionProvider"])
    (images,), (heatmaps,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(float)", ["batch", *SIZE, 3])
    height, width = SIZE
    assert (heatmaps.name, heatmaps.shape) == ("heatmaps", ["batch", height // 4, width // 4, NUM_KEYPOINTS])
    data = np.load(expected)
    for count in (1, 3):
        (actual,) = session.run(None, {"images": data["crops"][:count].astype(np.float32)})
        np.testing.assert_allclose(actual, data["heatmaps"][:count], atol=1e-4)


@pytest.mark.parametrize(("name", "change"), [("keras", 0.01), ("saved_model", 0.01), ("onnx", 0.01), ("onnx", np.nan)])
def test_checks_name_what_differs(name, change, model, paths):
    other = float32_clone(model)
    bias = other.get_layer("final_layer").bias
    bias.assign(np.array([0] * (NUM_KEYPOINTS - 1) + [change]))
    with pytest.raises(InputError, match=rf"the export {paths[name].name} differs from the model by {change:.3g}"):
        export.check_heatmaps(paths[name], other, random_crops(1))


def test_check_holds_where_the_processor_multiplies_in_ten_bits(model, paths, monkeypatch):
    """TF32, the default of recent GPUs, simulated: convolutions round to 10 bits while TensorFlow has it on."""
    convolution = tf.nn.convolution

    def rounded(values):
        kept = tf.bitwise.bitwise_and(tf.bitcast(values + values / 2**11, tf.int32), ~((1 << 13) - 1))
        return tf.bitcast(kept, tf.float32)

    def in_ten_bits(inputs, kernel, *arguments, **options):
        if tf.config.experimental.tensor_float_32_execution_enabled() and inputs.dtype == tf.float32:
            inputs, kernel = rounded(inputs), rounded(tf.convert_to_tensor(kernel))
        return convolution(inputs, kernel, *arguments, **options)

    monkeypatch.setattr(tf.nn, "convolution", in_ten_bits)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    crops = random_crops(2)
    in_tf32 = keras.models.load_model(paths["keras"])(crops, training=False).numpy()
    assert np.abs(in_tf32 - export.check.model_heatmaps(model, crops)).max() > 1e-4  # the simulation is one
    assert export.check_heatmaps(paths["keras"], model, crops) < 1e-5
    assert tf.config.experimental.tensor_float_32_execution_enabled()


def test_check_finds_wrong_keypoints(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export.saved_model, "crop_pixels", lambda *_: (2, 2))
    export.export_saved_model(model, tmp_path / "half", CARD)
    with pytest.raises(InputError, match=r"half \(keypoints\) differs from the model by"):
        export.check_saved_model(tmp_path / "half", model, random_crops(2), CARD)


def test_keypoint_difference_leaves_ties_open():
    heatmaps = np.zeros((1, 8, 8, 3), np.float32)
    heatmaps[0, 3, 4], heatmaps[0, 3, 5], heatmaps[0, 4, 4] = 1.0, 0.5, 0.5
    keypoints = np.tile(np.array([17, 13, 1], np.float32), (1, 3, 1))
    # The second keypoint has two maxima, the third two larger neighbours, as far as rounding can tell.
    heatmaps[0, 6, 2, 1], heatmaps[0, 6, 3, 1], heatmaps[0, 7, 2, 1] = 1.0 + 1e-6, 0.5, 0.5
    heatmaps[0, 3, 3, 2] = 0.5 + 1e-6
    assert export.check.keypoint_difference(keypoints, heatmaps, 1e-3) < 1e-5
    assert export.check.keypoint_difference(keypoints, heatmaps, 1e-8) == 12  # y of 25, not 13
    assert export.check.keypoint_difference(keypoints + np.array([1, 0, 0]), heatmaps, 1e-3) == 1
    assert export.check.keypoint_difference(keypoints + np.array([0, 0, 0.5]), heatmaps, 1e-3) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "crops", [random_crops(0), random_crops(1)[:, :32], random_crops(1).astype(np.float32), random_crops(1)[0]]
)
def test_checks_reject_crops(crops, model, paths):
    with pytest.raises(InputError, match=r"must be \[N,96,64,3\] uint8"):
        export.check_heatmaps(paths["keras"], model, crops)


def test_failed_check_keeps_older_exports(model, tmp_path, monkeypatch):
    (tmp_path / "model.keras").write_text("older")
    monkeypatch.setattr(export.saved_model, "crop_pixels", lambda *_: (2, 2))
    with pytest.raises(InputError, match=r"1 \(keypoints\) differs"):
        export.export_all(model, tmp_path, random_crops(1), CARD)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "older"


def copy(source, target):
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def test_saved_model_replaces_nothing_but_a_saved_model(model, paths, tmp_path):
    older = tmp_path / "older"
    copy(paths["saved_model"], older)
    (older / "assets" / "left").write_text("over")
    export.export_saved_model(model, older, CARD)
    assert {path.name for path in older.iterdir()} >= {"saved_model.pb", "variables"}
    assert not (older / "assets" / "left").exists()

    (older / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(InputError, match=r"other than a SavedModel \(thesis.tex\)"):
        export.export_saved_model(model, older, CARD)
    with pytest.raises(InputError, match=r"other than a SavedModel \(thesis.tex\)"):
        (tmp_path / "out" / "saved_model").mkdir(parents=True)
        older.rename(tmp_path / "out" / "saved_model" / "1")
        export.export_all(model, tmp_path / "out", random_crops(1), CARD)
    assert (tmp_path / "out" / "saved_model" / "1" / "thesis.tex").exists()


@pytest.mark.slow
def test_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit on the size of files stands for the full disk: writing fails midway all the same."""
    script = """
import resource
from hrnet_tf import export
from hrnet_tf.errors import InputError
from hrnet_tf.models.clones import float32_clone
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.build import build_model
from hrnet_tf.skeletons import COCO
model = build_model("hrnet_w18_small_v1", (64, 64))
card = ModelCard(model.name, (64, 64), COCO)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for write, arguments in (
    (export.export_keras, ["a.keras"]), (export.export_saved_model, ["a", card]), (export.export_onnx, ["a.onnx"])
):
    try:
        write(model, *arguments)
    except InputError as error:
        print(error)
"""
    printed = run_python(script, cwd=tmp_path).splitlines()
    assert [line.split(":")[0] for line in printed] == [f"cannot write {name}" for name in ("a.keras", "a", "a.onnx")]
    assert all("File too large" in line for line in printed)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_model_spread_over_devices(tmp_path):
    script = """
import keras, numpy as np, tensorflow as tf
from hrnet_tf import export
from hrnet_tf.models.build import build_model
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = build_model("hrnet_w18_small_v1", (64, 64), 5)
    for layer in model.layers:
        layer.set_weights([weight + 0.02 for weight in layer.get_weights()])
export.export_keras(model, "out.keras")
crops = np.full((1, 64, 64, 3), 100, np.uint8)
print(np.abs(keras.models.load_model("out.keras")(crops) - model(crops)).max())
"""
    assert float(run_python(script, cwd=tmp_path)) < 1e-4


def test_export_all_into_a_file(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file"):
        export.export_all(model, tmp_path / "file" / "out", random_crops(1), CARD)
