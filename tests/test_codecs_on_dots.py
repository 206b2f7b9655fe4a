"""Codecs from images to keypoints in them: a network that knows colours, and people with a dot of each on them."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from test_codecs import RGB, SIZE

from hrnet_tf import heatmaps
from hrnet_tf.data import pipeline
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.prediction.keypoints import make_predict_function, predict_people


def eyes_for_dots(codec, size):
    """A "network" which finds a red, a green and a blue dot: it looks at the crop where heatmap pixels lie."""
    step = heatmaps.crop_pixels(size, codec)

    def weights(length, stride):  # [length / 4, length]
        places = np.arange(length // 4)[:, None] * stride
        return np.exp(-((np.arange(length) - places) ** 2) / (2 * 8.0**2)).astype(np.float32)

    rows, columns = weights(size[0], step[1]), weights(size[1], step[0])

    def network(images, training):
        maps = tf.einsum("hH,bHWk,wW->bhwk", rows, tf.cast(images, tf.float32), columns)
        return maps / tf.reduce_max(maps, axis=(1, 2), keepdims=True)

    return network


@pytest.fixture
def dots(tmp_path):
    """Three people with a red, a green and a blue dot on them, in an image each."""
    rng = np.random.default_rng(1)
    boxes = np.stack(
        [rng.uniform(20, 40, 3), rng.uniform(20, 40, 3), rng.uniform(60, 100, 3), rng.uniform(90, 130, 3)], -1
    )
    keypoints = boxes[:, None, :2] + boxes[:, None, 2:] * rng.uniform(0.25, 0.75, (3, 3, 2))
    y, x = np.mgrid[:180, :200]
    paths = []
    for i, person in enumerate(keypoints):
        image = [255 * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / 8) for p in person]
        paths.append(str(tmp_path / f"{i}.png"))
        cv2.imwrite(paths[-1], np.stack(image[::-1], -1).round().astype(np.uint8))
    return PersonRecords(
        skeleton=RGB,
        image_paths=paths,
        image_ids=np.arange(3),
        image_index=np.arange(3, dtype=np.int32),
        boxes=boxes.astype(np.float32),
        box_scores=np.ones(3, np.float32),
        keypoints=keypoints.astype(np.float32),
        visible=np.ones((3, 3), np.float32),
    )


# Image pixels; a heatmap pixel is about 5 of them.
@pytest.mark.parametrize(
    ("codec", "flip_test", "refine", "largest"),
    [
        ("msra", False, None, 2.0),
        ("msra", False, "dark", 0.1),
        ("dark", False, None, 0.1),
        ("udp", False, None, 0.1),
        ("udp", True, None, 0.1),
        ("udp", True, "none", 4.0),
    ],
)
def test_prediction_finds_dots(dots, codec, flip_test, refine, largest):
    strategy = tf.distribute.get_strategy()
    network = eyes_for_dots(codec, SIZE)
    predict = make_predict_function(strategy, network, () if flip_test else None, codec=codec, refine=refine)
    keypoints, people = predict_people(predict, dots, SIZE, 2, strategy, codec=codec)
    assert len(people) == 3
    error = np.linalg.norm(keypoints[..., :2] - dots.keypoints, axis=-1)
    assert error.max() < largest
    if largest > 1:
        assert error.max() > 0.3  # without refinement to the sub-pixel there is an error to see


def test_udps_flip_test_finds_the_same_as_the_crop_and_a_shift_does_not(dots):
    strategy = tf.distribute.get_strategy()
    network = eyes_for_dots("udp", SIZE)
    (images, _) = next(iter(pipeline.evaluation_dataset(dots, SIZE, 3, codec="udp")))
    plain, flipped = (
        make_predict_function(strategy, network, pairs, codec="udp")(images).numpy() for pairs in (None, ())
    )
    np.testing.assert_allclose(flipped, plain, atol=1e-3)
    shifted = make_predict_function(strategy, network, (), codec="dark")(images).numpy()
    assert np.abs(shifted[..., 0] - plain[..., 0]).min() > 0.4
