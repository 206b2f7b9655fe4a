"""Training and evaluation on MPII, and evaluation on COCO's splits, as users start them."""

import json
import re

import cv2
import keras
import numpy as np
import pytest
import scipy.io
import weight_files
from conftest import write_dataset
from tool_runs import complaint, run, training

from hrnet_tf import build_model
from hrnet_tf.data.mpii import MPII
from hrnet_tf.export import export_keras

NUM_PEOPLE = 6


def write_mpii(root, rng):
    """A folder with NUM_PEOPLE people in as many images: annotations and ground truth of the split "valid"."""
    (root / "images").mkdir(parents=True)
    (root / "annot").mkdir()
    joints = rng.uniform(20, 100, (NUM_PEOPLE, 16, 2))
    people = []
    for i in range(NUM_PEOPLE):
        cv2.imwrite(str(root / "images" / f"{i}.jpg"), rng.integers(0, 256, (120, 120, 3)).astype(np.uint8))
        person = {"image": f"{i}.jpg", "center": [60.0, 50.0], "scale": 0.4}
        people.append(person | {"joints": joints[i].tolist(), "joints_vis": [1] * 16})
    (root / "annot" / "valid.json").write_text(json.dumps(people))
    test = [{key: person[key] for key in ("image", "center", "scale")} for person in people]
    (root / "annot" / "test.json").write_text(json.dumps(test))
    names = (*("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"), *("neck", "head", "rwri", "relb"))
    names += ("rsho", "lsho", "lelb", "lwri")
    variables = {
        "dataset_joints": np.array(names, object)[None],
        "jnt_missing": np.zeros((16, NUM_PEOPLE)),
        "pos_gt_src": joints.transpose(1, 2, 0),
        "headboxes_src": np.tile(np.array([[10.0, 10], [40, 50]])[..., None], NUM_PEOPLE),
    }
    scipy.io.savemat(root / "annot" / "gt_valid.mat", variables)


@pytest.mark.slow
def test_mpii_with_udp_from_training_to_the_servers_file(tmp_path):
    write_mpii(tmp_path / "data", np.random.default_rng(0))
    options = {"dataset": "mpii", "codec": "udp", "train_split": "valid", "val_split": "valid"}
    losses = {"ohkm_keypoints": 4, "keypoint_weights": "true", "supervise_absent": "true"}
    weight_files.save(tmp_path / "coco.pth", weight_files.small_pose(num_keypoints=17))
    start = {"pretrained": tmp_path / "coco.pth", "learning_rate": 0}
    result = run("train", **training(tmp_path, **options, **losses, **start, epochs=1, batch_size=NUM_PEOPLE))
    assert result.returncode == 0, result.stderr
    assert "2 kept fresh (final_layer" in result.stdout
    trained = keras.models.load_model(tmp_path / "work" / "best.keras")
    kernel = weight_files.small_pose()["stage3.0.branches.1.0.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(trained.get_layer("stage3_0_branches_1_0_conv1").kernel, kernel)
    assert "best Mean " in result.stdout
    entries = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    mean = next(entry["Mean"] for entry in entries if "Mean" in entry)

    flags = {
        "dataset": "mpii",
        "codec": "udp",
        "model": tmp_path / "work" / "best.keras",
        "data_dir": tmp_path / "data",
    }
    metrics = tmp_path / "metrics.json"
    result = run("evaluate", **flags, val_split="valid", metrics=metrics)
    assert result.returncode == 0, result.stderr
    content = json.loads(metrics.read_text())
    assert content["Mean"] == pytest.approx(mean)
    assert list(content["PCK"]) == list(MPII.names)
    assert content["setting"]["codec"] == "udp"

    result = run("evaluate", **flags, val_split="test", results=tmp_path / "pred.mat")
    assert result.returncode == 0, result.stderr
    predictions = scipy.io.loadmat(tmp_path / "pred.mat")["preds"]
    assert predictions.shape == (NUM_PEOPLE, 16, 2) and np.ptp(predictions) > 0


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A folder with the annotated split "val2017" and its images as "test-dev2017", an untrained model, detections."""
    root = tmp_path_factory.mktemp("coco")
    content = write_dataset(root, "val2017", num_images=2)
    (root / "images" / "test2017").symlink_to(root / "images" / "val2017")
    info = {"images": content["images"], "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(info))
    boxes = [
        {"image_id": person["image_id"], "category_id": 1, "bbox": person["bbox"], "score": score}
        for person, score in zip(content["annotations"], (0.9, 0.8, 0.7, 0.05), strict=True)
    ]
    (root / "detections.json").write_text(json.dumps(boxes))
    export_keras(build_model("hrnet_w18_small_v1", (64, 64)), root / "model.keras")
    return root


@pytest.mark.slow
def test_a_test_split_gives_a_results_file_and_no_figures(coco, tmp_path):
    flags = {"model": coco / "model.keras", "data_dir": coco, "val_split": "test-dev2017"}
    assert "give --results" in complaint(run("evaluate", **flags))
    results = tmp_path / "results.json"
    assert "--detections" in complaint(run("evaluate", **flags, results=results))
    result = run(
        "evaluate", **flags, results=results, detections=coco / "detections.json", box_threshold=0.5, nms="none"
    )
    assert result.returncode == 0, result.stderr
    assert "3 people in detector boxes" in result.stdout and "AP" not in result.stdout
    people = json.loads(results.read_text())
    assert sorted(person["image_id"] for person in people) == [1, 1, 2]
    assert all(len(person["keypoints"]) == 51 and person["category_id"] == 1 for person in people)


@pytest.mark.slow
def test_every_export_is_evaluated_with_xla(coco, tmp_path):
    data = {"data_dir": coco, "val_split": "val2017", "xla": "on"}
    flags = {"model": coco / "model.keras", "out_dir": tmp_path, "formats": "onnx,litert", "evaluate": "true"}
    result = run("export", **data, **flags)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"^model\S*", result.stdout, re.MULTILINE) == [
        *("model.onnx", "model_float32.tflite", "model_float16.tflite")
    ]
    for name in ("model.onnx", "model_float32.tflite"):
        result = run("evaluate", **data, model=tmp_path / name)
        assert result.returncode == 0, result.stderr
        assert "4 people in annotated boxes" in result.stdout and "AP " in result.stdout


@pytest.mark.slow
def test_published_figures_stand_beside_ours_for_the_same_boxes(coco, tmp_path):
    """The network is untrained: what counts is which published figures are chosen and the difference to them."""
    model = build_model("pose_resnet50", (256, 192))
    export_keras(model, tmp_path / "model.keras")
    flags = {"model": tmp_path / "model.keras", "data_dir": coco, "metrics": tmp_path / "metrics.json", "batch_size": 4}
    result = run("evaluate", **flags, detections=coco / "detections.json")
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["published"]["AP"] == 0.704 and content["setting"]["boxes"] == "detector"
    figures = f"{content['AP']:.4f}", "0.7040", f"{content['AP'] - 0.704:+.4f}"
    assert ("AP", *figures) in [tuple(line.split()) for line in result.stdout.splitlines()]
    result = run("evaluate", **flags)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["published"] == {}
    assert "published  difference" not in result.stdout
