"""Detectors of all families: where their boxes are in the image, what is a person, and what is refused."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import detectors
import file_server
import numpy as np
import onnx
import pytest

from hrnet_tf import InputError, visualize
from hrnet_tf.data.records import read_image
from hrnet_tf.detection import PersonDetector
from hrnet_tf.detection.detector import DEFAULT_SCORE, MAX_PEOPLE
from hrnet_tf.errors import MAX_LINE

SAMPLE, REAL = os.environ.get("HRNET_TF_COCO_SAMPLE"), os.environ.get("HRNET_TF_DETECTOR")
# Input (h, w), and boxes in its pixels.
SIZE = (96, 160)
BOXES, SCORES = [[8, 8, 48, 72], [72, 16, 40, 64]], [0.6, 0.9]
# What Ultralytics writes into its files.
PEOPLE_THIRD = {"names": "{0: 'bicycle', 1: 'car', 2: 'person'}"}


def dets(boxes, scores, labels):
    """MMDeploy's outputs, of boxes (x, y, width, height)."""
    boxes = np.asarray(boxes, np.float32)
    rows = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:], np.float32(scores)[:, None]], axis=1)
    return {"dets": rows[None], "labels": np.int64([labels])}


def detr(boxes, scores, labels):
    """RT-DETR's."""
    found = dets(boxes, scores, labels)
    return {"labels": found["labels"], "boxes": found["dets"][..., :4], "scores": found["dets"][..., 4]}


def end_to_end(boxes, scores, labels):
    """Ultralytics' with suppression inside: [1,n,6]."""
    found = dets(boxes, scores, labels)
    return {"output0": np.concatenate([found["dets"], np.float32(found["labels"])[..., None]], axis=2)}


def raw(output):
    return lambda boxes, scores, labels: {"output": output(boxes, scores, SIZE)}


DIALECTS = {
    "YOLOX": raw(detectors.yolox_output),
    "MMDeploy": dets,
    "RT-DETR": detr,
    "YOLOv8": raw(detectors.yolov8_output),
    "YOLO, end to end": end_to_end,
}


def inputs_of(dialect):
    return ("images", "orig_target_sizes") if dialect == "RT-DETR" else ("images",)


@pytest.mark.parametrize("is_dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_people_best_first(dialect, is_dynamic, tmp_path):
    outputs = DIALECTS[dialect](BOXES, SCORES, [0, 0])
    path = detectors.constant_file(tmp_path / "d.onnx", outputs, SIZE, inputs_of(dialect), is_dynamic=is_dynamic)
    detector = PersonDetector(path, input_size=SIZE)
    assert (detector.dialect.title, detector.input_size) == (dialect, SIZE)
    boxes, scores = detector(np.zeros((96, 160, 3), np.uint8))
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, BOXES[::-1], atol=1e-3)
    np.testing.assert_allclose(scores, SCORES[::-1], atol=1e-6)
    # Twice as large an image: the same places in it.
    boxes, _ = detector(np.zeros((192, 320, 3), np.uint8))
    np.testing.assert_allclose(boxes, 2 * np.array(BOXES[::-1]), atol=2e-3)
    boxes, scores = PersonDetector(path, score_threshold=0.7, input_size=SIZE)(np.zeros((96, 160, 3), np.uint8))
    np.testing.assert_allclose(boxes, BOXES[1:], atol=1e-3)
    boxes, scores = PersonDetector(path, score_threshold=0.95, input_size=SIZE)(np.zeros((96, 160, 3), np.uint8))
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize("dialect", ["MMDeploy", "RT-DETR", "YOLO, end to end"])
def test_other_classes_are_no_people(dialect, tmp_path):
    outputs = DIALECTS[dialect](BOXES, SCORES, [0, 16])
    detector = PersonDetector(detectors.constant_file(tmp_path / "d.onnx", outputs, SIZE, inputs_of(dialect)))
    boxes, _ = detector(np.zeros((*SIZE, 3), np.uint8))
    np.testing.assert_allclose(boxes, BOXES[:1], atol=1e-3)


def test_a_person_is_the_class_that_the_file_calls_so(tmp_path):
    outputs = end_to_end(BOXES, SCORES, [0, 2])
    path = detectors.constant_file(tmp_path / "d.onnx", outputs, SIZE, metadata=PEOPLE_THIRD)
    np.testing.assert_allclose(PersonDetector(path)(np.zeros((*SIZE, 3), np.uint8))[0], BOXES[1:], atol=1e-3)
    detectors.constant_file(path, outputs, SIZE, metadata={"names": "{0: 'cat', 1: 'dog'}"})
    with pytest.raises(InputError, match="detects no person, but cat, dog"):
        PersonDetector(path)


# Input (h, w) and image (H, W): wide, tall, as it is, smaller, much larger, with sides that do not divide.
@pytest.mark.parametrize("size", [(96, 96), (64, 128)], ids=str)
@pytest.mark.parametrize("image_size", [(96, 192), (192, 96), (96, 96), (24, 32), (960, 480), (137, 211)], ids=str)
@pytest.mark.parametrize(("dialect", "red", "scale"), [("dets", 2, 255), ("detr", 0, 1), ("end_to_end", 0, 1)])
def test_what_is_painted_is_found_where_it_is(size, image_size, dialect, red, scale, tmp_path):
    height, width = image_size
    x, y, w, h = np.array([width * 3 // 8, height // 4, width // 2, height // 2])
    image = np.full((height, width, 3), 20, np.uint8)
    image[y : y + h, x : x + w] = (255, 0, 20)
    path = detectors.extent_file(tmp_path / "d.onnx", size, red, scale * 0.55, dialect)
    (box,), (score,) = PersonDetector(path)(image)
    assert score == np.float32(0.9)
    # A pixel of the input is known as red or not: half of one is what an edge can be off.
    shrunk = max(height / size[0], width / size[1])
    tolerance = 0.5 * (shrunk, max(shrunk, 1))[dialect == "detr"] + 1e-3
    corners = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    np.testing.assert_allclose(corners, [x, y, x + w, y + h], atol=tolerance)
    # No other channel is red.
    path = detectors.extent_file(path, size, 2 - red, scale * 0.55, dialect)
    assert not len(PersonDetector(path)(image)[0])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_where_images_of_other_proportions_are_put(dialect, tmp_path):
    outputs = DIALECTS[dialect]([[32, 0, 64, 96]], [0.9], [0])
    path = detectors.constant_file(tmp_path / "d.onnx", outputs, SIZE, inputs_of(dialect))
    (box,), _ = PersonDetector(path)(np.zeros((96, 96, 3), np.uint8))
    left, right = {"RT-DETR": (19.2, 57.6), "YOLOX": (32, 96), "MMDeploy": (32, 96)}.get(dialect, (0, 64))
    np.testing.assert_allclose(box, [left, 0, right - left, 96], atol=1e-3)


def test_duplicates_are_dropped_and_crowds_bounded(tmp_path):
    size = (416, 416)
    near = [[50, 50, 80, 160], [54, 52, 80, 160], [150, 50, 80, 160]]
    path = detectors.constant_file(
        tmp_path / "d.onnx", {"o": detectors.yolox_output(near, [0.5, 0.9, 0.7], size)}, size
    )
    image = np.zeros((416, 416, 3), np.uint8)
    boxes, scores = PersonDetector(path)(image)
    np.testing.assert_allclose(boxes, [near[1], near[2]], atol=1e-3)
    assert len(PersonDetector(path, nms_threshold=0.95)(image)[0]) == 3
    # Thousands of boxes: the best ones, none of which is a duplicate of another.
    rng = np.random.default_rng(0)
    raw = detectors.yolov8_output([], [], size)
    raw[0, :2], raw[0, 2:4] = rng.uniform(5, 411, (2, raw.shape[2])), 6
    raw[0, 4] = rng.uniform(0.4, 1, raw.shape[2])
    boxes, scores = PersonDetector(detectors.constant_file(path, {"o": raw}, size))(image)
    assert len(boxes) == MAX_PEOPLE and (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_no_box_is_dropped(dialect, tmp_path):
    boxes = [[np.nan, 8, 48, 72], [8, 8, np.inf, 72], [8, 8, 48, 72], [8, 8, 48, 72], [400, 8, 48, 72]]
    scores = [0.9, 0.9, np.nan, 0.4, 0.8]  # the last one is outside of the image
    with np.errstate(all="ignore"):
        outputs = DIALECTS[dialect](boxes, scores, [0] * 5)
    path = detectors.constant_file(tmp_path / "d.onnx", outputs, SIZE, inputs_of(dialect))
    boxes, scores = PersonDetector(path)(np.zeros((*SIZE, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[8, 8, 48, 72]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.4], atol=1e-6)


def test_boxes_end_where_the_image_does(tmp_path):
    path = detectors.constant_file(tmp_path / "d.onnx", dets([[-10, -20, 60, 200]], [0.9], [0]), SIZE)
    boxes, _ = PersonDetector(path)(np.zeros((*SIZE, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[0, 0, 50, 96]])


def test_images_are_those_of_predictors(tmp_path):
    path = detectors.constant_file(tmp_path / "d.onnx", dets([[0, 0, 500, 500]], [0.9], [0]), SIZE)
    detector = PersonDetector(path)
    for image in (np.zeros((1, 1, 3)), np.zeros((5, 7)), np.zeros((5, 7, 4)), np.zeros((1, 5000, 1))):
        np.testing.assert_allclose(detector(np.uint8(image))[0], [[0, 0, image.shape[1], image.shape[0]]], rtol=1e-5)
    visualize.write_image(tmp_path / "photo.png", np.zeros((5, 7, 3), np.uint8))
    np.testing.assert_allclose(detector(tmp_path / "photo.png")[0], [[0, 0, 7, 5]], rtol=1e-5)
    for bad in (np.zeros((5, 7, 3)), np.zeros((5, 0, 3), np.uint8), np.zeros((5, 7, 2), np.uint8)):
        with pytest.raises(InputError, match="an image must"):
            detector(bad)


@pytest.mark.parametrize(
    ("outputs", "inputs", "message"),
    [
        ({"heatmaps": np.zeros((1, 17, 24, 40), np.float32)}, ("images",), r"Received: heatmaps \[1, 17, 24, 40\]"),
        # YOLOv5, three boxes a cell; RF-DETR; RT-DETR without the input for sizes; two outputs
        ({"o": np.zeros((1, 3 * 315, 85), np.float32)}, ("images",), r"Received: o \[1, 945, 85\]"),
        ({"dets": np.zeros((1, 9, 4)), "labels": np.zeros((1, 9, 91))}, ("images",), r"dets \[1, 9, 4\], labels"),
        (detr(BOXES, SCORES, [0, 0]), ("images",), "with the input orig_target_sizes.*Received: labels"),
        ({"a": np.zeros((1, 6)), "b": np.zeros((1, 6))}, ("images",), r"Received: a \[1, 6\], b \[1, 6\]"),
        (dets(BOXES, SCORES, [0, 0]), ("images", "more"), r"must take images \[1,3,h,w\].*Received: images"),
    ],
)
def test_other_files_are_refused_by_their_outputs(outputs, inputs, message, tmp_path):
    path = detectors.constant_file(tmp_path / "d.onnx", outputs, SIZE, inputs)
    with pytest.raises(InputError, match=message) as refusal:
        PersonDetector(path)
    assert str(refusal.value).startswith(f"detector {path}: ") and len(str(refusal.value)) <= MAX_LINE


def test_a_detector_that_cannot_be_run_is_named_once(tmp_path):
    """It fails for every image, as an image has more numbers than what it is to be reshaped to."""
    path = detectors.constant_file(tmp_path / "d.onnx", dets(BOXES, SCORES, [0, 0]), is_dynamic=True)
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["images", "dets_lengths"], ["unused"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, ["a", "b", "c"]))
    onnx.save(model, path)
    with pytest.raises(InputError, match=f"^detector {path}: it cannot be run: ") as refusal:
        PersonDetector(path)
    assert len(str(refusal.value)) <= MAX_LINE


@pytest.mark.parametrize(
    ("outputs", "metadata"),
    [
        ({"dets": np.full((1, 3, 5), 0.5, np.float32), "labels": np.zeros((1, 2), np.int64)}, None),  # 3 and 2
        ({"dets": np.full((1, 2, 5), 0.5, np.float32), "labels": np.zeros(1, np.int64)}, None),
        ({"output": detectors.yolox_output([], [], (416, 416))}, {"names": "{5000: 'person'}"}),  # has 80 classes
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs, metadata, tmp_path):
    detector = PersonDetector(detectors.constant_file(tmp_path / "a.onnx", outputs, metadata=metadata))
    with pytest.raises(
        InputError, match=r"a.onnx: its outputs are not those of (MMDeploy|YOLOX)\. Received: \w+ float"
    ):
        detector(np.zeros((416, 416, 3), np.uint8))


@pytest.mark.parametrize(
    "names", ["(" * 5000, "{-1: 'person'}", "{1e999: 'person'}", "{None: 'person'}", "[]", "9" * 5000]
)
def test_what_is_no_table_of_classes_is_left_aside(names, tmp_path):
    outputs = dets([[10, 10, 20, 20]], [0.9], [0])
    path = detectors.constant_file(tmp_path / "a.onnx", outputs, metadata={"names": names})
    assert len(PersonDetector(path)(np.zeros((416, 416, 3), np.uint8))[0]) == 1


def test_no_detector_at_all(tmp_path):
    damaged, archive = tmp_path / "d.onnx", tmp_path / "d.zip"
    damaged.write_bytes(b"no ONNX")
    for path, message in (
        (damaged, "cannot be loaded: "),
        (tmp_path / "missing.onnx", "cannot be loaded: there is no such file"),
        (tmp_path, "cannot be loaded: there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            PersonDetector(path)
    detectors.constant_file(damaged, dets(BOXES, SCORES, [0, 0]), SIZE)
    for value in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="`score_threshold` must be from 0 to 1"):
            PersonDetector(damaged, value)
    with zipfile.ZipFile(archive, "w") as file:
        file.write(damaged, "20230928/end2end.onnx")
        file.writestr("20230928/pipeline.json", "{}")
    np.testing.assert_allclose(PersonDetector(archive)(np.zeros((*SIZE, 3), np.uint8))[0], BOXES[::-1], atol=1e-3)
    with zipfile.ZipFile(archive, "a") as file:
        file.write(damaged, "other.onnx")
    with pytest.raises(
        InputError, match=r"must have one \.onnx file in it. There are: 20230928/end2end.onnx, other.onnx"
    ):
        PersonDetector(archive)


def test_a_detector_by_name(tmp_path, monkeypatch):
    path = detectors.constant_file(tmp_path / "d.onnx", dets(BOXES, SCORES, [0, 0]), is_dynamic=True)
    rows = ["name\tnetwork\tinput_size\tkeypoint_set\tsha256\turls"]
    with file_server.running() as server:
        server.files["/d.onnx"] = file_server.Served(path.read_bytes())
        for name, sha256 in (("known", hashlib.sha256(path.read_bytes()).hexdigest()), ("unknown", "")):
            rows.append(f"{name}\tdetector\t96x160\t\t{sha256}\t{server.url}/d.onnx")
        (tmp_path / "list.tsv").write_text("\n".join(rows))
        monkeypatch.setenv("HRNET_TF_PRETRAINED", str(tmp_path / "list.tsv"))
        monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path / "cache"))
        command = [sys.executable, "-m", "hrnet_tf.cli"]
        said = subprocess.run([*command, "download", "known"], capture_output=True, text=True, check=True).stdout
        assert said == f"known: {next((tmp_path / 'cache').glob('known-*.onnx'))}\n"
        said = subprocess.run([*command, "models", "known"], capture_output=True, text=True, check=True).stdout
        assert re.search("\nknown +96x160 +none \\(detector\\) +yes\n", said)
        detector = PersonDetector("known")
        assert detector.input_size == SIZE  # the list's: the file does not say
        np.testing.assert_allclose(detector(np.zeros((*SIZE, 3), np.uint8))[0], BOXES[::-1], atol=1e-3)
        with pytest.raises(InputError, match=r"unknown has no known SHA-256.*allow_unverified=True"):
            PersonDetector("unknown")
        assert PersonDetector("unknown", allow_unverified=True).dialect == detector.dialect
    assert PersonDetector("known").dialect == detector.dialect  # without the server


@pytest.mark.skipif(not REAL, reason="HRNET_TF_DETECTOR names no detector, such as yolox_nano.onnx")
@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_COCO_SAMPLE names no folder with a COCO sample")
def test_a_real_detector_finds_people_in_photographs():
    folder = pathlib.Path(SAMPLE)
    content = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())
    paths = {image["id"]: folder / "images" / "val2017" / image["file_name"] for image in content["images"]}
    people = [(one["image_id"], one["bbox"]) for one in content["annotations"] if one["area"] > 96**2]
    detector = PersonDetector(REAL, score_threshold=0.01)

    def found_scores(step):
        """Of each of the people the score of the best box that is theirs."""
        found = {number: detector(read_image(path)[..., ::step]) for number, path in paths.items()}
        return [
            max((score for other, score in zip(*found[number], strict=True) if overlap(box, other) > 0.5), default=0)
            for number, box in people
        ]

    scores = found_scores(1)
    assert len(people) >= 5 and np.mean(np.array(scores) > DEFAULT_SCORE) > 0.7
    assert np.mean(scores) > np.mean(found_scores(-1))  # in the order of channels that it was trained in


def overlap(box, other):
    """Intersection over union of two boxes (x, y, width, height)."""
    (x, y, w, h), (x2, y2, w2, h2) = box, other
    shared = max(0, min(x + w, x2 + w2) - max(x, x2)) * max(0, min(y + h, y2 + h2) - max(y, y2))
    return shared / (w * h + w2 * h2 - shared)
