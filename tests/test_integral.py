"""Points that heatmaps expect, and the losses of them and of several outputs, against formulas in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hrnet_tf import heatmaps, losses
from hrnet_tf.data.targets import Targets
from hrnet_tf.training.objectives import HeatmapObjective, PointObjective

POINTS = np.array([[[10.0, 12.0], [10.3, 15.8]], [[7.25, 9.5], [16.0, 20.7]]])
HEIGHT, WIDTH = 32, 24


def log_gaussians(points, sigma, scale=1.0):
    """[B,h,w,K] logarithms of Gaussians at points [B,K,2], up to a constant."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    squares = (columns[..., None] - points[:, None, None, :, 0]) ** 2 + (
        rows[..., None] - points[:, None, None, :, 1]
    ) ** 2
    return (3.0 - scale * squares / (2 * sigma**2)).astype(np.float32)


def softmax(maps):
    exponentials = np.exp(np.float64(maps) - maps.max(axis=(1, 2), keepdims=True))
    return exponentials / exponentials.sum(axis=(1, 2), keepdims=True)


def means(distributions):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH][..., None]
    return np.stack([(distributions * axis).sum((1, 2)) for axis in (columns, rows)], -1)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_the_mean_of_a_gaussian_is_its_centre(sigma):
    decoded = heatmaps.decode(log_gaussians(POINTS, sigma), "integral").numpy()
    np.testing.assert_allclose(decoded[..., :2], POINTS, atol=1e-3)
    distances = np.abs(np.arange(-9, 10)[:, None] - np.linspace(-0.5, 0.5, 11))
    shares = np.exp(-(distances**2) / (2 * sigma**2))
    shares = (shares / shares.sum(0) * np.clip(2.5 - distances, 0, 1)).sum(0)
    assert np.all((shares.min() ** 2 - 1e-3 < decoded[..., 2]) & (decoded[..., 2] < shares.max() ** 2 + 1e-3))


def test_decoding_is_the_formula_and_equivariant():
    maps = np.random.default_rng(0).normal(0, 3, (3, HEIGHT, WIDTH, 5)).astype(np.float32)
    decoded = heatmaps.decode(maps, "integral").numpy()
    np.testing.assert_allclose(decoded[..., :2], means(softmax(maps)), atol=1e-4)
    mirrored = heatmaps.decode(maps[:, :, ::-1], "integral").numpy()
    np.testing.assert_allclose(mirrored[..., 0], WIDTH - 1 - decoded[..., 0], atol=1e-4)
    np.testing.assert_allclose(mirrored[..., 1:], decoded[..., 1:], atol=1e-4)
    np.testing.assert_allclose(heatmaps.decode(maps + 50, "integral"), decoded, atol=1e-3)


def test_odd_maps():
    maps = np.zeros((1, HEIGHT, WIDTH, 5), np.float32)
    maps[0, 8, 6, 1] = 1e4  # certain
    maps[0, 0, 0, 2], maps[0, -1, -1, 2] = 1e3, 1e3  # in two corners: between them, where it is not
    maps[..., 3], maps[..., 4] = np.nan, -np.inf
    decoded = heatmaps.decode(maps, "integral").numpy()[0]
    middle = [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]
    np.testing.assert_allclose(decoded[:3, :2], [middle, [6, 8], middle], atol=1e-3)
    np.testing.assert_allclose(decoded[:3, 2], [16 / (HEIGHT * WIDTH), 1, 0], atol=1e-2)
    np.testing.assert_array_equal(decoded[3:], [[0, 0, np.nan]] * 2)


def reference_dsnt(points, maps, weight, sigma, factor):
    """Nibali et al., sections 3 and 4, in float64."""
    predicted, true = softmax(maps), softmax(log_gaussians(points, sigma))
    to_unit = [2 / WIDTH, 2 / HEIGHT]
    distance = np.linalg.norm((means(predicted) - points) * to_unit, axis=-1)

    def divergence(p, q):
        return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum((1, 2))

    middle = (predicted + true) / 2
    shannon = (divergence(predicted, middle) + divergence(true, middle)) / 2
    return np.mean((distance + factor * shannon) * weight**2), shannon


@pytest.mark.parametrize(("sigma", "factor"), [(1.0, 1.0), (2.0, 0.5)])
def test_dsnt_is_the_formula(sigma, factor):
    maps = np.random.default_rng(1).normal(0, 3, (2, HEIGHT, WIDTH, 2)).astype(np.float32)
    weight = np.array([[1.0, 0.0], [1.5, 1.0]])
    found = losses.KeypointDSNT(sigma, factor)(np.float32(POINTS), maps, np.float32(weight))
    expected, shannon = reference_dsnt(POINTS, maps, weight, sigma, factor)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert np.all((shannon > 0) & (shannon < np.log(2)))


def test_dsnt_is_nothing_at_its_target_and_has_gradients_there():
    maps = tf.constant(log_gaussians(POINTS, 1.0))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        loss = losses.KeypointDSNT()(np.float32(POINTS), maps, np.ones((2, 2), np.float32))
    assert abs(float(loss)) < 1e-4
    assert np.isfinite(tape.gradient(loss, maps)).all()


def test_dsnt_teaches_points_by_descent():
    maps = tf.Variable(tf.zeros((2, HEIGHT, WIDTH, 2)))
    optimizer = keras.optimizers.Adam(0.3)
    for _ in range(80):
        with tf.GradientTape() as tape:
            loss = losses.KeypointDSNT()(np.float32(POINTS), maps, np.ones((2, 2), np.float32))
        optimizer.apply([tape.gradient(loss, maps)], [maps])
    decoded = heatmaps.decode(maps, "integral").numpy()
    np.testing.assert_allclose(decoded[..., :2], POINTS, atol=0.1)
    assert np.all(decoded[..., 2] > 0.8)


def test_targets_as_points():
    targets = Targets((4 * HEIGHT, 4 * WIDTH), 3, 2.0, "udp", [1, 1.2, 1.5])
    stride = heatmaps.crop_pixels((4 * HEIGHT, 4 * WIDTH), "udp")
    inside = np.array([[3.0, 4.5], [WIDTH - 1, 0], [2, HEIGHT]])  # the last one beyond the outermost pixel
    points, weight = targets.points((inside * stride)[None], np.ones((1, 3)))
    np.testing.assert_allclose(points[0], inside, atol=1e-5)
    np.testing.assert_allclose(weight, [[1, 1.2, 0]])
    _, weight = targets.points((inside * stride)[None], np.array([[0, 1, 1]]))
    np.testing.assert_allclose(weight, [[0, 1.2, 0]])


def test_the_sum_over_outputs_is_of_each_its_own_loss():
    rng = np.random.default_rng(2)
    true, *outputs = (rng.normal(0, 1, (3, 8, 6, 5)).astype(np.float32) for _ in range(4))
    weight = rng.integers(0, 2, (3, 5)).astype(np.float32)
    of_each = [losses.KeypointMSE(), losses.KeypointMSE(), losses.KeypointOHKM(2)]
    found = losses.SummedLoss(of_each, [1.0, 0.5, 2.0])(true, outputs, weight)
    errors = [((output - true) ** 2).mean((1, 2)) * weight**2 / 2 for output in outputs]
    hardest = np.sort(errors[2], axis=1)[:, -2:].mean()
    assert float(found) == pytest.approx(errors[0].mean() + 0.5 * errors[1].mean() + 2 * hardest, rel=1e-5)
    with pytest.raises(ValueError, match="zip"):
        losses.SummedLoss(of_each, [1.0, 1.0])


def test_objectives_look_at_the_last_output():
    maps = log_gaussians(POINTS, 1.0)
    weight = tf.ones((2, 2))
    wrong = tf.zeros_like(maps)
    loss = losses.SummedLoss([losses.KeypointMSE()] * 2, [1.0, 1.0])
    gaussians = np.exp(maps - 3)
    for last, hits in ((gaussians, 1), (wrong, 0)):
        _, pck = HeatmapObjective(loss)([wrong, last], gaussians, weight)
        assert float(pck) == hits
    loss = losses.SummedLoss([losses.KeypointDSNT()] * 2, [1.0, 1.0])
    for last, hits in ((maps, 1), (-maps, 0)):
        value, pck = PointObjective(loss)([wrong, last], np.float32(POINTS), weight)
        assert float(pck) == hits and float(value) > 0
