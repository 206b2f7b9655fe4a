"""Keypoints are told by their names: left and right, and which of a network's is which of the data's."""

import csv
import dataclasses
import itertools
import json
import random

import keras
import numpy as np
import onnx
import pytest
from conftest import write_annotations, write_dataset
from tool_runs import ROOT, complaint, run

from hrnet_tf import InputError, PosePredictor, build_model
from hrnet_tf.export import export_keras
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.sides import pairs_by_name
from hrnet_tf.skeletons import COCO, DEFAULT_OKS_SIGMA, MPII, flip_order, match, match_in_words, skeleton_from_category

# COCO's names, a side after the other.
BY_SIDE = ("nose", *COCO.names[2::2], *COCO.names[1::2])
LISTED_BY_SIDE = {"id": 1, "name": "person", "keypoints": list(BY_SIDE)}

# Names -> pairs, and what has a side but no partner.
SIDES = {
    "nose left_eye right_eye": ("left_eye/right_eye", ""),
    "LEye REye lShoulder rShoulder": ("LEye/REye lShoulder/rShoulder", ""),
    "eye_L eye_R Shoulder.R Shoulder.L knee_l knee_r": ("eye_L/eye_R Shoulder.L/Shoulder.R knee_l/knee_r", ""),
    "Lsho Rsho lhip rhip LKNE RKNE": ("Lsho/Rsho lhip/rhip LKNE/RKNE", ""),
    "eye-right eye-left LeftFoot RightFoot EYE_LEFT EYE_RIGHT": (
        "eye-left/eye-right LeftFoot/RightFoot EYE_LEFT/EYE_RIGHT",
        "",
    ),
    "leftear rightear front_left_paw front_right_paw": ("leftear/rightear front_left_paw/front_right_paw", ""),
    "RBigToe REar LEar LBigToe MidHip": ("LBigToe/RBigToe LEar/REar", ""),
    "eyeL eyeR forelegL1 forelegR1 ear_L_tip ear_R_tip": ("eyeL/eyeR forelegL1/forelegR1 ear_L_tip/ear_R_tip", ""),
    # Rear is an R too.
    "L_F_paw R_F_paw L_R_paw R_R_paw": ("L_F_paw/R_F_paw L_R_paw/R_R_paw", ""),
    "FL FR RL RR": ("FL/FR RL/RR", ""),
    "LF RF LR RR": ("LF/RF LR/RR", ""),
    # Both words: left and right are exchanged at once.
    "LeftEyeLeftCorner LeftEyeRightCorner RightEyeLeftCorner RightEyeRightCorner LeftBrowCenter RightBrowCenter": (
        "LeftEyeLeftCorner/RightEyeRightCorner LeftEyeRightCorner/RightEyeLeftCorner LeftBrowCenter/RightBrowCenter",
        "",
    ),
    "left_hand_r right_hand_r": ("left_hand_r/right_hand_r", ""),
    "Left_eye right_eye": ("Left_eye/right_eye", ""),
    "L R": ("L/R", ""),
    # No sides.
    "cleft_chin upright_tip Lip rump lower_back collar RBAK": ("", ""),
    "L1 L2 L3 L4 L5 S1": ("", ""),
    "0 1 2 3": ("", ""),
    # Halves of pairs.
    "left_eye nose": ("", "left_eye"),
    "left_eye REar toe_l leftmost": ("", "left_eye REar toe_l leftmost"),
    "LeftEyeRightCorner LeftEyeLeftCorner": ("", "LeftEyeRightCorner LeftEyeLeftCorner"),
    "left_eye right_eye left_ear": ("left_eye/right_eye", "left_ear"),
}


@pytest.mark.parametrize("names", SIDES)
def test_left_and_right_are_told_by_name(names):
    names, (pairs, unpaired) = names.split(), SIDES[" ".join(names.split())]
    found, lonely = pairs_by_name(names)
    assert [f"{names[i]}/{names[j]}" for i, j in found] == pairs.split()
    assert [names[i] for i in lonely] == unpaired.split()
    # Spaces are as good as underscores.
    assert pairs_by_name([name.replace("_", " ") for name in names]) == (found, lonely)


def test_mirroring_twice_changes_nothing_whatever_the_names():
    parts = ["left", "right", "Left", "RIGHT", "l", "r", "L", "R", "eye", "Ear", "_", " ", ".", "1", "lip", "rear"]
    for seed in range(300):
        pick = random.Random(seed)
        names = list({"".join(pick.choices(parts, k=pick.randint(1, 5))) for _ in range(20)})
        skeleton = skeleton_from_category({"keypoints": names})
        order = flip_order(skeleton.flip_pairs, len(names))
        assert [order[i] for i in order] == list(range(len(names))), names
        assert not {*skeleton.unpaired} & {*itertools.chain(*skeleton.flip_pairs)}
    with pytest.raises(ValueError, match="one of the flip pairs at most"):
        dataclasses.replace(COCO, flip_pairs=((1, 2), (2, 3)))


THREE = {"keypoints": ["tip", "port", "starboard"], "id": 1}


@pytest.mark.parametrize(
    ("pairs", "found"),
    [([["port", "starboard"]], ((1, 2),)), ([[3, 2]], ((2, 1),)), ([], ())],
)
def test_a_category_may_list_its_pairs(pairs, found):
    assert skeleton_from_category(THREE | {"flip_pairs": pairs}).flip_pairs == found
    half = skeleton_from_category({"keypoints": ["left_x", "port", "starboard"], "flip_pairs": pairs})
    assert (half.flip_pairs, half.unpaired) == (found, ())


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 1]], r"two numbers from 1 to 3.*Received: \[0, 1\]"),
        ([["port", "bow"]], "Received: .*bow.*Keypoints are tip, port, starboard"),
        ([["port", 3]], "two names of keypoints, or of two numbers"),
        ([[2, 3, 1]], "pairs"),
        ([[1.0, 2]], "pairs"),
        ([[True, 2]], "pairs"),
        ([["port", "port"]], "'port' is there twice"),
        ([[1, 2], [2, 3]], "'port' is there twice"),
        ("port", "must be a list of pairs"),
        ([None], "pairs"),
    ],
)
def test_pairs_that_are_none_are_refused(pairs, message):
    with pytest.raises(InputError, match=message):
        skeleton_from_category(THREE | {"flip_pairs": pairs}, "file.json")


def test_tolerances_go_with_names():
    by_side = skeleton_from_category(LISTED_BY_SIDE)
    assert dict(zip(by_side.names, by_side.oks_sigmas, strict=True)) == dict(
        zip(COCO.names, COCO.oks_sigmas, strict=True)
    )
    others = skeleton_from_category({"keypoints": ["snout", *COCO.names[1:]]})
    assert set(others.oks_sigmas) == {DEFAULT_OKS_SIGMA}
    assert others.renamed({"snout": "nose"}).oks_sigmas == COCO.oks_sigmas
    given = skeleton_from_category({"keypoints": ["snout", *COCO.names[1:]], "sigmas": [0.1] * 17})
    assert given.renamed({"snout": "nose"}).oks_sigmas == (0.1,) * 17


def test_networks_and_data_are_matched_by_name():
    by_side = skeleton_from_category(LISTED_BY_SIDE)
    order = match(COCO, by_side)
    assert [by_side.names[i] for i in order] == list(COCO.names)
    assert "in another order" in match_in_words(COCO, by_side)
    assert match(COCO, COCO) == list(range(17)) and match_in_words(COCO, COCO) is None
    others = COCO.renamed({"nose": "snout", "left_eye": "port_eye"})
    with pytest.raises(
        InputError, match=r"has nose, left_eye and the annotations snout, port_eye\. .*--keypoint_names"
    ):
        match(COCO, others)
    assert match(COCO, others.renamed({"snout": "nose", "port_eye": "left_eye"})) == list(range(17))
    with pytest.raises(InputError, match="model has 17 keypoints, the annotations 16"):
        match(COCO, MPII)
    unnamed = dataclasses.replace(COCO, names=tuple(map(str, range(17))))
    assert match(COCO, unnamed) == list(range(17))
    assert "annotations name no keypoints: they are taken to be in the model's order" in match_in_words(COCO, unnamed)


@pytest.mark.parametrize(
    ("names", "message"),
    [({"snout": "nose"}, "no keypoint is called snout"), ({"nose": "left_eye"}, "several .* called left_eye")],
)
def test_names_that_cannot_be_given_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        COCO.renamed(names)


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


def _keras(stride, **options):
    inputs = keras.Input((64, 64, 3), **options)
    return inputs, keras.layers.Conv2D(17, 3, strides=stride, padding="same")(inputs)


NO_NETWORKS = {
    "another stride": lambda: keras.Model(*_keras(8)),
    "a dict": lambda: keras.Model(*(lambda x, y: (x, {"heatmaps": y}))(*_keras(4))),
    "two outputs": lambda: keras.Model(*(lambda x, y: (x, [y, y]))(*_keras(4))),
    "a batch of one": lambda: keras.Model(*_keras(4, batch_size=1)),
    "a vector": lambda: keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Flatten()]),
    "not built": lambda: keras.Sequential([keras.layers.Flatten()]),
}


@pytest.mark.parametrize("kind", NO_NETWORKS)
def test_another_kind_of_network_is_refused(kind):
    with pytest.raises(InputError, match=r"is not a pose network|takes batches of 1 alone"):
        PosePredictor(NO_NETWORKS[kind]())


@pytest.mark.parametrize(
    ("stride", "shapes", "message"),
    [
        (8, (["n", 3, 64, 64], ["n", 17, 8, 8]), "is not a pose network"),
        (8, (["n", 3, 64, 64], ["n", 17, "h", "w"]), "is not a pose network"),
        (4, (["n", 3, "h", "w"], ["n", 17, "a", "b"]), "of a fixed size"),
        (4, ([1, 3, 64, 64], [1, 17, 16, 16]), "takes batches of 1 alone"),
        (4, (["n", 3, 64, 64], ["n", 17, "h", "w"]), None),
    ],
)
def test_another_stride_in_onnx(stride, shapes, message, tmp_path):
    kernel = onnx.numpy_helper.from_array(np.ones((17, 3, stride, stride), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[stride] * 2, kernel_shape=[stride] * 2)
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in zip("xy", shapes, strict=True)
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [kernel])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    if message is None:
        assert PosePredictor(tmp_path / "model.onnx")(np.zeros((70, 70, 3), np.uint8)).shape == (1, 17, 3)
    else:
        with pytest.raises(InputError, match=message):
            PosePredictor(tmp_path / "model.onnx")


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
