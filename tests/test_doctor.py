"""The dataset doctor on annotations: sets broken in one way each must give that finding, whole ones none."""

import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import write_annotations, write_dataset

from hrnet_tf import InputError, doctor
from hrnet_tf.evaluation import evaluate_coco
from hrnet_tf.skeletons import COCO, flip_order

ROOT = pathlib.Path(__file__).parents[1]
WIDTH, HEIGHT = 640, 480
NUM_PEOPLE, NUM_FRONTAL = 80, 60
# A standing person who faces the camera, in parts of the height: x to the right of the middle, y from the head.
STANDING = np.array(
    [
        *((0, 0.08), (0.03, 0.06), (-0.03, 0.06), (0.06, 0.07), (-0.06, 0.07), (0.12, 0.2), (-0.12, 0.2)),
        *((0.17, 0.35), (-0.17, 0.35), (0.19, 0.48), (-0.19, 0.48), (0.08, 0.52), (-0.08, 0.52)),
        *((0.08, 0.75), (-0.08, 0.75), (0.09, 0.97), (-0.09, 0.97)),
    ]
)


def standing_people():
    """A whole annotation file: 80 standing people in 40 images, every fourth seen from behind, eyes then hidden."""
    rng = np.random.default_rng(0)
    annotations = []
    for i in range(NUM_PEOPLE):
        height = rng.uniform(60, 220)
        x, y = rng.uniform(260, 550), rng.uniform(30, 240)
        frontal = i % 4 != 3
        offsets = STANDING * [1 if frontal else -1, 1] + rng.normal(0, 0.004, (17, 2))
        keypoints = np.concatenate([[x, y] + height * offsets, np.full((17, 1), 2.0)], axis=1)
        keypoints[[1, 2], 2] = 2 if frontal else 1
        box = [x - 0.21 * height, y, 0.42 * height, height]
        person = {"id": i + 1, "image_id": i // 2 + 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 17}
        person |= {"area": 0.2 * height**2, "bbox": box, "keypoints": keypoints.ravel().tolist()}
        annotations.append(person)
    images = [
        {"id": i + 1, "file_name": f"{i + 1:012}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(NUM_PEOPLE // 2)
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def check(edit=None):
    content = standing_people()
    if edit:
        edit(content)
    return doctor.check_content(content, "people.json")


def found(report, code):
    return next((finding for finding in report.findings if finding.code == code), None)


def serious(report):
    return {finding.code for finding in report.findings if finding.severity != "info"}


def of_first(number, change):
    """An edit of the first people of the file."""

    def edit(content):
        for annotation in content["annotations"][:number]:
            change(annotation)

    return edit


def of_keypoints(change):
    """An edit of everybody's keypoints [17,3]."""

    def edit(content):
        for annotation in content["annotations"]:
            keypoints = np.reshape(annotation["keypoints"], (17, 3))
            annotation["keypoints"] = change(keypoints, annotation["bbox"]).ravel().tolist()

    return edit


def of_boxes(change):
    def edit(content):
        for annotation in content["annotations"]:
            annotation["bbox"] = list(change(*annotation["bbox"]))

    return edit


def test_outlined_crowds_are_masked_as_they_should_be():
    outline = {"iscrowd": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    assert found(check(of_first(3, lambda a: a.update(outline))), "no_outline") is None


def test_nothing_is_found_in_a_whole_set():
    report = check()
    assert not report.findings and report.exit_code == 0
    assert report.counts == {"images": 40, "people": 80, "to train on": 80, "keypoints": 17}
    assert "0 errors, 0 warnings, 0 notes" in report.as_text()


def category(content):
    return content["categories"][0]


def twice(section):
    return lambda content: content[section].append(dict(content[section][0]))


@pytest.mark.parametrize(
    ("edit", "code", "severity", "count"),
    [
        (of_first(3, lambda a: a.update(area=0)), "area_zero", "warning", 3),
        (of_first(80, lambda a: a.update(area=0)), "area_zero", "error", 80),
        (of_first(80, lambda a: a.update(area=0)), "nobody_usable", "error", 80),
        (of_first(2, lambda a: a.pop("area")), "area_missing", "warning", 2),
        (of_first(2, lambda a: a.update(area="12")), "area_malformed", "warning", 2),
        (of_first(60, lambda a: a.update(area=a["area"] / WIDTH / HEIGHT)), "area_too_small", "error", 60),
        (of_first(4, lambda a: a.update(area=3 * a["area"])), "area_too_large", "warning", 4),
        (of_first(80, lambda a: a.update(area=min(a["area"], 900))), "no_person_for_APm", "info", 80),
        (of_first(2, lambda a: a.update(bbox=[9, 9, 0, 40])), "box_degenerate", "warning", 2),
        (of_first(2, lambda a: a.update(bbox=[700, 9, 20, 40])), "box_outside_image", "warning", 2),
        (of_first(2, lambda a: a.update(bbox=[1, 2, 3])), "box_malformed", "warning", 2),
        (of_first(9, lambda a: a["bbox"].__setitem__(2, float("inf"))), "box_malformed", "error", 9),
        (of_first(2, lambda a: a["bbox"].__setitem__(2, 500)), "box_partly_outside", "info", 2),
        (of_first(5, lambda a: a["keypoints"].append(1)), "keypoints_count", "warning", 5),
        (of_first(9, lambda a: a["keypoints"].append(1)), "keypoints_count", "error", 9),
        (of_first(5, lambda a: a["keypoints"].__setitem__(0, float("nan"))), "keypoints_malformed", "warning", 5),
        (of_first(5, lambda a: a.pop("keypoints")), "keypoints_missing", "warning", 5),
        (of_first(5, lambda a: a["keypoints"].__setitem__(2, 0.5)), "visibility_values", "warning", 5),
        (of_first(5, lambda a: a["keypoints"].__setitem__(slice(0, 2), [0, 0])), "labelled_at_origin", "warning", 5),
        (of_first(5, lambda a: a["keypoints"].__setitem__(0, 9000)), "keypoints_outside_image", "info", 5),
        (of_keypoints(lambda k, _: k * [1, 1, 0]), "unlabelled_with_position", "error", 80),
        (of_first(7, lambda a: a.update(num_keypoints=0)), "num_keypoints_zero", "info", 7),
        (of_first(7, lambda a: a.update(num_keypoints=9)), "num_keypoints_differs", "info", 7),
        (of_first(80, lambda a: a.update(iscrowd=1)), "crowd", "error", 80),
        (of_first(3, lambda a: a.update(iscrowd=1)), "crowd", "info", 3),
        (of_first(3, lambda a: a.update(iscrowd=1)), "no_outline", "info", 3),
        (of_first(3, lambda a: a.update(area=0, bbox=None)), "not_masked", "info", 3),
        (of_first(31, lambda a: a.update(image_id=40)), "crowded_image", "info", 1),
        (of_first(3, lambda a: a.update(image_id=99)), "unknown_image", "warning", 3),
        (of_first(2, lambda a: a.update(id=40)), "duplicate_annotation_id", "warning", 3),
        (of_first(1, lambda a: a.update(id=0)), "annotation_id_zero", "info", 1),
        (of_first(3, lambda a: a.update(category_id=2)), "other_category", "warning", 3),
        (twice("annotations"), "duplicate_people", "warning", 2),
        (twice("images"), "duplicate_image_id", "info", 1),
        (lambda c: c["images"].append(c["images"][0] | {"width": 9}), "duplicate_image_id", "error", 1),
        (lambda c: c["images"][1].update(file_name=c["images"][0]["file_name"]), "duplicate_file_name", "warning", 2),
        (lambda c: c["images"][0].pop("width"), "image_malformed", "warning", 1),
        (
            lambda c: c["images"].append({"id": 77, "file_name": "a", "width": 1, "height": 1}),
            "image_without_people",
            "info",
            1,
        ),
        (lambda c: c["images"].append("image"), "not_objects", "warning", 1),
        (lambda c: c.update(images=[]), "no_images", "error", 1),
        (lambda c: c.update(annotations=[]), "nobody_usable", "error", 1),
        (of_first(80, lambda a: a.pop("keypoints")), "nobody_usable", "error", 80),
        (lambda c: category(c).update(keypoints=["a", "a"]), "category_unusable", "error", 80),
        (lambda c: category(c)["keypoints"].__setitem__(1, "eye"), "partner_missing", "warning", 1),
        (lambda c: category(c)["keypoints"].__setitem__(1, "eye"), "sigmas_missing", "warning", 17),
        (lambda c: category(c).update(keypoints=[f"point{k}" for k in range(17)]), "no_sides", "warning", 17),
        (of_keypoints(lambda k, _: k * (np.arange(17) != 3)[:, None]), "never_labelled", "warning", 1),
    ],
)
def test_each_kind_of_trouble_is_found(edit, code, severity, count):
    report = check(edit)
    finding = found(report, code)
    assert finding is not None, report.as_text()
    assert (finding.severity, finding.count) == (severity, count)
    assert code in report.as_text() and finding.advice in report.as_text()
    assert report.exit_code == {"error": 3, "warning": 2, "info": 0}[report.findings[0].severity]
    assert all("\n" not in text for text in (finding.message, finding.advice, *map(str, finding.examples)))


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (of_boxes(lambda x, y, w, h: (x, y, x + w, y + h)), "boxes_are_corners"),
        (of_boxes(lambda x, y, w, h: (x + w / 2, y + h / 2, w, h)), "boxes_are_centers"),
        (of_boxes(lambda x, y, w, h: (y, x, h, w)), "boxes_x_y_exchanged"),
        (of_boxes(lambda x, y, w, h: (x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT)), "normalised_coordinates"),
        (of_keypoints(lambda k, _: k[:, [1, 0, 2]]), "keypoints_x_y_exchanged"),
        (of_keypoints(lambda k, _: k / [WIDTH, HEIGHT, 1]), "normalised_coordinates"),
        (of_keypoints(lambda k, box: k - [*box[:2], 0]), "keypoints_of_boxes"),
    ],
)
def test_the_reading_that_fits_is_recognised(edit, code):
    readings = {"boxes_are_corners", "boxes_are_centers", "boxes_x_y_exchanged", "normalised_coordinates"}
    readings |= {"keypoints_x_y_exchanged", "keypoints_of_boxes"}
    report = check(edit)
    assert {finding.code for finding in report.findings} & readings == {code}
    assert report.exit_code == 3 and found(report, code).severity == "error"


def test_a_few_wrong_boxes_are_no_other_reading():
    def edit(content):
        for annotation in content["annotations"][:8]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [y, x, h, w]

    report = check(edit)
    assert not {code for code in serious(report) if "exchanged" in code or "corners" in code or "centers" in code}
    assert found(report, "keypoints_outside_box").count == 8


def exchanged(*pairs):
    order = flip_order(pairs, 17)
    return of_keypoints(lambda k, _: k[order])


def test_an_exchanged_pair_is_named():
    knees = COCO.flip_pairs[6]
    report = check(exchanged(knees))
    assert serious(report) == {"pair_exchanged"}
    (note,) = found(report, "pair_exchanged").examples
    assert note["note"] == "left_knee / right_knee in 100 % of 80"
    by_name = {pair["left"]: pair for pair in report.sides}
    assert by_name["left_knee"]["against_body"] == 1 and by_name["left_ankle"]["against_body"] == 0
    assert by_name["left_knee"]["left_further_right"] == 1 - NUM_FRONTAL / NUM_PEOPLE
    assert by_name["left_hip"]["left_further_right"] == NUM_FRONTAL / NUM_PEOPLE


def test_sides_of_the_image_instead_of_the_person_are_seen_by_the_eyes():
    report = check(exchanged(*COCO.flip_pairs))
    assert serious(report) == {"eyes_exchanged"}
    finding = found(report, "eyes_exchanged")
    # Eyes of people seen from behind are hidden, and say nothing.
    assert (finding.count, finding.total) == (NUM_FRONTAL, NUM_FRONTAL)


def test_without_eyes_the_majority_decides():
    def edit(content):
        names = category(content)["keypoints"]
        names[1:3] = ["left_horn", "right_horn"]
        exchanged(*COCO.flip_pairs)(content)

    assert serious(check(edit)) == {"mostly_from_behind", "sigmas_missing"}


def test_twisted_people_are_counted():
    def edit(content):
        for annotation in content["annotations"][:12]:
            keypoints = np.reshape(annotation["keypoints"], (17, 3))
            annotation["keypoints"] = keypoints[flip_order(COCO.flip_pairs[5:], 17)].ravel().tolist()

    finding = found(check(edit), "shoulders_against_hips")
    assert (finding.severity, finding.count, finding.total) == ("warning", 12, 80)


def test_who_has_no_area_counts_neither_in_training_nor_in_evaluation():
    content = standing_people()
    content["annotations"] = content["annotations"][::2]  # one in each image: suppression is not the subject
    keypoints = np.reshape([a["keypoints"] for a in content["annotations"]], (-1, 17, 3))
    keypoints[..., 0] += 1  # pixel
    image_ids = [a["image_id"] for a in content["annotations"]]

    def ap():
        return evaluate_coco(content, image_ids, keypoints, np.ones(40), np.full(40, 5000.0))["AP"]

    before = ap()
    assert before > 0.9
    of_first(20, lambda a: a.update(area=0))(content)
    assert ap() > 0.9
    assert doctor.check_content(content, "").counts["to train on"] == 20
    of_first(40, lambda a: a.update(area=0))(content)
    with pytest.raises(InputError, match="40 people with an area of 0"):
        ap()
    assert found(doctor.check_content(content, ""), "nobody_usable").severity == "error"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([{"image_id": 1, "score": 1}], "holds a list, as results files do"),
        ({"images": []}, "must hold a list 'annotations'"),
        ({"images": 5, "annotations": []}, "must hold a list 'images'"),
        (7, "must hold a list 'images'"),
    ],
)
def test_what_is_no_annotation_file_is_refused(content, match):
    with pytest.raises(InputError, match=match):
        doctor.check_content(content, "people.json")


def test_the_tool(tmp_path):
    def run(*flags):
        command = [sys.executable, "tools/check_dataset.py", f"--data_dir={tmp_path}", *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    content = write_dataset(tmp_path)
    content["annotations"][0]["bbox"] = [1, 2, "a\nb", 4]
    write_annotations(tmp_path, "tiny", content)
    result = run("--split=tiny", f"--picture={tmp_path}/worst.png", f"--json={tmp_path}/report.json")
    assert result.returncode == 3, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exit_code"] == 3 and [f["code"] for f in report["findings"][:2]] == ["refused", "box_malformed"]
    assert report["findings"][1]["examples"] == [{"annotation": 1, "image": "000000000001.jpg"}]
    assert "box_malformed" in result.stdout and "annotation 1 (000000000001.jpg)" in result.stdout
    assert cv2.imread(str(tmp_path / "worst.png")) is not None
    result = run("--split=other")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "person_keypoints_other.json does not exist" in result.stderr.splitlines()[-1]
