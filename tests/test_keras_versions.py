"""What a `.keras` file says is what Keras 3.5 knows: later versions add arguments that earlier ones refuse."""

import json
import zipfile

import keras
import pytest

from hrnet_tf import build_model
from hrnet_tf.export import export_keras

# Of every class, what its `get_config` gave in Keras 3.5.
COMMON = {"name", "trainable", "dtype"}
KERNEL = COMMON | {
    *("kernel_size", "filters", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias"),
    *("kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer", "activity_regularizer"),
    *("kernel_constraint", "bias_constraint"),
}
KNOWN = {
    "InputLayer": {"batch_shape", "dtype", "sparse", "name", "optional", "ragged"},  # it takes what it does not know
    "Conv2D": KERNEL | {"groups"},
    "Conv2DTranspose": KERNEL | {"output_padding"},
    "BatchNormalization": COMMON
    | {
        *("axis", "momentum", "epsilon", "center", "scale", "synchronized"),
        *(f"{name}_initializer" for name in ("beta", "gamma", "moving_mean", "moving_variance")),
        *("beta_regularizer", "gamma_regularizer", "beta_constraint", "gamma_constraint"),
    },
    "ReLU": COMMON | {"max_value", "negative_slope", "threshold"},
    "Activation": COMMON | {"activation"},
    **dict.fromkeys(("Add", "Identity"), COMMON),
    "UpSampling2D": COMMON | {"size", "data_format", "interpolation"},
    "ZeroPadding2D": COMMON | {"padding", "data_format"},
    "MaxPooling2D": COMMON | {"pool_size", "padding", "strides", "data_format"},
    "Rescaling": COMMON | {"scale", "offset"},
    "Normalization": COMMON | {"axis", "invert", "mean", "variance"},
}


@pytest.mark.parametrize("name", ["hrnet_w18_small_v1", "pose_resnet18"])
def test_an_archive_says_nothing_that_keras_3_5_does_not_know(tmp_path, name):
    model = build_model(name, (32, 32))
    export_keras(model, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    layers = config["config"]["layers"]
    assert len(layers) == len(model.layers)
    for layer in layers:
        unknown = set(layer["config"]) - KNOWN[layer["class_name"]]
        assert not unknown, layer["class_name"]


def test_what_is_not_at_its_default_is_kept(tmp_path):
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.BatchNormalization(renorm=True, name="bn")(images)
    model = keras.Model(images, x)
    export_keras(model, tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").get_layer("bn").renorm
