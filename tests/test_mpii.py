"""MPII in JSON files: people and their crops, what is refused, and predictions as they are handed in."""

import json
import os

import numpy as np
import pytest
import scipy.io

from hrnet_tf import InputError, geometry
from hrnet_tf.data import mpii
from hrnet_tf.data.records import check_images_exist, read_image
from hrnet_tf.skeletons import COCO, MPII, flip_order

SAMPLE = os.environ.get("HRNET_TF_MPII_SAMPLE")


def joints_at(x, y):
    """[16,2] joints around a point."""
    return np.stack([x + 3.0 * np.arange(16), y - 2.0 * np.arange(16)], -1)


def person(image="a.jpg", center=(100.0, 120.0), scale=1.5):
    joints = joints_at(*center)
    joints[5] = -1
    return {
        "image": image,
        "center": list(center),
        "scale": scale,
        "joints": joints.tolist(),
        "joints_vis": [int(k != 5) for k in range(16)],
    }


@pytest.fixture
def root(tmp_path):
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    return tmp_path


def load(root, people, split="valid"):
    (root / "annot" / f"{split}.json").write_text(json.dumps(people))
    return mpii.load_split(str(root), split)


def test_flip_pairs_and_limbs_fit_the_names():
    order = flip_order(MPII.flip_pairs, 16)
    for k, name in enumerate(MPII.names):
        mirrored = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert MPII.names[order[k]] == mirrored
    assert {frozenset(order[k] for k in limb) for limb in MPII.limbs} == set(map(frozenset, MPII.limbs))
    assert {k for limb in MPII.limbs for k in limb} == set(range(16)) and len(MPII.limbs) == 15  # a tree
    assert MPII.oks_sigmas[0] == COCO.oks_sigmas[COCO.names.index("right_ankle")] and len(MPII.oks_sigmas) == 16
    assert {MPII.names[k].split("_")[-1] for k in range(16) if k not in MPII.upper_body} == {
        *("ankle", "knee", "hip", "pelvis")
    }


def test_boxes_give_the_reference_s_crops(root):
    people = [person(center=(100.0, 120.0), scale=1.5), person("b.jpg", (-1.0, 300.0), 2.0), person()]
    records = load(root, people)
    center, size = records.crops((256, 256))
    # y + 15 scale, then everything - 1; 200 * 1.25 * scale. Unknown centres are neither moved nor padded.
    np.testing.assert_allclose(center, [[99, 120 + 22.5 - 1], [-2, 299], [99, 141.5]], atol=1e-4)
    np.testing.assert_allclose(size, [[375, 375], [400, 400], [375, 375]], atol=1e-3)
    assert records.image_index.tolist() == [0, 1, 0] and records.image_ids.tolist() == [0, 1]
    assert records.image_paths == [str(root / "images" / name) for name in ("a.jpg", "b.jpg")]
    assert (records.box_scores == 1).all() and records.skeleton is MPII


def test_joints_count_from_zero_and_absent_ones_are_invisible(root):
    records = load(root, [person()])
    expected = joints_at(99, 119)
    expected[5] = -2
    np.testing.assert_allclose(records.keypoints[0], expected)
    assert records.visible[0].tolist() == [float(k != 5) for k in range(16)]


def test_people_without_a_visible_joint_stay(root):
    records = load(root, [person() | {"joints_vis": [0] * 16}, person("b.jpg")])
    assert len(records) == 2
    assert records.visible.sum(-1).tolist() == [0, 15]


def test_the_test_split_has_no_joints(root):
    bare = {key: value for key, value in person().items() if key in ("image", "center", "scale")}
    records = load(root, [bare, person("b.jpg")], "test")
    assert len(records) == 2 and not records.visible.any()
    with pytest.raises(InputError, match="person 0 is malformed: it has no 'joints'"):
        load(root, [bare], "valid")


def test_absent_files_are_named(root):
    with pytest.raises(InputError, match=r"data directory .*nowhere does not exist"):
        mpii.load_split(str(root / "nowhere"), "valid")
    with pytest.raises(InputError, match=r"annot/valid.json does not exist, nor does mpii_human_pose"):
        mpii.load_split(str(root), "valid")
    with pytest.raises(InputError, match=r"1 of 1 images listed in the annotations are absent: .*a.jpg"):
        check_images_exist(load(root, [person()]))
    (root / "images").rmdir()
    with pytest.raises(InputError, match=r"image folder .*images does not exist"):
        load(root, [person()])


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda p: p.pop("center"), "it has no 'center'"),
        (lambda p: p.pop("image"), "it has no 'image'"),
        (lambda p: p.pop("joints_vis"), "it has no 'joints_vis'"),
        (lambda p: p.update(image=7), "'image' must be a file name. Received: 7"),
        (lambda p: p.update(center=[1]), "3 finite numbers"),
        (lambda p: p.update(center=5), "iterable"),
        (lambda p: p.update(center=["1", "2"]), "3 finite numbers"),
        (lambda p: p.update(center=[float("nan"), 2]), "3 finite numbers"),
        (lambda p: p.update(scale=0), "'scale' must be positive. Received: 0"),
        (lambda p: p.update(scale=None), "3 finite numbers"),
        (lambda p: p.update(scale=10**400), "3 finite numbers"),
        (lambda p: p["joints"].pop(), "'joints' must hold 16 points"),
        (lambda p: p["joints"][3].append(1), "'joints' must hold 16 points"),
        (lambda p: p.update(joints=[[1, 2, 3, 4]] * 8), "'joints' must hold 16 points"),
        (lambda p: p.update(joints=["ab"] * 16), "32 finite numbers"),
        (lambda p: p.update(joints=3), "iterable"),
        (lambda p: p.update(joints_vis=[1] * 15), "16 finite numbers"),
    ],
)
def test_malformed_people_are_named(root, edit, match):
    people = [person(), person()]
    edit(people[1])
    with pytest.raises(InputError, match=r"valid\.json: person 1 is malformed: .*" + match) as error:
        load(root, people)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{}, [3], [[1, 2]], [], "text"])
def test_other_json_is_refused(root, content):
    with pytest.raises(InputError, match=r"valid\.json"):
        load(root, content)


def test_predictions_are_written_from_one_without_scores(tmp_path):
    keypoints = np.random.default_rng(0).uniform(0, 500, (4, 16, 3)).astype(np.float32)
    mpii.save_predictions(tmp_path / "pred.mat", keypoints)
    written = scipy.io.loadmat(tmp_path / "pred.mat")["preds"]
    np.testing.assert_array_equal(written, keypoints[..., :2] + 1)
    mpii.save_predictions(tmp_path / "pred.mat", keypoints[:2, :, :2])
    assert scipy.io.loadmat(tmp_path / "pred.mat")["preds"].shape == (2, 16, 2)
    before = (tmp_path / "pred.mat").read_bytes()
    for bad in (keypoints[0], keypoints[:, :15], keypoints[..., :1], keypoints * np.nan):
        with pytest.raises(InputError, match="keypoints must"):
            mpii.save_predictions(tmp_path / "pred.mat", bad)
    assert (tmp_path / "pred.mat").read_bytes() == before
    with pytest.raises(InputError, match="cannot write"):
        mpii.save_predictions(tmp_path / "nowhere" / "pred.mat", keypoints)
    assert [path.name for path in tmp_path.iterdir()] == ["pred.mat"]


def test_the_ground_truth_lies_beside_the_annotations():
    assert mpii.ground_truth_path("data", "valid") == "data/annot/gt_valid.mat"
    assert mpii.annotation_path("data", "valid") == "data/annot/valid.json"


@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_MPII_SAMPLE names no folder with an MPII sample")
def test_mpii_sample():
    records = mpii.load_split(SAMPLE, "valid")
    check_images_exist(records)
    assert len(records) == 5 and len(records.image_paths) == 5
    assert records.visible.sum(-1).tolist() == [16, 16, 14, 14, 16]
    center, size = records.crops((256, 256))
    # The first: centre (966, 340), scale 4.718488. 340 + 15 * 4.718488 - 1; 250 * 4.718488.
    np.testing.assert_allclose(center[0], [965, 409.77732], atol=1e-3)
    np.testing.assert_allclose(size[0], [1179.622, 1179.622], atol=1e-3)
    np.testing.assert_allclose(records.keypoints[0, 0], [803, 710])
    for i in range(5):
        height, width = read_image(records.path(i)).shape[:2]
        shown = records.keypoints[i][records.visible[i] > 0]
        assert (shown >= 0).all() and (shown < [width, height]).all()
        in_crop = geometry.transform_points(shown, geometry.affine_matrix(center[i], size[i], 0, (256, 256)))
        assert (in_crop >= 0).all() and (in_crop < 256).all()
