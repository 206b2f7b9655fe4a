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
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from hrnet_tf import export
from hrnet_tf.errors import InputError
from hrnet_tf.export.keras_file import float32_clone
from hrnet_tf.heatmaps import decode
from hrnet_tf.models.build import build_model

SIZE = (96, 64)
NUM_KEYPOINTS = 5
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
    return export.export_all(model, tmp_path_factory.mktemp("exports") / "new", random_crops(10))


@pytest.fixture(scope="module")
def paths(exported):
    return exported[0]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A file of crops and of the heatmaps and keypoints of the float32 model."""
    crops = random_crops(3)
    heatmaps = lively(small_model())(crops).numpy()
    path = tmp_path_factory.mktemp("expected") / "expected.npz"
    np.savez(path, crops=crops, heatmaps=heatmaps, keypoints=decode(heatmaps, "quarter").numpy() * [4, 4, 1])
    return path


def test_export_all_writes_three_that_agree(exported):
    paths, differences = exported
    folder = paths["keras"].parent
    assert {name: path.name for name, path in paths.items()} == {
        "keras": "model.keras",
        "saved_model": "saved_model",
        "onnx": "model.onnx",
    }
    assert {path.name for path in folder.iterdir()} == {path.name for path in paths.values()}
    assert set(differences) == {"keras", "saved_model", "saved_model keypoints", "onnx"}
    assert max(differences.values()) < 1e-4


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


def test_saved_model_signatures(paths):
    signatures = tf.saved_model.load(str(paths["saved_model"])).signatures
    assert set(signatures) == {"serving_default", "heatmaps"}
    for signature in signatures.values():
        assert signature.structured_input_signature[1] == {
            "images": tf.TensorSpec((None, *SIZE, 3), tf.uint8, "images")
        }
    keypoints, heatmaps = (signatures[name].structured_outputs for name in ("serving_default", "heatmaps"))
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in (keypoints | heatmaps).items()} == {
        "keypoints": ([None, NUM_KEYPOINTS, 3], tf.float32),
        "heatmaps": ([None, SIZE[0] // 4, SIZE[1] // 4, NUM_KEYPOINTS], tf.float32),
    }


def test_saved_model_stores_weights_once_and_stock_operations(model, paths):
    weights = sum(4 * np.prod(variable.shape) for variable in model.variables)
    data = sum(path.stat().st_size for path in paths["saved_model"].glob("variables/variables.data*"))
    assert weights <= data <= 1.05 * weights

    saved = saved_model_pb2.SavedModel.FromString((paths["saved_model"] / "saved_model.pb").read_bytes())
    (meta_graph,) = saved.meta_graphs
    functions = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    operations = collections.Counter(node.op for node in nodes)
    assert operations["Conv2D"] == sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
    assert all(op_def_registry.get(operation) for operation in operations)
    assert not {"PyFunc", "EagerPyFunc"} & set(operations)
    assert not any(entry.attr["_XlaMustCompile"].b for entry in (*functions, *nodes))


def test_onnx_graph_is_as_small_as_it_can_be(model, paths):
    proto = onnx.load(paths["onnx"])
    layers = collections.Counter(type(layer) for layer in model.layers)
    census = collections.Counter(node.op_type for node in proto.graph.node)
    # Mul and one more Add are the normalisation; the two transposes those of input and output.
    fuse_terms = sum(len(layer.input) - 1 for layer in model.layers if isinstance(layer, keras.layers.Add))
    assert census == {
        "Conv": layers[keras.layers.Conv2D],
        "Relu": layers[keras.layers.ReLU],
        "Resize": layers[keras.layers.UpSampling2D],
        "Add": fuse_terms + 1,
        "Mul": 1,
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
def test_check_exports_names_what_differs(name, change, model, paths):
    other = float32_clone(model)
    bias = other.get_layer("final_layer").bias
    bias.assign(np.array([0] * (NUM_KEYPOINTS - 1) + [change]))
    with pytest.raises(InputError, match=f"{name!r} differs from the model by {change:.3g}"):
        export.check_exports(other, random_crops(1), **{f"{name}_path": paths[name]})


def test_check_exports_finds_wrong_keypoints(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export.saved_model, "crop_pixels", lambda *_: (2, 2))
    export.export_saved_model(model, tmp_path / "half")
    with pytest.raises(InputError, match=r"'saved_model keypoints' differs from the model by"):
        export.check_exports(model, random_crops(2), saved_model_path=tmp_path / "half")


def test_keypoint_difference_leaves_ties_open():
    heatmaps = np.zeros((1, 8, 8, 3), np.float32)
    heatmaps[0, 3, 4], heatmaps[0, 3, 5], heatmaps[0, 4, 4] = 1.0, 0.5, 0.5
    keypoints = np.tile(np.array([17, 13, 1], np.float32), (1, 3, 1))
    # The second keypoint has two maxima, the third two larger neighbours, as far as rounding can tell.
    heatmaps[0, 6, 2, 1], heatmaps[0, 6, 3, 1], heatmaps[0, 7, 2, 1] = 1.0 + 1e-6, 0.5, 0.5
    heatmaps[0, 3, 3, 2] = 0.5 + 1e-6
    assert export.check._keypoint_difference(keypoints, heatmaps, 1e-3) < 1e-5
    assert export.check._keypoint_difference(keypoints, heatmaps, 1e-8) == 12  # y of 25, not 13
    assert export.check._keypoint_difference(keypoints + np.array([1, 0, 0]), heatmaps, 1e-3) == 1
    assert export.check._keypoint_difference(keypoints + np.array([0, 0, 0.5]), heatmaps, 1e-3) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "crops", [random_crops(0), random_crops(1)[:, :32], random_crops(1).astype(np.float32), random_crops(1)[0]]
)
def test_check_exports_rejects_crops(crops, model, paths):
    with pytest.raises(InputError, match=r"must be \[N,96,64,3\] uint8"):
        export.check_exports(model, crops, keras_path=paths["keras"])


def test_failed_check_keeps_older_exports(model, paths, tmp_path, monkeypatch):
    for name in ("saved_model", "onnx"):
        monkeypatch.setattr(export, f"export_{name}", lambda _, path, *codec, name=name: copy(paths[name], path))
    (tmp_path / "model.keras").write_text("older")
    other = float32_clone(model)
    other.get_layer("final_layer").bias.assign(np.ones(NUM_KEYPOINTS))
    with pytest.raises(InputError, match=r"'saved_model' differs"):
        export.export_all(other, tmp_path, random_crops(1))
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "older"


def copy(source, target):
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def test_saved_model_replaces_nothing_but_a_saved_model(model, paths, tmp_path):
    older = tmp_path / "older"
    copy(paths["saved_model"], older)
    (older / "assets" / "left").write_text("over")
    export.export_saved_model(model, older)
    assert {path.name for path in older.iterdir()} >= {"saved_model.pb", "variables"}
    assert not (older / "assets" / "left").exists()

    (older / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(InputError, match=r"other than a SavedModel \(thesis.tex\)"):
        export.export_saved_model(model, older)
    with pytest.raises(InputError, match=r"other than a SavedModel \(thesis.tex\)"):
        (tmp_path / "out").mkdir()
        older.rename(tmp_path / "out" / "saved_model")
        export.export_all(model, tmp_path / "out", random_crops(1))
    assert (tmp_path / "out" / "saved_model" / "thesis.tex").exists()


@pytest.mark.slow
def test_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit on the size of files stands for the full disk: writing fails midway all the same."""
    script = """
import resource
from hrnet_tf import export
from hrnet_tf.errors import InputError
from hrnet_tf.export.keras_file import float32_clone
from hrnet_tf.models.build import build_model
model = build_model("hrnet_w18_small_v1", (64, 64), 5)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for write, name in (
    (export.export_keras, "a.keras"), (export.export_saved_model, "a"), (export.export_onnx, "a.onnx")
):
    try:
        write(model, name)
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
        export.export_all(model, tmp_path / "file" / "out", random_crops(1))
