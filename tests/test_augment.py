import numpy as np

from hrnet_tf.data.augment import Augmentation, half_bodies, sample_crops
from hrnet_tf.skeletons import COCO

KEYPOINTS = np.random.default_rng(0).uniform(50, 150, (17, 2)).astype(np.float32)
CENTER, SIZE = np.array([100.0, 110.0]), np.array([150.0, 200.0])


def draw(augmentation, count=4000, visible=None):
    people = (CENTER, SIZE, KEYPOINTS, np.ones(17) if visible is None else visible)
    people = [np.broadcast_to(part, (count, *part.shape)) for part in people]
    return sample_crops(np.random.default_rng(0), *people, COCO.upper_body, augmentation)


def test_no_augmentation_leaves_the_crop():
    center, size, angle, flip = draw(Augmentation(0, 0, 0, 0), 50)
    assert (center == CENTER).all() and (size == SIZE).all() and not angle.any() and not flip.any()


def test_distributions_are_the_references():
    _, sizes, angles, flips = draw(Augmentation(half_body_probability=0))
    scale = sizes[:, 0] / SIZE[0]
    np.testing.assert_allclose(sizes[:, 1] / SIZE[1], scale)
    assert scale.min() >= 0.65 - 1e-6 and scale.max() <= 1.35 + 1e-6
    # A normal deviate is beyond one deviation in 15.9 % of draws on either side.
    assert abs((scale > 1.349).mean() - 0.159) < 0.02 and abs((scale < 0.651).mean() - 0.159) < 0.02
    assert abs((angles == 0).mean() - 0.4) < 0.03
    assert np.abs(angles).max() == 90 and abs(np.std(angles[(angles != 0) & (np.abs(angles) < 90)]) - 40) < 3
    assert abs(flips.mean() - 0.5) < 0.03
    # One does not tell of another.
    assert np.abs(np.corrcoef([scale, angles != 0, angles, flips]) - np.eye(4)).max() < 0.05


def test_half_body_frequency_and_shape():
    centers, sizes, _, _ = draw(Augmentation(0, 0, 0, 0.3))
    is_changed = (centers != CENTER).any(1)
    changed = [*zip(centers[is_changed], sizes[is_changed], strict=True)]
    assert abs(is_changed.mean() - 0.3) < 0.03
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
    eight, nine = ((np.arange(17) < count).astype(float) for count in (8, 9))
    assert (draw(Augmentation(0, 0, 0, 1.0), 50, eight)[0] == CENTER).all()
    assert (draw(Augmentation(0, 0, 0, 1.0), 50, nine)[0] != CENTER).all()


def test_half_body_falls_back_and_gives_up():
    prefers_upper = np.arange(30) % 2 == 0
    cases = {
        "two of the lower half": (KEYPOINTS, np.arange(17) < 13, KEYPOINTS[:11].mean(0)),
        "two of the upper half": (KEYPOINTS, np.arange(17) > 8, KEYPOINTS[11:].mean(0)),
        "one in all": (KEYPOINTS, np.arange(17) == 3, None),
        "none": (KEYPOINTS, np.zeros(17, bool), None),
        "all in one place": (np.ones((17, 2)), np.ones(17, bool), None),
    }
    for name, (keypoints, visible, expected) in cases.items():
        people = (np.broadcast_to(part, (30, *part.shape)) for part in (keypoints, visible.astype(float)))
        centers, sizes, exists = half_bodies(prefers_upper, *people, COCO.upper_body, 0.75)
        assert (exists == (expected is not None)).all(), name
        if expected is not None:
            np.testing.assert_allclose(centers, np.broadcast_to(expected, (30, 2)), rtol=1e-5)
            assert (sizes > 0).all()
    in_one_place = (np.broadcast_to(part, (20, *part.shape)) for part in (CENTER, SIZE, np.ones((17, 2)), np.ones(17)))
    center, *_ = sample_crops(np.random.default_rng(0), *in_one_place, COCO.upper_body, Augmentation(0, 0, 0, 1.0))
    assert (center == CENTER).all()  # where there is no half, the whole
