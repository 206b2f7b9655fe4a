"""Where annotations and images lie, and by which names, sizes and flags they are found."""

import dataclasses
import json
import struct
import unicodedata

import keras
import numpy as np
import pytest
import tool_runs
from conftest import annotation_text, detection, write_annotations

from hrnet_tf import InputError, doctor
from hrnet_tf.benchmarks import load_people, open_benchmark
from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.data import coco
from hrnet_tf.data.records import check_images_exist, read_image
from hrnet_tf.data.shards import write_shards

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
    content = json.loads(annotation_text(dataset))
    content["images"][0]["file_name"] = name
    write_annotations(dataset, "tiny", content)
    annotated, _ = load_people(open_benchmark("coco", str(dataset)), "tiny")
    assert read_image(annotated.path(0)).shape == (120, 160, 3)
    report, _ = doctor.check_split(str(dataset), "tiny")
    assert report.omissions == list(annotated.omissions) and "image_missing" not in {f.code for f in report.findings}
    if name != "./sub/1.jpg":
        assert "1 of 4 images under another spelling of their file_name" in annotated.omissions[-1]


def test_one_file_is_not_taken_for_two_images(dataset):
    content = json.loads(annotation_text(dataset))
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
    (root / annotations).write_text(annotation_text(dataset))
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


def turned(data):
    """A JPEG file with EXIF orientation 6."""
    block = b"Exif\0\0MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


@pytest.mark.parametrize("count", [1, 4])
def test_sizes_of_turned_or_other_images_are_said_before_training(dataset, count):
    content = json.loads(annotation_text(dataset))
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


@pytest.mark.slow
def test_evaluate_and_predict_take_annotations_from_anywhere(dataset, tmp_path):
    """A network of 17 keypoints, a set of category 21, and a detector's boxes of that category."""
    inputs = keras.Input((64, 48, 3))
    model = tmp_path / "small.keras"
    keras.Model(inputs, keras.layers.Conv2D(17, 5, strides=4, padding="same")(inputs)).save(model)
    content = json.loads(annotation_text(dataset).replace('"category_id": 1,', '"category_id": 21,'))
    content["categories"][0]["id"] = 21
    content["annotations"][0].pop("bbox")
    (tmp_path / "people.json").write_text(json.dumps(content))
    (tmp_path / "boxes.json").write_text(json.dumps([detection(image_id, 21) for image_id in (1, 2, 99)]))
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
