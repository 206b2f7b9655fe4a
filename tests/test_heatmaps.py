import numpy as np
import pytest
import seeded
import tensorflow as tf

from hrnet_tf import geometry, heatmaps, losses
from hrnet_tf.skeletons import COCO


@pytest.mark.parametrize("part", ["a", "b", "c"])
def test_targets_equal_the_reference(part):
    golden = seeded.load("targets")
    width, height = (int(s) for s in golden[f"{part}_image_size_wh"])
    maps, weight = heatmaps.encode(
        golden[f"{part}_joints"].astype(np.float32),
        golden[f"{part}_visible"],
        (height, width),
        float(golden[f"{part}_sigma"]),
    )
    np.testing.assert_allclose(maps, seeded.nhwc(golden[f"{part}_heatmaps_nchw"]), atol=1e-6)
    np.testing.assert_array_equal(weight, golden[f"{part}_target_weight"])


def test_targets_are_the_same_inside_a_compiled_pipeline():
    keypoints = np.random.default_rng(0).uniform(-30, 220, (4, 17, 2)).astype(np.float32)
    visible = np.ones((4, 17), np.float32)
    eager = heatmaps.encode(keypoints, visible, (256, 192), 2.0)
    compiled = tf.function(lambda k, v: heatmaps.encode(k, v, (256, 192), 2.0), jit_compile=True)(keypoints, visible)
    dataset = tf.data.Dataset.from_tensors((keypoints, visible)).map(
        lambda k, v: heatmaps.encode(k, v, (256, 192), 2.0)
    )
    for other in (compiled, next(iter(dataset))):
        for a, b in zip(eager, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_decoding_equals_the_reference():
    golden = seeded.load("decode")
    maps = seeded.nhwc(golden["heatmaps_nchw"])
    plain = heatmaps.decode(maps, "none").numpy()
    np.testing.assert_array_equal(plain[..., :2], golden["argmax_xy"])
    np.testing.assert_array_equal(plain[..., 2:], golden["maxvals"])
    decoded = heatmaps.decode(maps).numpy()
    back = geometry.affine_matrix(golden["center"], golden["scale"] * 200, 0, maps.shape[1:3], inverse=True)
    final = geometry.transform_points(decoded[..., :2], back)
    np.testing.assert_allclose(final, golden["final_xy"], atol=1e-3)
    np.testing.assert_array_equal(decoded[..., 2:], golden["final_scores"])
    compiled = tf.function(heatmaps.decode, jit_compile=True)(tf.constant(maps))
    np.testing.assert_allclose(compiled, decoded, atol=1e-5)


@pytest.mark.parametrize(("refine", "margin"), [("quarter", 1), ("dark", 2)])
def test_maxima_move_but_on_the_border(refine, margin):
    height, width = 8, 7
    y, x = np.divmod(np.arange(height * width), width)
    maps = np.zeros((len(x), height + 1, width + 1, 1), np.float32)
    for step, value in (((0, 0), 1), ((0, 1), 0.5), ((1, 0), 0.5)):
        maps[np.arange(len(x)), y + step[0], x + step[1], 0] = value
    moved = heatmaps.decode(maps[:, :height, :width], refine, 2.0)[:, 0, :2] != np.stack([x, y], -1)
    inside = (x > 1) & (x < width - margin) & (y > 1) & (y < height - margin)
    np.testing.assert_array_equal(moved, np.stack([inside, inside], -1))


def test_refuses_an_unknown_refinement():
    with pytest.raises(
        ValueError, match=r"`refine` must be one of none, quarter, dark, udp, integral. Received: 'half'"
    ):
        heatmaps.decode(np.zeros((1, 8, 8, 1)), "half")


def test_flip_back_equals_the_reference():
    golden = seeded.load("decode")
    flipped = seeded.nhwc(golden["flipped_output_nchw"])
    expected = seeded.nhwc(golden["flip_back_shift_nchw"])
    np.testing.assert_array_equal(heatmaps.flip_back(flipped, COCO.flip_pairs), expected)
    twice = heatmaps.flip_back(heatmaps.flip_back(flipped, COCO.flip_pairs, False), COCO.flip_pairs, False)
    np.testing.assert_array_equal(twice, flipped)


def test_pck_equals_the_reference():
    maps = seeded.nhwc(seeded.load("decode")["heatmaps_nchw"])
    golden = seeded.load("loss")
    share, mean = heatmaps.pck(np.roll(maps, 1, axis=2), maps)
    np.testing.assert_allclose(share, golden["pck_per_joint"][1:], atol=1e-5)
    assert abs(float(mean) - golden["pck_mean"]) < 1e-5


def test_pck_counts_only_what_is_near_and_annotated():
    true, pred = np.zeros((2, 40, 40, 5), np.float32), np.zeros((2, 40, 40, 5), np.float32)
    true[:, 20, 20, :2] = 1  # keypoint 2 is not annotated
    pred[0, 20, 21, :] = 1  # half of the allowed 4 * 0.5 px away
    pred[1, 20, 22, :] = 1  # too far: it must be less
    true[:, 20, 1, 3] = true[:, 1, 20, 4] = 1  # on the border
    share, mean = heatmaps.pck(true, pred)
    np.testing.assert_allclose(share, [0.5, 0.5, -1, -1, -1])
    assert float(mean) == 0.5


@pytest.mark.parametrize("input_size", [(256, 192), (384, 288), (64, 64)])
def test_encode_then_decode_is_within_the_grid(input_size):
    rng = np.random.default_rng(0)
    sigma = 3.0 if input_size[0] == 384 else 2.0
    # Inside the map: a keypoint whose nearest heatmap pixel lies beyond the edge decodes to the edge.
    keypoints = rng.uniform(0, np.array(input_size[::-1]) - 2.01, (64, 17, 2)).astype(np.float32)
    visible = rng.integers(0, 2, (64, 17)).astype(np.float32)
    maps, weight = heatmaps.encode(keypoints, visible, input_size, sigma)
    np.testing.assert_array_equal(weight, visible)
    decoded = heatmaps.decode(maps).numpy()
    error = np.abs(decoded[..., :2] * heatmaps.HEATMAP_STRIDE - keypoints)[visible > 0]
    assert error.max() <= heatmaps.HEATMAP_STRIDE / 2 + 1e-3
    np.testing.assert_allclose(decoded[..., 2], visible, atol=1e-6)
    np.testing.assert_array_equal(decoded[visible == 0], 0)


def test_losses_equal_the_reference():
    golden = seeded.load("loss")
    true, pred = seeded.nhwc(golden["target_nchw"]), seeded.nhwc(golden["output_nchw"])
    weight, joints_weight = golden["target_weight"][..., 0], golden["joints_weight"][..., 0]
    mse = losses.KeypointMSE()
    assert abs(float(mse(true, pred, weight)) - golden["mse"]) < 1e-5
    assert abs(float(mse(true, pred, np.ones_like(weight))) - golden["mse_unweighted"]) < 1e-5
    assert abs(float(mse(true, pred, weight * joints_weight)) - golden["mse_joints_weight"]) < 1e-5
    assert abs(float(losses.KeypointOHKM()(true, pred, weight)) - golden["ohkm"]) < 1e-5
