"""HRNetV2-W18, the network of MMPose's hands and faces."""

import os
import subprocess
import sys

import numpy as np
import pytest
import seeded
import weight_files

from hrnet_tf import build_model, export, load_pytorch_weights
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction.runners import heatmap_runner
from hrnet_tf.weights import initialize_from

NAME = "hrnetv2_w18"


@pytest.fixture(scope="module")
def golden():
    return seeded.load("hrnetv2_w18_64x96")


@pytest.fixture(scope="module")
def images(golden):
    return seeded.images(int(golden["image_seed"]), 2, int(golden["height"]), int(golden["width"]))


@pytest.fixture(scope="module")
def state(golden):
    return seeded.state_dict("mmpose_hrnetv2_w18", int(golden["seed"]))


@pytest.fixture(scope="module")
def model():
    return build_model(NAME, (64, 96), num_keypoints=5)


def as_mmpose(state, head):
    """The names of MMPose 1.x, or with the head "keypoint_head" those before it."""
    names = {"conv_layers.": "conv_layers.", "final_layer.": "final_layer."}
    if head == "keypoint_head":
        names = {"conv_layers.": "final_layer.", "final_layer.": "final_layer.3."}
    named = {}
    for name, array in state.items():
        part = next((part for part in names if name.startswith(part)), None)
        named[f"backbone.{name}" if part is None else f"{head}.{names[part]}{name.removeprefix(part)}"] = array
    return named


def difference(heatmaps, golden):
    expected = seeded.nhwc(golden["heatmaps_nchw"])
    return np.linalg.norm(heatmaps - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("head", ["head", "keypoint_head"])
def test_heatmaps_equal_mmposes_from_either_layout_of_its_files(tmp_path, golden, images, state, model, head):
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    weight_files.save(tmp_path / "w.pth", {"meta": {}, "state_dict": as_mmpose(state, head)}, legacy=True)
    report = load_pytorch_weights(model, tmp_path / "w.pth")
    assert not report.not_taken and not report.kept_fresh
    assert difference(np.asarray(model(images)), golden) < 1e-5


def test_parameter_count(model):
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 9_637_325  # counted by PyTorch, 5 keypoints


def test_starts_from_a_classifier_which_has_no_such_head(tmp_path, state, model):
    head = ("conv_layers.", "final_layer.")
    rest = {name: array for name, array in state.items() if not name.startswith(head)}
    rest |= {"classifier.weight": np.ones((10, 4), "f4"), "incre_modules.0.0.conv1.weight": np.ones((1, 1, 1, 1), "f4")}
    weight_files.save(tmp_path / "w.pth", rest)
    report = initialize_from(model, tmp_path / "w.pth")
    assert {name.split(".")[0] for name in report.kept_fresh} == {"conv_layers", "final_layer"}
    assert {name.split(".")[0] for name in report.not_taken} == {"classifier", "incre_modules"}
    assert "stage4.2.fuse_layers.3.0.0.0.weight" in report.taken


@pytest.mark.slow
def test_files_give_the_same_heatmaps(tmp_path, golden, images, state, model):
    weight_files.save(tmp_path / "w.pth", as_mmpose(state, "head"))
    load_pytorch_weights(model, tmp_path / "w.pth")
    export.export_keras(model, tmp_path / "model.keras")
    assert read_card(tmp_path / "model.keras") is None
    export.export_onnx(model, tmp_path / "model.onnx")
    export.export_litert(model, tmp_path / "model.tflite")
    for name in ("model.onnx", "model.tflite"):
        assert difference(heatmap_runner(tmp_path / name)(images), golden) < 1e-4, name
    pytest.importorskip("jax")
    np.save(tmp_path / "images.npy", images)
    script = (
        "import keras, numpy as np\nnp.save('jax.npy', keras.models.load_model('model.keras')(np.load('images.npy')))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"KERAS_BACKEND": "jax"}, check=True)
    assert difference(np.load(tmp_path / "jax.npy"), golden) < 1e-5
