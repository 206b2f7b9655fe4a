"""The command-line tools on networks of whole images, as users start them."""

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import annotation_text, write_annotations, write_dataset
from tool_runs import complaint, run, training

from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.benchmarks.crowdpose import CrowdPoseBenchmark
from hrnet_tf.model_card import read_card

pytestmark = pytest.mark.slow
NETWORK = {"model": "higher_hrnet_w18_small_v1"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset with a crowd and a finished run on it."""
    root = tmp_path_factory.mktemp("trained")
    content = write_dataset(root / "data")
    content["annotations"][1].update(iscrowd=1, segmentation=[[10, 10, 90, 10, 90, 90]])
    write_annotations(root / "data", "tiny", content)
    result = run("train", **training(root, **NETWORK))
    assert result.returncode == 0, result.stderr
    (root / "stdout").write_text(result.stdout)
    return root


def logged(work):
    return [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]


def test_training_leaves_what_it_says(trained):
    work, output = trained / "work", (trained / "stdout").read_text()
    assert "4 images to train on, evaluation on 4 images without boxes" in output
    assert "left out: 1 of 8 crowds (iscrowd)" in output
    assert [line["step"] for line in logged(work) if "AP" in line] == [1, 2]
    losses = [line for line in logged(work) if "loss" in line]
    assert all(line["heatmap_loss"] > 0 and {"pull", "push"} <= line.keys() for line in losses)
    assert json.loads((work / "run.json").read_text())["num_images"] == 4
    for name in ("best.keras", "export/model.keras", "export/saved_model/1/saved_model.pb", "export/model.onnx"):
        assert (work / name).is_file()


def test_the_last_state_of_a_run_is_exported(trained, tmp_path):
    flags = {
        "model": trained / "work",
        "data_dir": trained / "data",
        "val_split": "tiny",
        "out_dir": tmp_path / "export",
    }
    result = run("export", **flags, formats="onnx")
    assert result.returncode == 0, result.stderr
    assert read_card(tmp_path / "export" / "model.onnx").kind == "bottom_up"


def test_a_run_goes_on_as_if_it_had_not_ended(trained, tmp_path):
    for epochs, flags in ((1, {}), (2, {"resume": "true"})):
        result = run("train", **training(trained, **NETWORK, work_dir=tmp_path / "work", epochs=epochs, **flags))
        assert result.returncode == 0, result.stderr
    folders = trained / "work", tmp_path / "work"
    whole, parts = ([line["loss"] for line in logged(folder) if "loss" in line] for folder in folders)
    np.testing.assert_allclose(parts, whole, rtol=1e-4)


def test_evaluation_needs_no_boxes_and_takes_several_scales(trained, tmp_path):
    paths = {name: tmp_path / name for name in ("metrics.json", "results.json", "sheet.png")}
    flags = {"model": trained / "work" / "best.keras", "data_dir": trained / "data", "val_split": "tiny"}
    result = run("evaluate", **flags, scales="0.5,1", **{name.split(".")[0]: path for name, path in paths.items()})
    assert result.returncode == 0, result.stderr
    assert "coco tiny: 4 images without boxes, flip test on, scales 0.5, 1" in result.stdout
    metrics = json.loads(paths["metrics.json"].read_text())
    assert 0 <= metrics["AP"] <= 1 and metrics["setting"]["scales"] == [0.5, 1.0]
    assert len(json.loads(paths["results.json"].read_text())) == metrics["setting"]["num_people"]
    assert paths["sheet.png"].read_bytes().startswith(b"\x89PNG")
    assert "--detections is for networks of crops" in complaint(run("evaluate", **flags, detections="boxes.json"))
    assert "several with 1 among them" in complaint(run("evaluate", **flags, scales="0.5,2"))
    half = run("evaluate", **flags, scales="0.5")
    assert half.returncode == 0 and "scales 0.5" in half.stdout


def test_an_image_too_long_to_resize_is_named_or_skipped(trained, tmp_path):
    content = json.loads(annotation_text(trained / "data"))
    shutil.copytree(trained / "data" / "images", tmp_path / "images")
    cv2.imwrite(str(tmp_path / "images" / "tiny" / "long.png"), np.zeros((10, 1200, 3), np.uint8))
    content["images"].append({"id": 99, "file_name": "long.png", "width": 1200, "height": 10})
    (tmp_path / "annotations").mkdir()
    write_annotations(tmp_path, "tiny", content)
    flags = {"model": trained / "work" / "best.keras", "data_dir": tmp_path, "val_split": "tiny"}
    said = complaint(run("evaluate", **flags))
    assert "long.png: an image must not be so long and narrow" in said and "--skip_bad_images" in said
    skipping = run("evaluate", **flags, skip_bad_images="true")
    assert skipping.returncode == 0, skipping.stderr
    assert "1 images could not be read and were skipped" in skipping.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"input_size": "64x96"}, "must be a square, such as 512x512. Received: 64x96"),
        ({"ohkm_keypoints": 8}, "--ohkm_keypoints is for networks of crops"),
        ({"codec": "udp"}, "--codec is for networks of crops"),
        ({"scale_range": "2,1"}, "must be two numbers"),
        ({"dataset": "mpii"}, "in COCO's format, in which everybody is annotated. Received: --dataset=mpii"),
    ],
)
def test_train_refuses_what_is_of_networks_of_crops(tmp_path, flags, message):
    write_dataset(tmp_path / "data")
    assert message in complaint(run("train", **training(tmp_path, **NETWORK) | flags))
    assert not (tmp_path / "work").exists()


def test_published_figures_are_those_of_the_split_and_the_scales():
    published = CocoBenchmark("data").published_without_boxes
    assert published("val2017", "higher_hrnet_w32", (512, 512))["AP"] == 0.671
    assert published("val2017", "higher_hrnet_w48", (640, 640), (1.0, 0.5, 2.0)) == {"AP": 0.721}
    assert not published("val2017", "higher_hrnet_w48", (640, 640), (0.5, 1.0))
    assert not published("train2017", "higher_hrnet_w32", (512, 512))
    published = CrowdPoseBenchmark("data").published_without_boxes
    assert published("test", "higher_hrnet_w48", (640, 640))["AP hard"] == 0.579
