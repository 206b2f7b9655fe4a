"""Networks and data with the same keypoints in another order, or under other names: predictors and commands."""

import csv
import json

import keras
import numpy as np
import pytest
from conftest import write_annotations, write_dataset
from test_keypoint_names import BY_SIDE, LISTED_BY_SIDE
from tool_runs import ROOT, complaint, run

from hrnet_tf import InputError, PosePredictor, build_model
from hrnet_tf.export import export_keras
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.skeletons import COCO, match, skeleton_from_category


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(2)
    return build_model("hrnet_w18_small_v1", (64, 64), 17)


@pytest.fixture(scope="module")
def model_path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.keras"
    export_keras(network, path, ModelCard("hrnet_w18_small_v1", (64, 64), COCO))
    return path


def test_a_card_keeps_what_has_no_partner(network, tmp_path):
    half = skeleton_from_category({"keypoints": ["left_eye", *map(str, range(16))]})
    export_keras(network, tmp_path / "half.keras", ModelCard("small", (64, 64), half))
    assert read_card(tmp_path / "half.keras").skeleton == half
    with pytest.raises(InputError, match=r"no partner of left_eye.*pass flip_test=False"):
        PosePredictor(tmp_path / "half.keras")
    PosePredictor(tmp_path / "half.keras", flip_test=False)
    broken = ModelCard("small", (64, 64), COCO).to_json()
    broken["skeleton"]["flip_pairs"] = [[1, 2], [1, 3]]
    with pytest.raises(InputError, match="one of the flip pairs at most"):
        ModelCard.from_json(broken)


def test_results_are_in_the_order_of_the_skeleton_that_is_given(model_path):
    image = np.random.default_rng(0).integers(0, 256, (80, 70, 3)).astype(np.uint8)
    by_side = skeleton_from_category(LISTED_BY_SIDE)
    of_model, of_data = PosePredictor(model_path), PosePredictor(model_path, skeleton=by_side)
    assert of_data.skeleton == by_side
    np.testing.assert_array_equal(of_data(image)[:, match(COCO, by_side)], of_model(image))
    with pytest.raises(InputError, match="not the annotations': by name the model has nose"):
        PosePredictor(model_path, skeleton=COCO.renamed({"nose": "snout"}))


@pytest.fixture(scope="module")
def data(model_path, tmp_path_factory):
    """Splits whose annotations are what the network predicts: in COCO's order, and in others."""
    root = tmp_path_factory.mktemp("names") / "data"
    content = write_dataset(root, "tiny")
    predictor = PosePredictor(model_path)
    for annotation in content["annotations"]:
        image = root / "images" / "tiny" / f"{annotation['image_id']:012}.jpg"
        x, y, w, h = annotation["bbox"]
        points = predictor(image, [[x, y, w - 1, h - 1]])[0]
        annotation["keypoints"] = np.concatenate([points[:, :2], np.full((17, 1), 2)], 1).ravel().tolist()
    order = [COCO.names.index(name) for name in BY_SIDE]
    by_side = [
        annotation | {"keypoints": np.reshape(annotation["keypoints"], (17, 3))[order].ravel().tolist()}
        for annotation in content["annotations"]
    ]
    renamed = ["snout", *BY_SIDE[1:]]
    half = {"keypoints": ["left_eye", *(f"k{i}" for i in range(16))]}
    for split, annotations, category in (
        ("tiny", content["annotations"], {}),
        ("by_side", by_side, LISTED_BY_SIDE),
        ("renamed", by_side, {"keypoints": renamed}),
        ("half", content["annotations"], half),
    ):
        categories = [content["categories"][0] | category]
        write_annotations(root, split, content | {"annotations": annotations, "categories": categories})
        if split != "tiny":
            (root / "images" / split).symlink_to(root / "images" / "tiny")
    return root


def _evaluate(data, model_path, split, folder, **flags):
    result = run(
        "evaluate",
        model=model_path,
        data_dir=data,
        val_split=split,
        results=folder / f"{split}.json",
        metrics=folder / f"{split}_metrics.json",
        **flags,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, json.loads((folder / f"{split}_metrics.json").read_text())


@pytest.mark.slow
def test_figures_and_results_do_not_depend_on_the_order_of_names(data, model_path, tmp_path):
    said, usual = _evaluate(data, model_path, "tiny", tmp_path)
    assert "mirrored pairs: left_eye/right_eye, left_ear/right_ear" in said and "another order" not in said
    assert usual["AP"] > 0.9
    said, by_side = _evaluate(data, model_path, "by_side", tmp_path)
    assert "the annotations have the model's keypoints in another order (16 of 17 moved)" in said
    said, renamed = _evaluate(data, model_path, "renamed", tmp_path, keypoint_names="snout:nose")
    for figures in (by_side, renamed):
        for name in ("AP", "AP75", "AR"):
            assert figures[name] == pytest.approx(usual[name], abs=1e-6)
        assert figures["PCK"] == pytest.approx(usual["PCK"], nan_ok=True)
    order = match(COCO, skeleton_from_category(LISTED_BY_SIDE))
    results = {split: json.loads((tmp_path / f"{split}.json").read_text()) for split in ("tiny", "by_side")}
    for one, other in zip(results["tiny"], results["by_side"], strict=True):
        of_data = np.reshape(other["keypoints"], (17, 3))
        np.testing.assert_allclose(of_data[order].ravel(), one["keypoints"], rtol=1e-5)


def test_a_codec_that_is_not_the_cards_is_said(data, model_path, tmp_path):
    said, _ = _evaluate(data, model_path, "tiny", tmp_path, codec="udp", flip_pairs="none")
    assert "--codec=udp is not what the model was trained with: its card says msra" in said
    assert "mirrored pairs: none" in said


@pytest.mark.slow
def test_predicted_people_are_in_the_order_of_the_annotations(data, model_path, tmp_path):
    images = data / "images" / "tiny"
    found = {}
    for split in ("tiny", "by_side"):
        annotations = data / "annotations" / f"person_keypoints_{split}.json"
        flags = {"input": images, "out_dir": tmp_path / split, "annotations": annotations, "whole_image": True}
        result = run("predict", model=model_path, **flags)
        assert result.returncode == 0, result.stderr
        assert ("in another order" in result.stdout) == (split == "by_side")
        with open(tmp_path / split / "predictions.csv", newline="", encoding="utf-8") as file:
            found[split] = {(row["file"], row["keypoint"]): row for row in csv.DictReader(file)}
    assert found["tiny"] == found["by_side"]  # whatever the order, a name has the same place


REFUSALS = {
    "other names": (
        "evaluate",
        {"val_split": "renamed"},
        "the model has nose and the annotations snout. If they are the same points",
    ),
    "no such name": ("evaluate", {"val_split": "tiny", "keypoint_names": "snout:nose"}, "no keypoint is called snout"),
    "no mapping": ("evaluate", {"val_split": "tiny", "keypoint_names": "snout"}, "must be like a:b,c:d"),
    "no pair": ("evaluate", {"val_split": "tiny", "flip_pairs": "0:1"}, "numbers from 1 to 17"),
    "weights": ("evaluate", {"model": "w32.pth"}, "hrnet-tf convert"),
    "weights to export": (
        "export",
        {"model": "w32.pth", "out_dir": "/nowhere", "val_split": "tiny"},
        "hrnet-tf convert",
    ),
    "half a pair": ("train", {"train_split": "half", "val_split": "half"}, "no partner of left_eye"),
    "more than there are": (
        "train",
        {"train_split": "tiny", "val_split": "tiny", "ohkm_keypoints": 18},
        "--ohkm_keypoints=18 are more than the 17 keypoints",
    ),
    "weights of other outputs": ("train", {"model": "cpn_50", "output_weights": "1,2"}, "must be 5 numbers, as cpn_50"),
    "no weights of outputs": ("train", {"output_weights": "1,x"}, "must be numbers, like 1,1,1,1,2"),
    "mining without heatmaps": ("train", {"loss": "dsnt", "ohkm_keypoints": 8}, "are of heatmaps"),
    "too small for an Hourglass": ("train", {"model": "hourglass_52"}, "multiples of 128, for an Hourglass"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_commands_refuse(case, data, model_path, tmp_path):
    tool, flags, message = REFUSALS[case]
    usual = {"model": "hrnet_w18_small_v1", "work_dir": tmp_path / "work"} if tool == "train" else {"model": model_path}
    said = complaint(run(tool, data_dir=data, **(usual | flags)))
    assert message in said
    assert not (tmp_path / "work").exists() and ROOT.exists()
