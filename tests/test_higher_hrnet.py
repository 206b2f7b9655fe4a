"""HigherHRNet: what it computes, where its weights come from, and its copies for training and prediction."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import seeded
import tensorflow as tf
import weight_files
from test_fold import kinds, randomized
from test_threads import fresh, fused_operations
from test_weights import CLASSIFIER_ONLY, read_constants, renamed

from hrnet_tf import InputError, build_model, load_pytorch_weights, load_state_dict, pretrained
from hrnet_tf.export import export_keras
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.clones import bfloat16_clone
from hrnet_tf.models.fold import fold_batch_norm
from hrnet_tf.models.sums import may_fuse_sums, subtract_convolutions
from hrnet_tf.models.variants import BOTTOM_UP_NAMES, HEATMAPS, HEATMAPS_TAGS
from hrnet_tf.skeletons import COCO
from hrnet_tf.training.fused import FusedBatchNormalization, with_fused_batch_norm
from hrnet_tf.weights import initialize_from, read_checkpoint
from hrnet_tf.weights.state_dict import match_state_dict

SMALL = "higher_hrnet_w18_small_v1"
OUTPUTS = (HEATMAPS_TAGS, HEATMAPS)
HEAD = [
    *(f"final_layers.{i}.{parameter}" for i in (0, 1) for parameter in ("weight", "bias")),
    "deconv_layers.0.0.0.weight",
]


def mmpose0(name):
    """The name in MMPose's 0.x layout."""
    return ("keypoint_head." if name.startswith(("final_layers.", "deconv_layers.")) else "backbone.") + name


def difference(outputs, expected):
    """The larger relative difference of both outputs."""
    return max(np.linalg.norm(outputs[key] - expected[key]) / np.linalg.norm(expected[key]) for key in OUTPUTS)


def arrays(outputs):
    return {key: np.asarray(outputs[key]) for key in OUTPUTS}


@pytest.fixture(scope="module")
def model():
    return randomized(build_model(SMALL, None, 5))


@pytest.fixture(scope="module")
def images():
    return seeded.images(0, 2, 64, 96)


@pytest.fixture(scope="module")
def expected(model, images):
    return arrays(model(images))


@functools.lru_cache(maxsize=1)
def state(num_keypoints=5, seed=0):
    """A state dict of the small network under PyTorch's names."""
    rng = np.random.default_rng(seed)
    model = build_model(SMALL, None, num_keypoints)
    axes = {4: (3, 2, 0, 1), 1: (0,)}
    names = match_state_dict(model, {}).missing
    variables = [variable for layer in model.layers for variable in layer.weights]
    assert len(names) == len(variables)
    shapes = (np.array(variable.shape)[list(axes[len(variable.shape)])] for variable in variables)
    return {name: rng.uniform(0.5, 1, shape).astype("f4") for name, shape in zip(names, shapes, strict=True)}


@pytest.mark.slow
def test_outputs_equal_the_reference():
    golden = seeded.load("higher_hrnet")
    model = build_model("higher_hrnet_w32", None)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == golden["w32_coco_params"] == 28_645_331
    load_state_dict(model, seeded.state_dict("pose_higher_hrnet_w32_coco", int(golden["w32_coco_seed"])))
    size = int(golden["w32_coco_height"]), int(golden["w32_coco_width"])
    outputs = model(seeded.images(int(golden["w32_coco_image_seed"]), 1, *size))
    assert difference(arrays(outputs), {key: seeded.nhwc(golden[f"w32_coco_{key}_nchw"]) for key in OUTPUTS}) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "state_name", "num_keypoints"),
    [
        ("higher_hrnet_w32", "pose_higher_hrnet_w32_crowdpose", 14),
        ("higher_hrnet_w48", "pose_higher_hrnet_w48_coco", 17),
    ],
)
def test_every_name_of_the_references_networks(monkeypatch, name, state_name, num_keypoints):
    model = build_model(name, None, num_keypoints)
    shapes = seeded.state_shapes(state_name)
    taken = [entry for entry in shapes if not entry.endswith("num_batches_tracked")]
    for rename in (str, mmpose0):
        read_constants(monkeypatch, renamed(shapes, rename), 3)
        report = load_pytorch_weights(model, "any.pth")
        assert report.taken == taken and not report.not_taken and not report.kept_fresh
        assert read_checkpoint("any.pth").num_keypoints == num_keypoints


@pytest.mark.parametrize("name", BOTTOM_UP_NAMES)
def test_contract(name):
    small = name == SMALL
    model = build_model(name, None if small else (64, 96), num_keypoints=5)
    assert model.inputs[0].name == "images" and set(model.output) == set(OUTPUTS)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    kernels = [v.numpy() for v in model.trainable_variables if v.name == "kernel"]
    assert all(abs(k.std() / 0.001 - 1) < 5 / np.sqrt(k.size) + 0.01 for k in kernels)
    if not small:
        assert model.output[HEATMAPS_TAGS].shape == (None, 16, 24, 10) and model.output[HEATMAPS].shape[1:] == (
            32,
            48,
            5,
        )


def test_any_size_and_gradients_of_everything(model):
    for size in ((32, 32), (96, 64), (32, 160)):
        outputs = model(np.zeros((1, *size, 3), np.uint8))
        assert outputs[HEATMAPS_TAGS].shape == (1, size[0] // 4, size[1] // 4, 10)
        assert outputs[HEATMAPS].shape == (1, size[0] // 2, size[1] // 2, 5)
    with tf.GradientTape() as tape:
        outputs = model(seeded.images(1, 2, 64, 64), training=True)
        loss = sum(tf.reduce_sum(output**2) for output in outputs.values())
    grads = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(g is not None and np.any(g) for g in grads)


def test_copies_for_training_and_prediction_compute_the_same(model, images, expected):
    folded = fold_batch_norm(model)
    assert not any("BatchNormalization" in kind.__name__ for kind in kinds(folded))
    for copy in (folded, subtract_convolutions(folded), with_fused_batch_norm(model)):
        assert set(copy.output) == set(OUTPUTS) and difference(arrays(copy(images)), expected) < 1e-5
    assert 1e-4 < difference(arrays(bfloat16_clone(folded)(images)), expected) < 0.05
    assert sum(type(layer) is FusedBatchNormalization for layer in with_fused_batch_norm(model).layers) > 40


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_sum_is_part_of_a_convolution(model, precision):
    safe = subtract_convolutions(fold_batch_norm(model))
    function = fresh(bfloat16_clone(safe) if precision == "bfloat16" else safe)
    found = fused_operations(function, tf.zeros((2, 64, 64, 3), tf.uint8))
    assert ["BiasAdd", "Relu"] in found and not [operations for operations in found if "Add" in operations]
    assert not may_fuse_sums(function.graph)


@pytest.mark.parametrize(
    "rename", [str, mmpose0, lambda name: f"module.{name}"], ids=["official", "mmpose0", "parallel"]
)
def test_weights_of_every_layout(tmp_path, rename):
    target = build_model(SMALL, None, 5)
    weight_files.save(tmp_path / "w.pth", {"state_dict": renamed(state(), rename)}, legacy=True)
    report = load_pytorch_weights(target, tmp_path / "w.pth")
    assert report.taken == list(state()) and not report.not_taken and not report.kept_fresh
    deconvolution = state()["deconv_layers.0.0.0.weight"]  # IOHW
    np.testing.assert_array_equal(target.get_layer("deconv_layers_0_0_0").kernel, deconvolution.transpose(2, 3, 1, 0))
    checkpoint = read_checkpoint(tmp_path / "w.pth")
    assert checkpoint.num_keypoints == 5 and checkpoint.channel_order == "rgb"


def test_other_keypoints(tmp_path):
    weight_files.save(tmp_path / "w.pth", state())
    target = build_model(SMALL, None, 3)
    with pytest.raises(InputError, match=r"5 of another shape: .*partial=True leaves out a head for other keypoints"):
        load_pytorch_weights(target, tmp_path / "w.pth")
    for function in (functools.partial(load_pytorch_weights, partial=True), initialize_from):
        report = function(target, tmp_path / "w.pth")
        assert sorted(report.not_taken) == sorted(report.kept_fresh) == sorted(HEAD)
        assert "deconv_layers.0.0.1.weight" in report.taken


def test_starts_from_a_classifier_and_from_a_top_down_network(tmp_path):
    target = build_model(SMALL, None, 5)
    fresh_weights = target.get_weights()
    after_branches = [name for name in state() if name.startswith(("final_layers.", "deconv_layers."))]
    for content, only in (
        (weight_files.small_pose(), ("final_layer.",)),
        (seeded.state_dict("imagenet_hrnet_w18_small_v1", 0), (*CLASSIFIER_ONLY, "stage4.0.fuse_layers.")),
    ):
        target.set_weights(fresh_weights)
        weight_files.save(tmp_path / "w.pth", content)
        report = initialize_from(target, tmp_path / "w.pth")
        assert sorted(report.kept_fresh) == sorted(after_branches)
        assert report.not_taken and all(name.startswith(only) for name in report.not_taken)
        assert set(report.taken) == set(state()) - set(after_branches)


def test_a_top_down_network_starts_from_it_too(tmp_path):
    weight_files.save(tmp_path / "w.pth", state())
    report = initialize_from(build_model("hrnet_w18_small_v1", (32, 32)), tmp_path / "w.pth")
    assert report.kept_fresh == ["final_layer.weight", "final_layer.bias"]
    assert {name.split(".")[0] for name in report.not_taken} == {"final_layers", "deconv_layers"}


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_file_loads_without_the_package(tmp_path, model, images, expected, backend):
    pytest.importorskip(backend)
    card = ModelCard(SMALL, (512, 512), COCO, kind="bottom_up")
    export_keras(model, tmp_path / "model.keras", card)
    assert read_card(tmp_path / "model.keras") == card
    np.savez(tmp_path / "arrays.npz", images=images, **expected)
    script = """
import sys, numpy as np
sys.modules["hrnet_tf"] = None
import keras
arrays = np.load("arrays.npz")
outputs = keras.models.load_model("model.keras")(arrays["images"])
for name in ("heatmaps_tags", "heatmaps"):
    np.testing.assert_allclose(np.asarray(outputs[name]), arrays[name], atol=1e-4 * np.abs(arrays[name]).max())
"""
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)


def test_published_networks_are_converted_with_an_open_size(tmp_path):
    from hrnet_tf.pretrained.convert import convert

    entry = pretrained.find("higher_hrnet_w32_coco_512x512")
    assert entry.kind == "bottom_up" and pretrained.card(entry.name).kind == "bottom_up"
    small = type(entry)("mine", SMALL, (512, 512), "coco", "", ("https://host/w.pth",))
    weight_files.save(tmp_path / "w.pth", renamed(state(17), mmpose0), legacy=True)
    convert(small, tmp_path / "w.pth", tmp_path / "mine.keras")
    found = read_card(tmp_path / "mine.keras")
    assert (found.kind, found.input_size, found.skeleton) == ("bottom_up", (512, 512), COCO)


def test_cards_of_earlier_versions_are_of_top_down_networks():
    content = ModelCard("hrnet_w32", (256, 192), COCO).to_json()
    del content["kind"]
    assert ModelCard.from_json(content).kind == "top_down"
    with pytest.raises(InputError, match="`kind` must be top_down or bottom_up"):
        ModelCard.from_json(content | {"kind": "sideways"})
