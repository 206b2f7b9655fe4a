"""`PosePredictor.people`: boxes of a detector, by hand or the whole image, and what comes of them."""

import json

import cv2
import detectors
import keras
import numpy as np
import pytest
from pycocotools.coco import COCO as Coco

from hrnet_tf import InputError, PosePredictor, visualize
from hrnet_tf.errors import MAX_LINE
from hrnet_tf.evaluation import rescore
from hrnet_tf.prediction.people import People
from hrnet_tf.skeletons import COCO

IMAGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8), (0, 0), 3)
BOXES, SCORES = np.float32([[8, 8, 48, 72], [72, 16, 40, 64]]), np.float32([0.9, 0.6])


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(17, 5, strides=4, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, x)


def predictor_with(network, detector):
    return PosePredictor(network, flip_test=False, detector=detector)


@pytest.fixture(scope="module")
def people(network):
    return predictor_with(network, lambda image: (BOXES, SCORES)).people(IMAGE)


def test_people_are_where_the_detector_finds_them(network, people):
    predictor = predictor_with(network, None)
    np.testing.assert_array_equal(people.boxes, BOXES)
    np.testing.assert_array_equal(people.keypoints, predictor(IMAGE, BOXES))
    np.testing.assert_array_equal(people.scores, rescore(SCORES, people.keypoints[..., 2]))
    assert (people.skeleton, people.track_ids, len(people)) == (COCO, None, 2)
    # Boxes alone, as any list: of score 1.
    only_boxes = predictor_with(network, lambda image: BOXES.tolist()).people(IMAGE)
    np.testing.assert_array_equal(only_boxes.keypoints, people.keypoints)
    np.testing.assert_array_equal(only_boxes.scores, rescore([1, 1], people.keypoints[..., 2]))


def test_boxes_that_are_given_come_before_the_detector_and_the_whole_image_is_the_last(network):
    refusing = predictor_with(network, lambda image: pytest.fail("the detector was asked"))
    np.testing.assert_array_equal(refusing.people(IMAGE, BOXES[:1]).boxes, BOXES[:1])
    assert refusing(IMAGE).shape == (1, 17, 3)  # as without a detector
    assert len(refusing.people(IMAGE, [])) == 0
    np.testing.assert_array_equal(predictor_with(network, None).people(IMAGE).boxes, [[0, 0, 160, 96]])


def test_a_detector_sees_the_image_as_it_is_looked_at(network, tmp_path):
    seen = []
    predictor = predictor_with(network, lambda image: seen.append(image) or [])
    visualize.write_image(tmp_path / "photo.png", IMAGE)
    assert len(predictor.people(tmp_path / "photo.png")) == len(predictor.people(IMAGE[..., 0])) == 0
    np.testing.assert_array_equal(seen[0], IMAGE)
    np.testing.assert_array_equal(seen[1], np.repeat(IMAGE[..., :1], 3, axis=2))


def test_a_detector_by_file(network, tmp_path):
    raw = detectors.yolox_output(BOXES, SCORES, (96, 160))
    path = detectors.constant_file(tmp_path / "d.onnx", {"output": raw}, (96, 160))
    for detector in (path, str(path)):
        np.testing.assert_allclose(predictor_with(network, detector).people(IMAGE).boxes, BOXES, atol=1e-3)
    with pytest.raises(InputError, match=r"detector .*missing\.onnx cannot be loaded"):
        predictor_with(network, tmp_path / "missing.onnx")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"must return boxes \[N,4\], or a tuple of boxes and scores \[N\]\. Received: None"),
        ([[1, 2, 3]], r"the detector returns cannot be used: boxes must have shape \[N,4\]"),
        ([[1, 2, 3, np.nan]], "the detector returns cannot be used: box 0 must be finite"),
        ([[1, 2, 3, 0]], "the detector returns cannot be used: box 0 must be finite"),
        ("boxes", r"the detector returns cannot be used: boxes must be \[N,4\] numbers"),
        ((BOXES, [0.5]), r"a finite score for each of 2 boxes\. Received: \[0\.5\]"),
        ((BOXES, [0.5, np.nan]), "a finite score for each of 2 boxes"),
        ((BOXES, ["a", "b"]), "a finite score for each of 2 boxes"),
        ((BOXES, SCORES, [0, 0]), r"the detector returns cannot be used: boxes must be \[N,4\]"),
    ],
)
def test_what_a_detector_must_return(network, returned, message):
    with pytest.raises(InputError, match=message) as refusal:
        predictor_with(network, lambda image: returned).people(IMAGE)
    assert len(str(refusal.value)) <= MAX_LINE


def test_people_are_iterated_drawn_and_written(people):
    first, second = people
    np.testing.assert_array_equal(second.keypoints, people.keypoints[1])
    np.testing.assert_array_equal(second.box, BOXES[1])
    assert (first.score, first.track_id) == (people.scores[0], None)
    drawn = visualize.draw_keypoints(visualize.draw_boxes(IMAGE, BOXES), people.keypoints, COCO, -9)
    np.testing.assert_array_equal(people.draw(IMAGE, score_threshold=-9), drawn)
    assert (people.draw(IMAGE, 9, with_boxes=False) == IMAGE).all()

    found = json.loads(json.dumps(people.to_dict()))["people"]
    assert [one["box"] for one in found] == BOXES.tolist() and list(found[1]["keypoints"]) == list(COCO.names)
    np.testing.assert_allclose(list(found[1]["keypoints"].values()), people.keypoints[1], atol=1e-4)
    results = json.loads(json.dumps(people.to_coco(image_id=7, category_id=3)))
    assert [(one["image_id"], one["category_id"], set(one)) for one in results] == [
        (7, 3, {"image_id", "category_id", "keypoints", "score"})
    ] * 2
    np.testing.assert_allclose(np.reshape(results[1]["keypoints"], (17, 3)), people.keypoints[1], atol=1e-4)
    annotated = Coco()
    annotated.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 3}]}
    annotated.createIndex()
    assert len(annotated.loadRes(results).anns) == 2


def test_track_ids_go_where_people_go(people):
    tracked = People(people.keypoints, people.boxes, people.scores, COCO, np.array([4, 9]))
    assert [person.track_id for person in tracked] == [4, 9]
    assert [one["track_id"] for one in tracked.to_coco(1)] == [4, 9]
    assert [one["track_id"] for one in tracked.to_dict()["people"]] == [4, 9]


def test_nobody(network):
    nobody = predictor_with(network, lambda image: (np.zeros((0, 4)), [])).people(IMAGE)
    assert (nobody.keypoints.shape, nobody.boxes.shape, nobody.scores.shape) == ((0, 17, 3), (0, 4), (0,))
    assert (len(nobody), list(nobody), nobody.to_coco(1), nobody.to_dict()) == (0, [], [], {"people": []})
    assert (nobody.draw(IMAGE) == IMAGE).all()
