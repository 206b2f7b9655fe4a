"""Keypoints are told by their names: left and right, and which of one set is which of another."""

import dataclasses
import itertools
import random

import pytest

from hrnet_tf import InputError
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
