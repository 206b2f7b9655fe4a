import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import seeded
import tensorflow as tf

from hrnet_tf import build_model, load_state_dict
from hrnet_tf.models import preprocess
from hrnet_tf.models.clones import float32_clone
from hrnet_tf.models.variants import HRNETS, POSE_RESNETS
from hrnet_tf.training.fused import with_fused_batch_norm

SMALL = ["hrnet_w18_small_v1", "hrnet_w18_small_v2", "pose_resnet18"]


def num_trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(("name", "parameters"), [("hrnet_w32", 28_536_113), ("hrnet_w48", 63_595_745)])
def test_published_parameter_counts(name, parameters):
    assert num_trainable(build_model(name)) == parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hrnet_w32", "hrnet_w48"])
def test_heatmaps_equal_the_reference(name):
    golden = seeded.load(f"{name}_256x192")
    height, width = int(golden["height"]), int(golden["width"])
    expected = seeded.nhwc(golden["heatmaps_nchw"])
    model = build_model(name, (height, width))
    load_state_dict(model, seeded.state_dict(f"pose_{name}_coco", int(golden["seed"])))
    images = seeded.images(int(golden["image_seed"]), len(expected), height, width)
    for batch in (images, images.astype(np.float32)):
        heatmaps = np.asarray(model(batch))
        assert np.linalg.norm(heatmaps - expected) / np.linalg.norm(expected) < 1e-5


@pytest.mark.parametrize("name", [*HRNETS, *POSE_RESNETS])
def test_contract_of_every_variant(name):
    model = build_model(name, (64, 96), num_keypoints=5)
    assert model.inputs[0].name == "images" and model.layers[-1].name == "heatmaps"
    assert model.output_shape == (None, 16, 24, 5)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) ** 2)
    grads = tape.gradient(loss, [v.value for v in model.trainable_variables])
    without = [v.path for v, g in zip(model.trainable_variables, grads, strict=True) if g is None or not np.any(g)]
    assert not without


@pytest.mark.parametrize("name", SMALL)
def test_initialisation_is_the_references(name):
    keras.utils.set_random_seed(0)
    model = build_model(name, (64, 64))
    kernels = [v.numpy() for v in model.trainable_variables if v.name == "kernel"]
    assert all(abs(k.std() / 0.001 - 1) < 5 / np.sqrt(k.size) + 0.01 for k in kernels)
    assert not model.get_layer("final_layer").bias.numpy().any()


@pytest.mark.parametrize("size", [(0, 64), (64, 48), (100, 64), (-32, 64), (64,), (64, 64, 3), (64.5, 64), None])
def test_refuses_sizes(size):
    with pytest.raises(ValueError, match=r"`input_size` must be .*Received: "):
        build_model("hrnet_w18_small_v1", size)


def test_refuses_names_and_keypoints():
    with pytest.raises(ValueError, match=r"`name` must be one of hrnet_w32.*Received: 'hrnet_w33'"):
        build_model("hrnet_w33")
    for number in (0, -1, 2.5, True, "17"):
        with pytest.raises(ValueError, match=r"`num_keypoints` must be a positive integer"):
            build_model("hrnet_w18_small_v1", num_keypoints=number)


@pytest.mark.parametrize("order", ["", "RGB", "grb", None, ["rgb"]])
def test_refuses_channel_orders(order):
    with pytest.raises(ValueError, match=r"`channel_order` must be one of rgb, bgr, cpn. Received: "):
        build_model("hrnet_w18_small_v1", (64, 64), channel_order=order)


def test_bgr_normalises_as_if_images_were_in_that_order(tmp_path):
    images = seeded.images(0, 1, 64, 64)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for order in ("rgb", "bgr"):
        inputs = keras.Input((64, 64, 3), name="images")
        model = keras.Model(inputs, preprocess.normalize(inputs, order))
        as_fed = slice(None, None, -1 if order == "bgr" else 1)
        expected = (images[..., as_fed] / 255 - mean) / std
        np.testing.assert_allclose(np.asarray(model(images))[..., as_fed], expected, atol=1e-5)
        model.save(tmp_path / "model.keras")
        copies = with_fused_batch_norm(model), float32_clone(model), keras.models.load_model(tmp_path / "model.keras")
        whole = build_model("hrnet_w18_small_v1", (64, 64), channel_order=order)
        assert [preprocess.channel_order_of(m) for m in (model, *copies, whole)] == [order] * 5


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("hrnet_w18_small_v1", "mixed_bfloat16"),
        ("hrnet_w18_small_v1", "mixed_float16"),
        ("pose_resnet18", "mixed_bfloat16"),
    ],
)
def test_mixed_precision_keeps_input_and_heatmaps_in_float32(name, dtype):
    keras.utils.set_random_seed(0)
    model = build_model(name, (64, 64), dtype=dtype)
    exact = build_model(name, (64, 64))
    weights = [np.random.default_rng(i).normal(0, 1 / np.sqrt(max(1, w[..., 0].size)), w.shape) if w.ndim == 4 else w
               for i, w in enumerate(model.get_weights())]  # fmt: skip
    model.set_weights(weights)
    exact.set_weights(weights)
    images = seeded.images(0, 2, 64, 64)
    heatmaps = model(images)
    assert heatmaps.dtype == tf.float32
    assert model.get_layer("conv1").compute_dtype == dtype.removeprefix("mixed_")
    error = np.linalg.norm(heatmaps - exact(images)) / np.linalg.norm(exact(images))
    assert 0 < error < 0.1


def test_weights_are_all_or_nothing():
    model = build_model("hrnet_w18_small_v1", (64, 64), num_keypoints=3)
    before = model.get_weights()
    weights = as_state_dict(model)
    weights.pop("conv1.weight")
    weights["extra.bias"] = np.zeros(3)
    weights["final_layer.bias"] = np.zeros(4)
    with pytest.raises(
        ValueError,
        match=r"1 missing: conv1.weight; 1 unexpected: extra.bias; "
        r"1 of another shape: final_layer.bias \(4,\), wanted \(3,\)",
    ):
        load_state_dict(model, weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def as_state_dict(model):
    """The weights of a model under names like PyTorch's, all different from what they are."""
    names = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    state = {}
    for layer in model.layers:
        for variable in layer.weights:
            value = variable.numpy() + 1
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            state[f"{layer.name}.{names.get(variable.name, variable.name)}"] = value
    return state


def test_saved_model_file_loads_without_the_package(tmp_path):
    model = build_model("hrnet_w18_small_v1", (64, 64), num_keypoints=3)
    load_state_dict(model, as_state_dict(model))
    images = seeded.images(0, 1, 64, 64)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "arrays.npz", images=images, heatmaps=model(images))
    script = """
import sys, numpy as np
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "hrnet_tf":
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import keras
arrays = np.load("arrays.npz")
heatmaps = np.asarray(keras.models.load_model("model.keras")(arrays["images"]))
np.testing.assert_allclose(heatmaps, arrays["heatmaps"], rtol=1e-4, atol=1e-5)
"""
    backends = ["tensorflow"] + (["jax"] if _importable("jax") else [])
    for backend in backends:
        environment = os.environ | {"KERAS_BACKEND": backend}
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)


def _importable(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None
