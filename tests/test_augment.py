import numpy as np

from hrnet_tf.data.augment import Augmentation, half_body, sample_crop
from hrnet_tf.skeletons import COCO

KEYPOINTS = np.random.default_rng(0).uniform(50, 150, (17, 2)).astype(np.float32)
CENTER, SIZE = np.array([100.0, 110.0]), np.array([150.0, 200.0])


def draw(augmentation, count=4000, visible=None):
    visible = np.ones(17) if visible is None else visible
    return [
        sample_crop(np.random.default_rng(i), CENTER, SIZE, KEYPOINTS, visible, COCO.upper_body, augmentation)
        for i in range(count)
    ]


def test_no_augmentation_leaves_the_crop():
    for center, size, angle, flip in draw(Augmentation(0, 0, 0, 0), 50):
        assert np.array_equal(center, CENTER) and np.array_equal(size, SIZE) and angle == 0 and not flip


def test_distributions_are_the_references():
    _, sizes, angles, flips = (
        np.array(column) for column in zip(*draw(Augmentation(half_body_probability=0)), strict=True)
    )
    scale = sizes[:, 0] / SIZE[0]
    np.testing.assert_allclose(sizes[:, 1] / SIZE[1], scale)
    assert scale.min() >= 0.65 - 1e-6 and scale.max() <= 1.35 + 1e-6
    # A normal deviate is beyond one deviation in 15.9 % of draws on either side.
    assert abs((scale > 1.349).mean() - 0.159) < 0.02 and abs((scale < 0.651).mean() - 0.159) < 0.02
    assert abs((angles == 0).mean() - 0.4) < 0.03
    assert np.abs(angles).max() == 90 and abs(np.std(angles[(angles != 0) & (np.abs(angles) < 90)]) - 40) < 3
    assert abs(flips.mean() - 0.5) < 0.03


def test_half_body_frequency_and_shape():
    crops = draw(Augmentation(0, 0, 0, 0.3))
    changed = [(center, size) for center, size, _, _ in crops if not np.array_equal(center, CENTER)]
    assert abs(len(changed) / len(crops) - 0.3) < 0.03
    upper = KEYPOINTS[list(COCO.upper_body)]
    is_upper = [np.allclose(center, upper.mean(0), atol=1e-3) for center, _ in changed]
    assert abs(np.mean(is_upper) - 0.69) < 0.04
    for center, size in changed:
        half = upper if np.allclose(center, upper.mean(0), atol=1e-3) else np.delete(KEYPOINTS, COCO.upper_body, 0)
        np.testing.assert_allclose(center, half.mean(0), atol=1e-3)
        extent = np.ptp(half, axis=0)
        assert abs(size[0] / size[1] - 0.75) < 1e-5
        np.testing.assert_allclose((size / 1.5 - extent).min(), 0, atol=1e-3)


def test_half_body_needs_more_than_eight_keypoints():
    visible = (np.arange(17) < 8).astype(float)
    assert all(np.array_equal(center, CENTER) for center, *_ in draw(Augmentation(0, 0, 0, 1.0), 50, visible))


def test_half_body_falls_back_and_gives_up():
    rng = np.random.default_rng(0)
    few_lower = (np.arange(17) < 13).astype(float)  # two of the lower half
    centers = [half_body(rng, KEYPOINTS, few_lower, COCO.upper_body, 0.75)[0] for _ in range(30)]
    np.testing.assert_allclose(centers, np.broadcast_to(KEYPOINTS[:11].mean(0), (30, 2)), rtol=1e-5)
    assert half_body(rng, KEYPOINTS, (np.arange(17) == 3).astype(float), COCO.upper_body, 0.75) is None
    assert half_body(rng, np.ones((17, 2)), np.ones(17), COCO.upper_body, 0.75) is None
