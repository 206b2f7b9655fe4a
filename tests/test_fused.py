import keras
import numpy as np
import pytest
import seeded
import tensorflow as tf
from smooth import smooth_network

from hrnet_tf.export import export_keras
from hrnet_tf.training.fused import FusedBatchNormalization, with_fused_batch_norm


def outputs_and_gradients(model, images):
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.reduce_mean(tf.square(outputs))
    return outputs, tape.gradient(loss, [v.value for v in model.trainable_variables])


@pytest.mark.parametrize("compiled", [False, True])
def test_training_is_the_same(compiled):
    model = smooth_network()
    fused = with_fused_batch_norm(model)
    assert sum(type(layer) is FusedBatchNormalization for layer in fused.layers) > 40
    images = seeded.images(0, 4, 64, 64)
    expected, expected_grads = outputs_and_gradients(model, images)
    run = tf.function(lambda x: outputs_and_gradients(fused, x), jit_compile=True) if compiled else None
    outputs, grads = run(tf.constant(images)) if compiled else outputs_and_gradients(fused, images)
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())
    for variable, grad, wanted in zip(model.trainable_variables, grads, expected_grads, strict=True):
        error = np.linalg.norm(grad - wanted) / np.linalg.norm(wanted)
        assert error < 2e-4, variable.path


def test_moving_statistics_are_pytorchs():
    x = np.random.default_rng(0).normal(3, 2, (2, 3, 4, 5)).astype(np.float32)
    layer = FusedBatchNormalization(momentum=0.9, epsilon=1e-5)
    layer(x, training=True)
    flat = x.reshape(-1, 5)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-4)


def test_exports_are_stock_again(tmp_path):
    model = with_fused_batch_norm(smooth_network())
    images = seeded.images(0, 2, 64, 64)
    model(images, training=True)
    export_keras(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    np.testing.assert_allclose(loaded(images), model(images), atol=1e-5)
