"""Annotation files as tools and people write them: read alike by the loader, evaluation and the doctor, and said."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tool_runs
from conftest import annotation_text, write_annotations, write_dataset

from hrnet_tf import InputError, doctor
from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.data import coco
from hrnet_tf.data.annotations import make_table
from hrnet_tf.data.omissions import whole_number
from hrnet_tf.evaluation import evaluate_coco
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


def test_a_box_without_a_keypoint_is_a_warning_that_names_it(whole):
    root, _ = with_edit(whole, of_first(1, lambda a: a.update(bbox=[150, 110, 5, 5])))
    report, _ = doctor.check_split(str(root), "tiny", check_images=False)
    finding = next(finding for finding in report.findings if finding.code == "box_without_keypoints")
    assert finding.severity == "warning" and finding.examples == ({"annotation": 1, "image": "000000000001.jpg"},)


def test_commands_print_the_same_sentences(dataset):
    content = json.loads(annotation_text(dataset))
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
