"""tools/predict.py: images and folders in; pictures, JSON and CSV out."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import detectors
import file_server
import keras
import numpy as np
import pytest
from predict_inputs import BOX_A, BOX_B, detection, found_in, noise, read_csv, save_network, write_json, write_photos
from pycocotools.coco import COCO as Coco
from tool_runs import ROOT, complaint, run

from hrnet_tf import InputError, PosePredictor, visualize
from hrnet_tf.data.records import read_image
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.prediction import boxes, files
from hrnet_tf.skeletons import COCO, named

SAMPLE = os.environ.get("HRNET_TF_COCO_SAMPLE")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("model") / "small.keras")


@pytest.fixture(scope="module")
def predictor(model_path):
    return PosePredictor(model_path, batch_size=2)


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def test_a_folder_with_detections(photos, model_path, tmp_path):
    found = [detection(7, BOX_A, 0.8), detection(9, BOX_A), detection(7, BOX_B), detection(7, BOX_B, 0.1)]
    found += [detection(1, BOX_A), {**detection(7, BOX_A), "category_id": 2}, detection(9, [5, 5, 0, 9])]
    detections = write_json(tmp_path / "detections.json", found)
    flags = {"model": model_path, "input": photos, "out_dir": tmp_path / "out", "detections": detections}
    result = run("predict", **flags, box_threshold=0.5, score_threshold=-100)
    assert result.returncode == 0, result.stderr
    assert "3 of 4 images, 3 people" in result.stdout
    assert "2 images could not be read" in result.stdout
    for name in ("notes.txt", "000000000010.jpg"):
        assert f"skipped: cannot decode image {photos / name}" in result.stderr
    names = [f"{number:012}.jpg" for number in (7, 8, 9)]
    assert sorted(os.listdir(tmp_path / "out")) == [*names, "predictions.csv", "predictions.json"]

    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(person["image_id"], person["file_name"]) for person in people] == [
        *[(7, "000000000007.jpg")] * 2,
        (9, "000000000009.jpg"),
    ]
    predictor = PosePredictor(model_path)
    expected = [*predictor(photos / names[0], [BOX_A, BOX_B]), *predictor(photos / names[2], [BOX_A])]
    for person, keypoints, box_score in zip(people, expected, (0.8, 0.9, 0.9), strict=True):
        np.testing.assert_allclose(np.reshape(person["keypoints"], (17, 3)), keypoints, atol=1e-3)
        counted = keypoints[keypoints[:, 2] > 0.2, 2]
        assert person["score"] == pytest.approx(box_score * counted.mean() if len(counted) else 0, abs=1e-3)
    annotated = Coco()
    annotated.dataset = {"images": [{"id": i} for i in (7, 8, 9)], "annotations": [], "categories": [{"id": 1}]}
    annotated.createIndex()
    assert len(annotated.loadRes(str(tmp_path / "out" / "predictions.json")).anns) == 3

    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 3 * 17
    assert list(rows[0]) == ["file", "frame", "time", "person", "track_id", "keypoint", "x", "y", "score"]
    assert (rows[20]["file"], rows[20]["frame"], rows[20]["person"]) == (names[0], "", "1")
    assert rows[20]["keypoint"] == COCO.names[3]
    assert float(rows[20]["x"]) == people[1]["keypoints"][9]

    drawn = read_image(tmp_path / "out" / names[0]).astype(int)
    assert np.abs(drawn - read_image(photos / names[0])).max() > 100
    unseen = read_image(tmp_path / "out" / names[1]).astype(int)
    assert np.abs(unseen - read_image(photos / names[1])).max() < 40  # saved as JPEG again


def predict_paths(*paths, **flags):
    words = [sys.executable, "tools/predict.py", *map(str, paths), *(f"--{name}={flags[name]}" for name in flags)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_paths_are_inputs_and_folders_are_looked_into(photos, model_path, tmp_path):
    for number, folder in (
        (11, photos / "more" / "deeper"),
        (12, photos / "more" / ".hidden"),
        (13, tmp_path / "other"),
    ):
        folder.mkdir()
        visualize.write_image(folder / f"{number}.png", noise(number))
    flags = {"model": model_path, "out_dir": tmp_path / "out", "whole_image": True, "recursive": True}
    result = predict_paths(photos, tmp_path / "other" / "13.png", **flags)
    assert result.returncode == 0, result.stderr
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    names = ["photos/000000000007.jpg", "photos/000000000008.jpg", "photos/000000000009.jpg"]
    names += ["photos/more/deeper/11.png", "other/13.png"]
    assert [(p["file_name"], p["image_id"]) for p in people] == list(zip(names, (7, 8, 9, 11, 13), strict=True))
    assert all((tmp_path / "out" / name).is_file() for name in names)


def test_inputs_that_do_not_go_together_are_one_line(photos, model_path, tmp_path):
    flags = {"model": model_path, "out_dir": tmp_path / "out"}
    assert "nothing to predict: name an image" in complaint(predict_paths(**flags))
    assert "nowhere.jpg does not exist" in complaint(predict_paths(photos, "nowhere.jpg", **flags))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def finds_red(tmp_path):
    """A detector of what is red."""
    return detectors.extent_file(tmp_path / "red.onnx", (120, 160), 2, 200, "dets")


def test_a_folder_with_a_detector(photos, model_path, finds_red, tmp_path):
    painted = np.zeros((120, 160, 3), np.uint8)
    painted[20:80, 70:130] = (255, 0, 0)  # BOX_B
    visualize.write_image(photos / "000000000011.png", painted)
    flags = {"model": model_path, "input": photos, "out_dir": tmp_path / "out", "detector": finds_red}
    result = run("predict", **flags, box_threshold=0.85)
    assert result.returncode == 0, result.stderr
    assert f"people are what {finds_red} finds with a score of at least 0.85" in result.stdout
    assert "nobody in 3 of 4 images: 000000000007.jpg, 000000000008.jpg, 000000000009.jpg" in result.stdout
    assert "2 images could not be read" in result.stdout and "4 of 5 images, 1 people" in result.stdout
    (person,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    expected = PosePredictor(model_path, detector=finds_red).people(painted)
    np.testing.assert_allclose(expected.boxes, [BOX_B])
    np.testing.assert_allclose(np.reshape(person["keypoints"], (17, 3)), expected.keypoints[0], atol=1e-3)
    assert person["score"] == pytest.approx(expected.scores[0], abs=1e-3)


@pytest.mark.parametrize("is_there", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_default_detector_is_fetched(is_there, photos, model_path, finds_red, tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_TF_PRETRAINED", str(tmp_path / "list.tsv"))
    monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path / "cache"))
    flags = {"model": model_path, "input": photos / "000000000007.jpg", "out_dir": tmp_path / "out"}
    with file_server.running() as server:
        columns = ["name", "network", "input_size", "keypoint_set", "sha256", "urls"]
        sha256 = hashlib.sha256(finds_red.read_bytes()).hexdigest()
        row = ["yolox_s", "detector", "96x160", "", sha256, f"{server.url}/red.onnx"]
        (tmp_path / "list.tsv").write_text("\t".join(columns) + "\n" + "\t".join(row))
        if is_there:
            server.files["/red.onnx"] = file_server.Served(finds_red.read_bytes())
        result = run("predict", **flags)
    if is_there:
        assert result.returncode == 0, result.stderr
        assert "people are what yolox_s finds with a score of at least 0.3" in result.stdout
        assert "nobody in 1 of 1 images: 000000000007.jpg\n1 of 1 images, 0 people" in result.stdout
    else:
        said = complaint(result)
        assert "cannot download yolox_s" in said and "Fetch it by hand and put it at" in said
        assert said.endswith("; or give --detector=FILE, --boxes, --detections or --whole_image\n")
        assert not (tmp_path / "out").exists()


def test_where_keypoints_are_none_of_people_the_whole_picture_is_taken(photos, tmp_path):
    inputs = keras.Input((64, 48, 3))
    path = tmp_path / "hands.keras"
    keras.Model(inputs, keras.layers.Conv2D(21, 5, strides=4, padding="same")(inputs)).save(path)
    write_card(path, ModelCard("hands", (64, 48), named("hand21")))
    flags = {"model": path, "input": photos / "000000000007.jpg", "out_dir": tmp_path / "out"}
    result = run("predict", **flags)
    assert result.returncode == 0, result.stderr
    assert "assumed: one in each picture, who fills it, as the keypoints are none of people" in result.stdout
    assert "1 of 1 images, each taken for one person" in result.stdout
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 1


def test_the_tool_refuses_in_one_line(photos, model_path, tmp_path):
    flags = {"model": model_path, "input": photos, "out_dir": tmp_path / "out"}
    bad = flags | {"input": photos / "000000000010.jpg", "boxes": "1,2,3,4"}
    assert "none of the images can be read" in complaint(run("predict", **bad))
    both = flags | {"boxes": "1,2,3,4", "detections": "d.json"}
    assert "--boxes and --detections exclude each other" in complaint(run("predict", **both))
    assert not (tmp_path / "out").exists()


def test_originals_are_not_written_over(photos, predictor):
    before = {path: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    for out_dir in (photos, photos / "more" / ".."):
        with pytest.raises(InputError, match="would replace the originals"):
            files.predict_images(predictor, found_in(photos)[0], out_dir, boxes.whole_image, print)
    assert {path: path.read_bytes() for path in photos.iterdir() if path.is_file()} == before


def test_nothing_is_left_where_no_image_can_be_read(photos, predictor, tmp_path):
    numbers = {photos / "000000000010.jpg": 10}
    bad = []
    with pytest.raises(InputError, match="none of the images can be read"):
        files.predict_images(predictor, numbers, tmp_path / "out", boxes.whole_image, bad.append)
    assert len(bad) == 1
    assert not list((tmp_path / "out").iterdir())


def test_results_of_nobody_are_empty(photos, predictor, tmp_path):
    numbers = {photos / "000000000008.jpg": 8}
    nobody = boxes.Detections(write_json(tmp_path / "d.json", []))
    assert files.predict_images(predictor, numbers, tmp_path / "out", nobody, print) == (1, 0, ["000000000008.jpg"])
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == []
    assert read_csv(tmp_path / "out" / "predictions.csv") == []


def test_copies_keep_their_names_where_that_can_be_written():
    assert files.copy_name("a.jpg") == "a.jpg"
    assert files.copy_name("a.heic") == "a.heic.png"
    assert files.copy_name("grey.alone.pgm") == "grey.alone.pgm.png" and files.copy_name("none") == "none.png"


def test_pictures_in_grey_alone_and_names_of_any_bytes_are_predicted(photos, predictor, tmp_path):
    names = ("a.pgm", os.fsdecode(b"b\xff\n.jpg"))
    for name in names:
        shutil.copyfile(photos / "000000000008.jpg", tmp_path / name)
    done = files.predict_images(
        predictor, {tmp_path / name: None for name in names}, tmp_path / "out", boxes.whole_image, pytest.fail
    )
    assert done.people == 2 and {"a.pgm.png", names[1]} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert names[1] in [one["file_name"] for one in json.loads((tmp_path / "out" / "predictions.json").read_text())]
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert {row["file"] for row in rows} == {"a.pgm", "b\\udcff\n.jpg"} and len(rows) == 2 * 17


@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_COCO_SAMPLE names no folder with a COCO sample")
def test_photographs_of_the_coco_sample(predictor, tmp_path):
    numbers, bad = found_in(os.path.join(SAMPLE, "images", "val2017"))
    detections = boxes.Detections(os.path.join(SAMPLE, "person_detections_val2017.json"), 0.5)
    detections.check_match({path.name: number for path, number in numbers.items()})
    num_images, num_people, _ = files.predict_images(predictor, numbers, tmp_path / "out", detections, print)
    assert (num_images, bad) == (len(numbers), [])
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(people) == num_people > num_images
    assert {person["image_id"] for person in people} == set(numbers.values())
