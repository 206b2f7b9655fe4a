"""A detector's boxes as programs write them: which are taken, of which picture, and what is said of the others."""

import json
import re

import cv2
import numpy as np
import pytest
from conftest import annotation_text, detection, write_annotations

from hrnet_tf import InputError
from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.data.detections import read_detections
from hrnet_tf.evaluation.coco import keypoint_results
from hrnet_tf.prediction import boxes, sources

DETECTIONS = [
    # detections, ids of the keypoint set, boxes taken, what is said
    ([detection(1), detection(2)], (1,), 2, None),
    ([detection("1"), detection(2.0)], (1,), 2, None),
    ([detection(1, 21)], (21,), 1, None),
    (
        [detection(1, 0), detection(2, 0)],
        (1,),
        2,
        r"assumed: 2 detections of category 0 to be of the keypoint set's, \[1\]",
    ),
    (
        [detection(1), detection(1, 3), detection(2, 3)],
        (1,),
        1,
        "left out: 2 of 3 detections of other categories.*2 of category 3",
    ),
    ([detection(1, 8), detection(2, 9)], (8, 9), 2, None),
    (
        [detection(1)] + [detection(i) for i in range(90, 100)],
        (1,),
        1,
        "left out: 10 of 11 detections on images that are not listed",
    ),
    ([detection(1), detection(2, bbox=[1, 2, 0, 5])], (1,), 1, "left out: 1 of 2 detections whose box has no width"),
    ([detection(1)] * 19 + [detection(1, score=None)], (1,), 19, "left out: 1 of 20 malformed detections"),
    (
        [detection(99), detection(98)],
        (1,),
        None,
        "no person box on the 4 images.*2 boxes, of the images 99, 98.*such as 1, 2",
    ),
    (
        [detection(1, 5), detection(2, 6)],
        (1,),
        None,
        r"no detection is of category \[1\].*1 of category 5, 1 of category 6",
    ),
    ([], (1,), None, "no person box"),
]


@pytest.mark.parametrize(("detections", "ids", "taken", "sentence"), DETECTIONS)
def test_detections_are_taken_or_said(dataset, tmp_path, detections, ids, taken, sentence):
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(detections))
    content = json.loads(annotation_text(dataset))
    content["categories"] = [content["categories"][0] | {"id": number} for number in ids]
    for annotation in content["annotations"]:
        annotation["category_id"] = ids[0]
    write_annotations(dataset, "tiny", content)
    benchmark = CocoBenchmark(str(dataset))
    annotated = benchmark.load_split("tiny")
    if taken is None:
        with pytest.raises(InputError, match=sentence):
            benchmark.load_detections(path, annotated)
        return
    people = benchmark.load_detections(path, annotated)
    assert len(people) == taken
    said = people.omissions[len(annotated.omissions) :]
    assert len(said) == (sentence is not None)
    if sentence:
        assert re.search(sentence, said[0]), said
    results = tmp_path / "results.json"
    benchmark.evaluate("tiny", np.zeros((taken, 17, 3)), people, (256, 192), results_file=results)
    assert {person["category_id"] for person in json.loads(results.read_text())} <= set(ids)


def test_results_have_everybodys_own_category():
    keypoints = np.random.default_rng(0).uniform(0, 100, (3, 17, 3))
    results = keypoint_results([1, 2, 3], keypoints, np.ones(3), np.full(3, 900.0), [26, 1, 26])
    assert [result["category_id"] for result in results] == [26, 1, 26]


def test_boxes_for_prediction_take_the_sets_category_or_the_files_only_one(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([detection(1, 21), detection(2, 21)]))
    assert boxes.Detections(path).category_id == 21
    assert boxes.Detections(path, category_ids=(3, 21)).category_id == 3
    path.write_text(json.dumps([detection(1, 1), detection(2, 2)]))
    found = boxes.Detections(path)
    assert (found.category_id, found.count) == (1, 1)
    assert read_detections(path, (1, 2))[0][1].category == 2


NAMES = [
    # detections by name, pictures and how many boxes each has
    (
        [detection(0, file_name="a/1.jpg"), detection(0, file_name="b/1.jpg")] * 2,
        {"a/1.jpg": 2, "b/1.jpg": 2, "1.jpg": 0},
    ),
    ([detection(0, file_name="a/1.jpg")], {"a/1.jpg": 1, "b/1.jpg": 0, "1.jpg": 1, "x/a/1.jpg": 1}),
    ([detection(0, file_name="a\\1.jpg")], {"a/1.jpg": 1, "b/1.jpg": 0}),
    ([detection("photo"), detection("other.png")], {"photo.jpg": 1, "other.png": 1, "other.jpg": 0}),
    ([detection(0, file_name="1")], {"1.jpg": 1, "2.jpg": 0}),
]


@pytest.mark.parametrize(("detections", "pictures"), NAMES)
def test_boxes_go_to_the_picture_that_they_name(tmp_path, detections, pictures):
    (tmp_path / "d.json").write_text(json.dumps(detections))
    found = boxes.Detections(tmp_path / "d.json")
    assert {name: len(found(name, None)[1]) for name in pictures} == pictures


def test_detections_of_no_picture_are_counted(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps([detection(1), detection(98), detection(99)]))
    found = boxes.Detections(tmp_path / "d.json")
    found.check_match({"1.jpg": 1, "2.jpg": 2})
    assert [str(said).partition(" (")[0] for said in found.omissions] == [
        "left out: 2 of 3 detections that are of none of these images"
    ]


def test_files_of_one_name_in_two_folders_keep_their_ids(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg", "c/2.jpg"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    ids = {"a/1.jpg": 10, "b/1.jpg": 20, "2.jpg": 30}
    bad = []
    numbers = sources.find_images(tmp_path, bad.append, ids)
    assert {path.relative_to(tmp_path).as_posix(): number for path, number in numbers.items()} == {
        "a/1.jpg": 10,
        "b/1.jpg": 20,
    }
    assert sources.picture_names(numbers) == ["a/1.jpg", "b/1.jpg"]
    assert sources.find_images(tmp_path / "b" / "1.jpg", bad.append, ids) == {tmp_path / "b" / "1.jpg": 20}
    assert sources.find_images(tmp_path / "c", bad.append, ids) == {tmp_path / "c" / "2.jpg": 30}
    (tmp_path / "1.jpg").write_bytes((tmp_path / "a" / "1.jpg").read_bytes())
    bad.clear()
    sources.find_images(tmp_path, bad.append, ids)
    assert "1.jpg is one of several in the annotations with its name" in str(bad[0])
