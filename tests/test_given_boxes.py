"""Boxes that are given, as numbers, as a detector's file or with annotations, and the numbers that images go by."""

import numpy as np
import pytest
from predict_inputs import BOX_A, BOX_B, detection, found_in, noise, write_json, write_photos

from hrnet_tf import InputError, visualize
from hrnet_tf.prediction import boxes, sources


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def test_numbers_of_images(photos, tmp_path):
    numbers, bad = found_in(photos)
    assert [(path.name, number) for path, number in numbers.items()] == [(f"{n:012}.jpg", n) for n in (7, 8, 9, 10)]
    assert len(bad) == 1
    assert sources.result_ids(numbers) == numbers
    visualize.write_image(photos / "beach.png", noise())
    numbers, _ = found_in(photos)
    assert numbers[photos / "beach.png"] is None
    assert list(sources.result_ids(numbers).values()) == [1, 2, 3, 4, 5]
    (photos / "beach.png").rename(photos / "8.png")
    assert list(sources.result_ids(found_in(photos)[0]).values()) == [1, 2, 3, 4, 5]

    numbers, bad = found_in(photos, {"8.png": 80, "000000000009.jpg": 90})
    assert [(path.name, number) for path, number in numbers.items()] == [("000000000009.jpg", 90), ("8.png", 80)]
    assert f"{photos / '000000000007.jpg'} is not in the annotations" in bad
    with pytest.raises(InputError, match="missing does not exist"):
        found_in(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image can be read there"):
        found_in(tmp_path / "empty")


def test_detections_go_by_file_name_or_number(photos, tmp_path):
    found = [detection(7, BOX_A), detection(7, BOX_B, file_name="photos/beach.png"), detection("x", BOX_B)]
    detections = boxes.Detections(write_json(tmp_path / "d.json", found))
    np.testing.assert_allclose(detections("000000000007.jpg", 7)[0], [BOX_A])
    np.testing.assert_allclose(detections("beach.png", None)[0], [BOX_B])
    for nothing, scores in (detections("other.jpg", 8), detections("other.jpg", None)):
        assert nothing.shape == (0, 4)
        assert scores.shape == (0,)
    detections.check_match({"000000000007.jpg": 7})
    with pytest.raises(InputError, match=r"no person box is of these images.*such as 000000000008\.jpg"):
        detections.check_match({"000000000008.jpg": 8})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "must hold a list of detections. Received: a dict"),
        ([detection(7, BOX_A), 5], "detection 1 is malformed .*Received: 5"),
        ([{"image_id": 7, "bbox": BOX_A}], "detection 0 is malformed"),
        ([detection(7, [1, 2, 3])], "detection 0 is malformed"),
        ([detection(7, [1, 2, None, 4])], "detection 0 is malformed"),
        ([detection([7], BOX_A)], "detection 0 is malformed"),
        ([detection(7, BOX_A, file_name=3)], "detection 0 is malformed"),
    ],
)
def test_malformed_detections_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        boxes.Detections(write_json(tmp_path / "d.json", content))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4;", "a,b,c,d", "1,2,-3,4", "1,2,nan,4", "1 2 3 4"])
def test_malformed_boxes_are_refused(text):
    with pytest.raises(InputError, match="boxes must be like 10,20,50,120"):
        boxes.GivenBoxes(text)


def test_annotations_give_ids_and_keypoints(tmp_path):
    image = {"id": 5, "file_name": "val/beach.png", "height": 3, "width": 4}
    category = {"id": 1, "keypoints": ["l_hand", "r_hand"]}
    path = write_json(tmp_path / "a.json", {"images": [image], "categories": [category]})
    found = boxes.read_annotations(path)
    assert (found.ids, found.category_ids) == ({"val/beach.png": 5}, (1,))
    assert found.skeleton is not None and found.skeleton.flip_pairs == ((0, 1),)
    found = boxes.read_annotations(write_json(path, {"images": [image]}))
    assert (found.ids, found.skeleton) == ({"val/beach.png": 5}, None)
    for content in ([], {"images": 3}, {"images": [4]}, {"images": [{"id": 5}]}, {"categories": ["person"]}):
        with pytest.raises(InputError):
            boxes.read_annotations(write_json(path, content))
