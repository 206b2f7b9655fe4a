import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import write_annotations, write_dataset

from hrnet_tf import InputError
from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.data import coco
from hrnet_tf.data.records import check_images_exist, read_image
from hrnet_tf.skeletons import COCO, skeleton_from_category

SAMPLE = os.environ.get("HRNET_TF_COCO_SAMPLE")


def edited(root, edit):
    """The dataset's split with its annotations passed through `edit`, loaded."""
    content = write_dataset(root)
    edit(content)
    write_annotations(root, "tiny", content)
    return coco.load_split(str(root), "tiny")


def test_people_are_read_in_the_order_of_images(dataset):
    records = coco.load_split(str(dataset), "tiny")
    assert len(records) == 8
    assert records.skeleton == COCO
    assert records.image_index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert records.image_ids.tolist() == [1, 2, 3, 4]
    assert records.visible.all() and (records.box_scores == 1).all()
    annotation = json.loads((dataset / "annotations/person_keypoints_tiny.json").read_text())["annotations"][3]
    np.testing.assert_allclose(records.keypoints[3], np.reshape(annotation["keypoints"], (17, 3))[:, :2], rtol=1e-6)
    assert read_image(records.path(3)).shape == (120, 160, 3)


def test_a_split_called_test_has_annotations_unless_it_is_one_of_cocos(tmp_path):
    write_dataset(tmp_path, "test")
    assert len(CocoBenchmark(str(tmp_path)).load_split("test")) == 8
    names = ("test2017", "test-dev2017", "test-challenge2015", "test", "test-dev", "tests2017", "val2017")
    assert [coco.is_unannotated(name) for name in names] == [True] * 3 + [False] * 4


def test_images_may_lie_directly_under_the_data_directory(dataset):
    (dataset / "images" / "tiny").rename(dataset / "tiny")
    records = coco.load_split(str(dataset), "tiny")
    check_images_exist(records)
    assert records.path(0) == str(dataset / "tiny" / "000000000001.jpg")


def test_boxes_are_clipped_as_in_the_reference(tmp_path):
    boxes = [[-10, -5, 30, 40], [150, 100, 50, 50], [10, 20, 30, 40], [0, 0, 160, 120]]

    def edit(content):
        for annotation, box in zip(content["annotations"], boxes, strict=False):
            annotation["bbox"] = box

    records = edited(tmp_path, edit)
    # x2 = min(159, x1 + w - 1), y2 = min(119, y1 + h - 1), x1 and y1 at least 0
    expected = [[0, 0, 29, 39], [150, 100, 9, 19], [10, 20, 29, 39], [0, 0, 159, 119]]
    np.testing.assert_array_equal(records.boxes[:4], expected)


def test_who_is_left_out(tmp_path):
    def edit(content):
        people = content["annotations"]
        people[0]["iscrowd"] = 1
        people[1]["keypoints"] = [0] * 51
        people[2]["area"] = 0
        people[3]["bbox"] = [500, 10, 20, 20]
        people[4]["category_id"] = 2
        del people[5]["area"]  # allowed
        people[6]["keypoints"][2::3] = [1] * 17  # labelled but occluded counts

    records = edited(tmp_path, edit)
    assert records.image_index.tolist() == [2, 3, 3]
    assert records.visible[1].all()


def test_custom_keypoints_come_from_the_category(tmp_path):
    names = ["tail", "left_ear", "right_ear", "L_paw", "R_paw", "left_hip"]

    def edit(content):
        content["categories"] = [
            {"id": 7, "name": "rock"},
            {"id": 1, "name": "cat", "keypoints": names, "skeleton": [[1, 2], [1, 3]]},
        ]
        for annotation in content["annotations"]:
            annotation["keypoints"] = annotation["keypoints"][:18]

    skeleton = edited(tmp_path, edit).skeleton
    assert skeleton.names == tuple(names)
    assert skeleton.flip_pairs == ((1, 2), (3, 4))
    assert skeleton.limbs == ((0, 1), (0, 2))
    assert skeleton.upper_body == (0, 1, 2, 3, 4)
    assert skeleton.oks_sigmas == (0.062,) * 6


@pytest.mark.parametrize(
    ("category", "match"),
    [
        ({"keypoints": ["a", "a"]}, "each used once"),
        ({"keypoints": ["a", "b"], "skeleton": [[0, 1]]}, "pairs of numbers from 1 to 2"),
        ({"keypoints": ["a", "b"], "sigmas": [0.1]}, "2 positive numbers"),
        ({"keypoints": ["a", "b"], "sigmas": [0.1, 25]}, "2 positive numbers from 0.0001 to 10"),
        ({"keypoints": ["a", "b"], "sigmas": [0.1, 10**400]}, "2 positive numbers"),
        ({"keypoints": []}, "must list its keypoint names"),
    ],
)
def test_bad_categories_are_refused(category, match):
    with pytest.raises(InputError, match=match):
        skeleton_from_category(category)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda c: c.pop("images"), "must hold a list 'images'"),
        (lambda c: c.update(annotations={}), "must hold a list 'annotations'"),
        (
            lambda c: [part.pop("keypoints") for part in (*c["categories"], *c["annotations"])],
            "must list its keypoints",
        ),
        (lambda c: c["images"][0].pop("width"), "image 1 must have a positive 'width'"),
        (lambda c: c["images"][0].pop("id"), "integer 'id'"),
        (lambda c: c["annotations"][1].update(keypoints=[1] * 50), "annotation 2 is malformed: 51 finite numbers"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, "x", 4]), "annotation 2 is malformed"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, float("nan"), 4]), "annotation 2 is malformed: 4 finite"),
        (lambda c: c["annotations"][1].update(bbox=["1", "2", "3", "4"]), "annotation 2 is malformed: 4 finite"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, 1e30]), "annotation 2 is malformed: 4 finite"),
        (lambda c: c["images"][0].update(width=10**400), "image 1 must have a positive 'width'"),
        (lambda c: c["images"][0].update(id=True), "integer 'id'"),
        (lambda c: c["images"][0].update(file_name="a\0b"), "'file_name'"),
        (lambda c: c["images"][1].update(id=1), "image id 1 is that of two images"),
        (lambda c: c["categories"][0].pop("id"), "integer 'id'"),
        (lambda c: [a.update(image_id=99) for a in c["annotations"]], "8 people of images that are not listed"),
        (lambda c: [a.update(keypoints=[0] * 51) for a in c["annotations"]], "8 people without a labelled keypoint"),
    ],
)
def test_bad_annotations_are_refused(tmp_path, edit, match):
    with pytest.raises(InputError, match=match) as caught:
        edited(tmp_path, edit)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path, dataset):
    with pytest.raises(InputError, match=r"data directory .*nowhere does not exist"):
        coco.load_split(str(tmp_path / "nowhere"), "tiny")
    with pytest.raises(InputError, match=r"annotation file .*person_keypoints_other\.json does not exist"):
        coco.load_split(str(dataset), "other")
    for name in ("000000000001.jpg", "000000000003.jpg"):
        (dataset / "images" / "tiny" / name).unlink()
    with pytest.raises(InputError, match=r"2 of 4 images .* absent: .*001\.jpg, .*003\.jpg"):
        check_images_exist(coco.load_split(str(dataset), "tiny"))
    (dataset / "images" / "tiny").rename(dataset / "moved")
    with pytest.raises(InputError, match=r"image folder .*images/tiny \(or .*tiny\) does not exist"):
        coco.load_split(str(dataset), "tiny")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_truncated_images_are_refused(dataset, share):
    path = dataset / "images" / "tiny" / "000000000001.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"cannot decode image .*001\.jpg"):
        read_image(str(path))


def test_detections_keep_their_boxes(dataset, tmp_path):
    records = coco.load_split(str(dataset), "tiny")
    path = tmp_path / "detections.json"
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [-5, 3, 500, 60], "score": 0.9},
        {"image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 0, 4], "score": 0.9},
    ]
    path.write_text(json.dumps(rows))
    detections = coco.load_detections(str(path), records)
    np.testing.assert_array_equal(detections.boxes, [[-5, 3, 500, 60]])
    assert detections.image_ids[detections.image_index].tolist() == [2]
    np.testing.assert_allclose(detections.box_scores, [0.9])
    for content, match in (
        ("{}", "must hold a list"),
        ('[{"image_id": 1}]', "detection 0 is malformed"),
        ("[]", "no person box"),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]',
            "0 is malformed .1 finite",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, "3", 4], "score": 1}]',
            "0 is malformed .4 finite",
        ),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=match):
            coco.load_detections(str(path), records)


@pytest.mark.slow
def test_150_000_people_take_little_memory(tmp_path):
    num_images = 60_000
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names)}
    images = [{"id": i, "file_name": f"{i:012}.jpg", "height": 480, "width": 640} for i in range(num_images)]
    keypoints = [x for k in range(17) for x in (100 + k, 200 + k, 2)]
    annotations = [
        {
            "id": i,
            "image_id": i % num_images,
            "category_id": 1,
            "iscrowd": 0,
            "area": 5000.5,
            "num_keypoints": 17,
            "bbox": [90.5, 150.25, 60.75, 200.5],
            "keypoints": keypoints,
            "segmentation": [[100.25 + j for j in range(80)]],
        }
        for i in range(150_000)
    ]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "big").mkdir(parents=True)
    write_annotations(tmp_path, "big", {"images": images, "annotations": annotations, "categories": [category]})
    script = (
        "from hrnet_tf.data import coco; "
        f"assert len(coco.load_split({str(tmp_path)!r}, 'big')) == 150000; "
        # Not ru_maxrss, which starts with the memory of the process that started this one.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    del annotations
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(output) * 1024 < 2e9


@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_COCO_SAMPLE names no folder with a COCO sample")
def test_coco_sample():
    records = coco.load_split(SAMPLE, "val2017")
    check_images_exist(records)
    assert len(records) == 12
    assert records.visible.sum() == 181
    detections = coco.load_detections(os.path.join(SAMPLE, "person_detections_val2017.json"), records)
    assert len(detections) == 118
