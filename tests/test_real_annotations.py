"""Annotation files as tools and people write them: read alike by the loader, evaluation and the doctor, and said."""

import dataclasses
import json
import re
import struct
import subprocess
import sys
import unicodedata

import cv2
import keras
import numpy as np
import pytest
import tool_runs
from conftest import write_annotations, write_dataset

from hrnet_tf import InputError, doctor
from hrnet_tf.benchmarks import load_people, open_benchmark
from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.data import coco
from hrnet_tf.data.annotations import make_table
from hrnet_tf.data.detections import read_detections
from hrnet_tf.data.omissions import whole_number
from hrnet_tf.data.records import check_images_exist, read_image
from hrnet_tf.data.shards import write_shards
from hrnet_tf.evaluation import evaluate_coco
from hrnet_tf.evaluation.coco import keypoint_results
from hrnet_tf.prediction import boxes, sources
from hrnet_tf.skeletons import COCO

NUM_PEOPLE = 24


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a split of 24 people in 12 images, and its annotations."""
    root = tmp_path_factory.mktemp("whole")
    content = write_dataset(root, num_images=12)
    return root, json.dumps(content)


def with_edit(whole, edit):
    """The folder with its annotations edited."""
    root, text = whole
    content = json.loads(text)
    edit(content)
    write_annotations(root, "tiny", content)
    return root, content


def of_first(count, change):
    def edit(content):
        for annotation in content["annotations"][:count]:
            change(annotation)

    return edit


def of_all(change):
    return of_first(NUM_PEOPLE, change)


def category(content):
    return content["categories"][0]


def second_category(names):
    """An edit that gives every second person another category, with these keypoint names."""

    def edit(content):
        content["categories"].append({"id": 7, "name": "other", "keypoints": names})
        for annotation in content["annotations"][1::2]:
            annotation["category_id"] = 7

    return edit


def crowded(content):
    content["annotations"] = [a | {"image_id": 1} for a in content["annotations"]]


READ = [
    # what is in the file, who is left of 24 people, what is said
    (lambda c: None, 24, None),
    (of_first(1, lambda a: a.update(keypoints=[])), 23, "left out: 1 of 24 people without keypoints .annotation 1"),
    (of_first(2, lambda a: a.update(keypoints=None)), 22, "left out: 2 of 24 people without keypoints"),
    (of_first(12, lambda a: a.pop("keypoints")), 12, "left out: 12 of 24 people without keypoints"),
    (of_first(2, lambda a: a.update(keypoints=[1, 2, 2])), 22, "left out: 2 of 24 people with malformed keypoints"),
    (of_first(2, lambda a: a.update(keypoints=[0] * 51)), 22, "2 of 24 people without a labelled keypoint"),
    (of_first(3, lambda a: a.pop("bbox")), 21, "left out: 3 of 24 people without a box .annotation 1"),
    (of_first(3, lambda a: a.update(bbox=[])), 21, "left out: 3 of 24 people without a box"),
    (of_first(2, lambda a: a.update(bbox=[1, 2, "x", 4])), 22, "2 of 24 people with a malformed box"),
    (of_first(3, lambda a: a.update(bbox=[900, 2, 5, 4])), 21, "3 of 24 people with a box that is empty or outside"),
    (of_first(3, lambda a: a.update(bbox=[0, 0, 0, 0])), 21, "3 of 24 people with a box that is empty or outside"),
    (of_first(3, lambda a: a.update(image_id=99)), 21, "3 of 24 people of images that are not listed.*image_id 99"),
    (of_first(3, lambda a: a.update(iscrowd=1)), 21, "left out: 3 of 24 crowds"),
    (of_first(3, lambda a: a.update(iscrowd="true")), 21, "left out: 3 of 24 crowds"),
    (of_first(3, lambda a: a.update(iscrowd=1, bbox=None, keypoints={"counts": 1})), 21, "left out: 3 of 24 crowds"),
    (of_all(lambda a: a.update(iscrowd="0")), 24, "read: 24 people whose iscrowd is no integer, as it is meant"),
    (of_all(lambda a: a.update(iscrowd="false")), 24, "read: 24 people whose iscrowd"),
    (of_all(lambda a: a.update(iscrowd=0.0)), 24, "read: 24 people whose iscrowd"),
    (of_all(lambda a: a.update(iscrowd=None)), 24, None),
    (of_all(lambda a: a.update(category_id="1")), 24, "read: 24 annotations whose category_id is no integer as one"),
    (
        of_all(lambda a: a.update(image_id=float(a["image_id"]))),
        24,
        "read: 24 annotations whose image_id is no integer",
    ),
    (of_all(lambda a: a.update(image_id=str(a["image_id"]))), 24, "read: 24 annotations whose image_id is no integer"),
    (lambda c: [i.update(id=str(i["id"])) for i in c["images"]], 24, "read: 12 images whose id is no integer as one"),
    (lambda c: [i.update(width=160.0) for i in c["images"]], 24, None),
    (of_all(lambda a: a.update(num_keypoints=None)), 24, "read: 24 people's num_keypoints.*from their keypoints"),
    (of_all(lambda a: a.update(num_keypoints="17")), 24, "read: 24 people's num_keypoints"),
    (of_first(4, lambda a: a.update(num_keypoints=0)), 24, "read: 4 people's num_keypoints"),
    (of_all(lambda a: a.pop("num_keypoints")), 24, None),
    (of_first(4, lambda a: a.pop("area")), 24, "assumed: 4 areas that are not written, as width x height of the box"),
    (of_first(4, lambda a: a.update(area=None)), 24, "assumed: 4 areas that are not written"),
    (of_first(4, lambda a: a.update(area=0)), 20, "left out: 4 of 24 people with an area of 0"),
    (of_first(4, lambda a: (a.pop("area"), a["bbox"].__setitem__(2, 0))), 20, "4 of 24 people with an area of 0"),
    (lambda c: category(c).update(skeleton=[[1, 2], [16, 18]]), 24, r"left out: 1 of 2 limbs .*\(\[16, 18\]\)"),
    (lambda c: category(c).update(skeleton="none"), 24, "left out: 1 limbs"),
    (lambda c: category(c).update(skeleton=[[0, 1], [1, 16]]), 24, "read: 2 limbs as counted from 0"),
    (lambda c: category(c).update(id=1.0), 24, None),
    (lambda c: c["images"].extend(c["images"][:4]), 24, "left out: 4 of 16 images that are listed again .image 1"),
    (lambda c: c["images"].append({"id": 77}), 24, "left out: 1 of 13 images without an integer id"),
    (lambda c: c["annotations"].append(None), 24, "left out: 1 of 38 entries that are no objects"),
    (second_category(list(COCO.names)), 24, "read: 2 categories with the same keypoint names as one set"),
    (second_category(["a", "b"]), 12, "left out: 12 of 24 annotations of other categories.*annotation 2: category 7"),
    (lambda c: c["categories"].insert(0, {"id": 0, "name": "none", "keypoints": ["a"]}), 24, None),
    (
        lambda c: category(c).update(keypoints=[]),
        24,
        "assumed: 17 keypoint names, 0 to 16.*24 annotations hold so many",
    ),
    (crowded, 24, "not evaluated in full: 1 images with more than 20 people.*image 1 has 24"),
]


@pytest.mark.parametrize(("edit", "people", "sentence"), READ)
def test_loader_evaluation_and_doctor_read_alike_and_say_so(whole, edit, people, sentence):
    root, content = with_edit(whole, edit)
    records = coco.load_split(str(root), "tiny")
    assert len(records) == people
    said = "\n".join(records.omissions)
    if sentence is None:
        assert not records.omissions
    else:
        assert pytest.approx(1) == sum(bool(re.search(sentence, line)) for line in records.omissions), said
    report, _ = doctor.check_split(str(root), "tiny")
    assert report.counts["to train on"] == people
    assert list(records.omissions) == report.omissions
    assert all(line in report.as_text() for line in records.omissions)
    # Whoever is loaded counts in evaluation: predicted rightly, nobody is missed.
    scores = np.ones((people, records.skeleton.num_keypoints, 1))
    predictions = np.concatenate([records.keypoints, scores], axis=-1)
    metrics = CocoBenchmark(str(root)).evaluate("tiny", predictions, records, (256, 192))
    assert metrics["AR"] == pytest.approx(min(1, 20 / people) if edit is crowded else 1)
    half = evaluate_coco(
        content, records.image_ids[records.image_index[::2]], predictions[::2], *np.ones((2, people))[:, ::2]
    )
    assert half["AR"] == pytest.approx((people + 1) // 2 / people, abs=1e-6) or edit is crowded


REFUSED = [
    (of_all(lambda a: a.update(iscrowd=1)), "Read: 24 annotations, 24 crowds.*Set iscrowd to 0"),
    (of_all(lambda a: a.pop("bbox")), "24 people without a box.*Write bbox"),
    (of_all(lambda a: a.update(bbox=[0, 0, 0, 0])), "24 people with a box that is empty"),
    (of_all(lambda a: a.update(category_id=5)), "24 of other categories than 'person'.*category_id"),
    (of_all(lambda a: a.update(keypoints=[0] * 51)), "24 people without a labelled keypoint.*visibility"),
    (of_all(lambda a: a.update(area=0)), "24 people with an area of 0"),
    (
        of_first(6, lambda a: a["keypoints"].pop()),
        "annotation 1 is malformed: 51 finite numbers.*50 in .*6 of 24 people",
    ),
    (of_first(6, lambda a: a.update(bbox="1,2,3,4")), "annotation 1 is malformed: 4 finite numbers.*6 of 24 people"),
    (lambda c: c["images"][0].update(id=2), "image id 2 is that of two images"),
    (lambda c: [i.pop("width") for i in c["images"]], "positive 'width' and 'height'.*12 of 12 images"),
    (lambda c: category(c).update(sigmas=[10 * s for s in COCO.oks_sigmas]), "every prediction counts as right.*by 10"),
    (lambda c: category(c).update(sigmas=[100 * s for s in COCO.oks_sigmas]), "sigmas"),
    (lambda c: category(c).update(keypoints=["a", "a"]), "each used once"),
    (lambda c: c.update(annotations=[]), "Read: 0 annotations"),
]


@pytest.mark.parametrize(("edit", "message"), REFUSED)
def test_what_matters_is_refused_by_all_in_the_same_words(whole, edit, message):
    root, content = with_edit(whole, edit)
    with pytest.raises(InputError, match=message) as loading:
        coco.load_split(str(root), "tiny")
    with pytest.raises(InputError, match=message):
        evaluate_coco(content, [], np.zeros((0, 17, 3)), [], [])
    assert "\n" not in str(loading.value) and len(str(loading.value)) <= 493
    report, _ = doctor.check_split(str(root), "tiny")
    assert report.exit_code == 3 and report.counts["to train on"] == 0
    cause = str(loading.value).partition("tiny.json: ")[2]
    assert any(cause[:60] in finding.message for finding in report.findings)


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), (7.0, 7), ("7", 7), (" 7 ", 7), ("7.0", 7), ("-7", -7), (7.5, None), ("7a", None), (True, None)]
    + [(value, None) for value in (None, [], {}, float("nan"), float("inf"), 10**400, "9" * 30, "")],
)
def test_whole_numbers_are_read_as_meant(value, number):
    assert whole_number(value) == number


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1}], "holds a list, as results files do"),
        ({"shapes": [], "imagePath": "a.jpg"}, "must hold a list 'images'.*an object with .'shapes', 'imagePath'"),
        (3, "must hold a list 'images'.*but 3"),
    ],
)
def test_other_files_are_told_by_what_they_hold(content, message):
    with pytest.raises(InputError, match=message):
        make_table(content, "a.json")


SPELLINGS = [
    # in the annotations, on the disk
    ("sub\\1.jpg", "sub/1.jpg"),
    ("./sub/1.jpg", "sub/1.jpg"),
    ("IMG_1.JPG", "img_1.jpg"),
    (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg")),
    (unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")),
    ("/data/upload/3/1.jpg", "1.jpg"),
    ("images/my%20photo.jpg", "my photo.jpg"),
    ("C:\\people\\1.jpg", "1.jpg"),
]


@pytest.mark.parametrize(("name", "file"), SPELLINGS)
def test_images_are_found_under_other_spellings(dataset, name, file):
    folder = dataset / "images" / "tiny"
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / "000000000001.jpg").rename(folder / file)
    content = json.loads(coco_text(dataset))
    content["images"][0]["file_name"] = name
    write_annotations(dataset, "tiny", content)
    annotated, _ = load_people(open_benchmark("coco", str(dataset)), "tiny")
    assert read_image(annotated.path(0)).shape == (120, 160, 3)
    report, _ = doctor.check_split(str(dataset), "tiny")
    assert report.omissions == list(annotated.omissions) and "image_missing" not in {f.code for f in report.findings}
    if name != "./sub/1.jpg":
        assert "1 of 4 images under another spelling of their file_name" in annotated.omissions[-1]


def coco_text(root):
    return (root / "annotations" / "person_keypoints_tiny.json").read_text()


def test_one_file_is_not_taken_for_two_images(dataset):
    content = json.loads(coco_text(dataset))
    for image, name in zip(content["images"], ("a/x.jpg", "b/x.jpg"), strict=False):
        image["file_name"] = name
    folder = dataset / "images" / "tiny"
    (folder / "000000000001.jpg").rename(folder / "x.jpg")
    write_annotations(dataset, "tiny", content)
    with pytest.raises(InputError, match="2 of 4 images listed in the annotations are absent"):
        check_images_exist(coco.load_split(str(dataset), "tiny"))


LAYOUTS = [
    # annotation file, folder of images, name of the split
    ("annotations/person_keypoints_default.json", "images/default", "default"),  # CVAT
    ("valid/_annotations.coco.json", "valid", "valid"),  # Roboflow
    ("result.json", "images", "result"),  # Label Studio
    ("train/result.json", "train/images", "train"),
    ("cats.json", "cats", "cats"),  # COCO-Annotator
    ("annotations/cats.json", ".", "cats"),
]


@pytest.mark.parametrize(("annotations", "images", "split"), LAYOUTS)
def test_layouts_are_found_by_themselves_and_by_flags(dataset, tmp_path, annotations, images, split):
    root = tmp_path / "export"
    for place in (root / annotations, root / images / "x"):
        place.parent.mkdir(parents=True, exist_ok=True)
    (root / annotations).write_text(coco_text(dataset))
    for file in (dataset / "images" / "tiny").iterdir():
        file.rename(root / images / file.name)
    by_itself = CocoBenchmark(str(root))
    given = {"anything": (str(root / annotations), str(root / images))}
    by_flags = open_benchmark("coco", None, given)
    for benchmark, name in ((by_itself, split), (by_flags, "anything")):
        annotated, people = load_people(benchmark, name)
        assert len(annotated) == 8
        predictions = np.concatenate([people.keypoints, np.ones((8, 17, 1))], axis=-1)
        assert benchmark.evaluate(name, predictions, people, (256, 192))["AP"] == pytest.approx(1)
    assert doctor.check_split(str(root), split)[0].counts["to train on"] == 8
    report, folder = doctor.check_split(None, "", True, False, *given["anything"])
    assert report.counts["to train on"] == 8 and folder is not None
    with pytest.raises(InputError, match=r"does not exist.*JSON files there: .*json"):
        by_itself.load_split("none")


def box(image_id, category_id=1, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": [10, 10, 60, 90], "score": 0.9, **more}


DETECTIONS = [
    # detections, ids of the keypoint set, boxes taken, what is said
    ([box(1), box(2)], (1,), 2, None),
    ([box("1"), box(2.0)], (1,), 2, None),
    ([box(1, 21)], (21,), 1, None),
    ([box(1, 0), box(2, 0)], (1,), 2, r"assumed: 2 detections of category 0 to be of the keypoint set's, \[1\]"),
    ([box(1), box(1, 3), box(2, 3)], (1,), 1, "left out: 2 of 3 detections of other categories.*2 of category 3"),
    ([box(1, 8), box(2, 9)], (8, 9), 2, None),
    (
        [box(1)] + [box(i) for i in range(90, 100)],
        (1,),
        1,
        "left out: 10 of 11 detections on images that are not listed",
    ),
    ([box(1), box(2, bbox=[1, 2, 0, 5])], (1,), 1, "left out: 1 of 2 detections whose box has no width"),
    ([box(1)] * 19 + [box(1, score=None)], (1,), 19, "left out: 1 of 20 malformed detections"),
    ([box(99), box(98)], (1,), None, "no person box on the 4 images.*2 boxes, of the images 99, 98.*such as 1, 2"),
    ([box(1, 5), box(2, 6)], (1,), None, r"no detection is of category \[1\].*1 of category 5, 1 of category 6"),
    ([], (1,), None, "no person box"),
]


@pytest.mark.parametrize(("detections", "ids", "taken", "sentence"), DETECTIONS)
def test_detections_are_taken_or_said(dataset, tmp_path, detections, ids, taken, sentence):
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(detections))
    content = json.loads(coco_text(dataset))
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
    path.write_text(json.dumps([box(1, 21), box(2, 21)]))
    assert boxes.Detections(path).category_id == 21
    assert boxes.Detections(path, category_ids=(3, 21)).category_id == 3
    path.write_text(json.dumps([box(1, 1), box(2, 2)]))
    found = boxes.Detections(path)
    assert (found.category_id, found.count) == (1, 1)
    assert read_detections(path, (1, 2))[0][1].category == 2


NAMES = [
    # detections by name, pictures and how many boxes each has
    ([box(0, file_name="a/1.jpg"), box(0, file_name="b/1.jpg")] * 2, {"a/1.jpg": 2, "b/1.jpg": 2, "1.jpg": 0}),
    ([box(0, file_name="a/1.jpg")], {"a/1.jpg": 1, "b/1.jpg": 0, "1.jpg": 1, "x/a/1.jpg": 1}),
    ([box(0, file_name="a\\1.jpg")], {"a/1.jpg": 1, "b/1.jpg": 0}),
    ([box("photo"), box("other.png")], {"photo.jpg": 1, "other.png": 1, "other.jpg": 0}),
    ([box(0, file_name="1")], {"1.jpg": 1, "2.jpg": 0}),
]


@pytest.mark.parametrize(("detections", "pictures"), NAMES)
def test_boxes_go_to_the_picture_that_they_name(tmp_path, detections, pictures):
    (tmp_path / "d.json").write_text(json.dumps(detections))
    found = boxes.Detections(tmp_path / "d.json")
    assert {name: len(found(name, None)[1]) for name in pictures} == pictures


def test_detections_of_no_picture_are_counted(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps([box(1), box(98), box(99)]))
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


def turned(data):
    """A JPEG file with EXIF orientation 6."""
    block = b"Exif\0\0MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


@pytest.mark.parametrize("count", [1, 4])
def test_sizes_of_turned_or_other_images_are_said_before_training(dataset, count):
    content = json.loads(coco_text(dataset))
    for image in content["images"][:count]:
        path = dataset / "images" / "tiny" / image["file_name"]
        path.write_bytes(turned(path.read_bytes()))
        image.update(width=120, height=160)
    write_annotations(dataset, "tiny", content)
    if count == 4:
        with pytest.raises(InputError, match=r"4 of 4 images looked at were annotated as EXIF turns them.*160 x 120"):
            coco.load_split(str(dataset), "tiny")
    else:
        said = coco.load_split(str(dataset), "tiny").omissions[-1]
        assert "1 of 4 images looked at have another size than annotated" in said and "annotated are 120 x 160" in said
    assert "image_turned_by_exif" in {finding.code for finding in doctor.check_split(str(dataset), "tiny")[0].findings}


def test_the_doctor_draws_a_sample_and_reads_shards(dataset):
    images = dataset / "images" / "tiny"
    report, _ = doctor.check_split(str(dataset), "tiny")
    picture = doctor.draw_worst(dataclasses.replace(report, findings=[]))
    assert picture is not None and picture.shape[0] > 2 * 280  # all eight
    write_shards(images, [path.name for path in images.iterdir()], dataset / "shards", 10**9)
    images.rename(dataset / "files")
    (dataset / "shards").rename(images)
    of_shards, _ = doctor.check_split(str(dataset), "tiny", decode_all=True)
    assert of_shards.findings == report.findings
    np.testing.assert_array_equal(doctor.draw_worst(dataclasses.replace(of_shards, findings=[])), picture)


def test_a_box_without_a_keypoint_is_a_warning_that_names_it(whole):
    root, _ = with_edit(whole, of_first(1, lambda a: a.update(bbox=[150, 110, 5, 5])))
    report, _ = doctor.check_split(str(root), "tiny", check_images=False)
    finding = next(finding for finding in report.findings if finding.code == "box_without_keypoints")
    assert finding.severity == "warning" and finding.examples == ({"annotation": 1, "image": "000000000001.jpg"},)


def test_commands_print_the_same_sentences(dataset):
    content = json.loads(coco_text(dataset))
    content["annotations"][0].pop("bbox")
    write_annotations(dataset, "tiny", content)
    sentence = "left out: 1 of 8 people without a box (annotation 1)"
    for tool, flags in (("check_dataset", {}), ("make_shards", {"out_dir": dataset / "out"})):
        result = tool_runs.run(tool, data_dir=dataset, split="tiny", **flags)
        assert result.stdout.splitlines().count(sentence) == 1, result.stdout + result.stderr
    result = tool_runs.run("check_dataset", split="tiny")
    assert "--data_dir must be given, or --annotations=FILE and --images=FOLDER" in tool_runs.complaint(result)


def test_labelme_files_are_converted_as_the_documentation_says(tmp_path):
    page = (tool_runs.ROOT / "docs" / "your_data.md").read_text(encoding="utf-8")
    script = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "photos").mkdir()
    shapes = [("person", [[50, 60], [10, 20]]), ("nose", [[30, 25]]), ("left_eye", [[32, 22]])]
    content = {"imagePath": "1.jpg", "imageWidth": 160, "imageHeight": 120}
    content["shapes"] = [{"label": label, "points": points, "group_id": 1} for label, points in shapes]
    (tmp_path / "photos" / "1.json").write_text(json.dumps(content))
    arguments = [sys.executable, "-c", script, str(tmp_path / "photos"), "nose,left_eye,right_eye"]
    subprocess.run(arguments, check=True)
    records = coco.load_annotations(tmp_path / "people.json", tmp_path / "photos")
    np.testing.assert_array_equal(records.boxes, [[10, 20, 39, 39]])
    np.testing.assert_array_equal(records.visible, [[1, 1, 0]])


@pytest.mark.slow
def test_evaluate_and_predict_take_annotations_from_anywhere(dataset, tmp_path):
    """A network of 17 keypoints, a set of category 21, and a detector's boxes of that category."""
    inputs = keras.Input((64, 48, 3))
    model = tmp_path / "small.keras"
    keras.Model(inputs, keras.layers.Conv2D(17, 5, strides=4, padding="same")(inputs)).save(model)
    content = json.loads(coco_text(dataset).replace('"category_id": 1,', '"category_id": 21,'))
    content["categories"][0]["id"] = 21
    content["annotations"][0].pop("bbox")
    (tmp_path / "people.json").write_text(json.dumps(content))
    (tmp_path / "boxes.json").write_text(json.dumps([box(1, 21), box(2, 21), box(99, 21)]))
    flags = {"model": model, "annotations": tmp_path / "people.json", "detections": tmp_path / "boxes.json"}
    images = dataset / "images" / "tiny"
    result = tool_runs.run("evaluate", **flags, images=images, results=tmp_path / "results.json", batch_size=2)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "left out: 1 of 8 people without a box (annotation 1)" in lines
    assert "left out: 1 of 3 detections on images that are not listed in the annotations (image_id 99)" in lines
    assert {person["category_id"] for person in json.loads((tmp_path / "results.json").read_text())} == {21}
    result = tool_runs.run("predict", **flags, input=images, out_dir=tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "left out: 1 of 3 detections that are of none of these images" in result.stdout
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(person["image_id"], person["category_id"]) for person in people] == [(1, 21), (2, 21)]
    flags["dataset"] = "mpii"
    complaint = tool_runs.complaint(tool_runs.run("evaluate", **flags, images=images))
    assert "--annotations and --images are for annotations in COCO's format" in complaint
