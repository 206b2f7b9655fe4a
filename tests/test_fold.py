import collections

import keras
import numpy as np
import pytest

from hrnet_tf.models.build import build_model
from hrnet_tf.models.fold import fold_batch_norm

layers = keras.layers


def randomized(model):
    """Gives `model` weights under which every layer matters."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.variables:
                low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.2, 0.2)
                variable.assign(rng.uniform(low, high, variable.shape))
        elif layer.trainable:
            for variable in layer.variables:
                fan_in = np.prod(variable.shape[:3]) if len(variable.shape) == 4 else 1
                variable.assign(rng.normal(0, np.sqrt(2 / fan_in), variable.shape))
    return model


def images_for(model):
    return np.random.default_rng(1).integers(0, 256, (2, *model.input_shape[1:]), dtype=np.uint8)


def kinds(model):
    return collections.Counter(type(layer) for layer in model.layers)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("hrnet_w18_small_v1", "float32"), ("pose_resnet18", "float32"), ("pose_resnet18", "mixed_bfloat16")],
)
def test_folded_network_is_the_same_function_in_stock_layers(name, dtype, tmp_path):
    model = randomized(build_model(name, (64, 32), 5))
    images = images_for(model)
    expected = model(images, training=False).numpy()
    if dtype != "float32":
        mixed = build_model(name, (64, 32), 5, dtype=dtype)
        mixed.set_weights(model.get_weights())
        model = mixed
    weights = model.get_weights()
    folded = fold_batch_norm(model)
    np.testing.assert_allclose(folded(images), expected, atol=1e-5 * np.abs(expected).max())
    assert layers.BatchNormalization not in kinds(folded)
    assert folded.count_params() < model.count_params()
    np.testing.assert_equal(model.get_weights(), weights)  # the original is as it was

    folded.save(tmp_path / "folded.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "folded.keras")(images), folded(images))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("conv", [layers.Conv2D, layers.Conv2DTranspose])
def test_convolution_with_bias_and_normalisation_without_scale(conv, scale):
    images = keras.Input((8, 8, 3))
    x = conv(4, 3, strides=2, padding="same", use_bias=True)(images)
    model = randomized(keras.Model(images, layers.BatchNormalization(scale=scale, center=scale)(x)))
    folded = fold_batch_norm(model)
    assert kinds(folded) == {layers.InputLayer: 1, conv: 1}
    np.testing.assert_allclose(folded(images_for(model)), model(images_for(model)), rtol=1e-5, atol=1e-3)


def test_what_cannot_be_folded_stays():
    images = keras.Input((8, 8, 3))
    first = layers.BatchNormalization()(layers.Rescaling(1 / 255)(images))  # no convolution before it
    shared = layers.Conv2D(4, 1)(first)  # somebody else needs its output
    not_linear = layers.Conv2D(4, 1, activation="relu")(shared)
    grouped = layers.DepthwiseConv2D(3, padding="same")(shared)
    terms = [layers.BatchNormalization()(x) for x in (shared, not_linear, grouped)]
    model = randomized(keras.Model(images, layers.Add()([shared, *terms])))
    folded = fold_batch_norm(model)
    assert kinds(folded) == kinds(model)
    np.testing.assert_allclose(folded(images_for(model)), model(images_for(model)), rtol=1e-4, atol=1e-4)


def test_convolution_that_is_an_output_stays():
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(images)
    model = randomized(keras.Model(images, [x, layers.BatchNormalization()(x)]))
    assert kinds(fold_batch_norm(model))[layers.BatchNormalization] == 1
