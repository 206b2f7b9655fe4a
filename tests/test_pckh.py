import pathlib

import numpy as np
import pytest
import scipy.io
import seeded

from hrnet_tf import InputError
from hrnet_tf.evaluation import evaluate_pckh

GROUND_TRUTH = pathlib.Path(__file__).parent / "golden" / "mpii_gt_valid.mat"
VARIABLES = ("dataset_joints", "jnt_missing", "pos_gt_src", "headboxes_src")
JOINTS = [str(joint[0]) for joint in scipy.io.loadmat(GROUND_TRUTH)["dataset_joints"][0]]


def write_ground_truth(path, truth, head_diagonals, missing=None):
    """Writes truth [N,16,2] (pixels from 0) of people with heads of the given diagonals, as the reference does."""
    boxes = np.zeros((2, 2, len(truth)))
    boxes[1] = np.array([[0.6], [0.8]]) * head_diagonals
    content = {
        "dataset_joints": np.array(JOINTS, object)[None],
        "jnt_missing": np.zeros((16, len(truth)), np.uint8) if missing is None else missing.T,
        "pos_gt_src": np.transpose(truth + 1, (1, 2, 0)),
        "headboxes_src": boxes,
    }
    scipy.io.savemat(path, content)
    return path


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(10, 500, (3, 16, 2)).round()


def test_the_table_is_the_reference_s():
    golden = seeded.load("mpii_eval")
    table = evaluate_pckh(GROUND_TRUTH, golden["preds_xy_0based"])
    names = [name.removeprefix("stat_") for name in golden if name.startswith("stat_")]
    assert [name for name in table if name != "Mean@0.10"] == names
    np.testing.assert_allclose([table[name] for name in names], [golden[f"stat_{name}"] for name in names], atol=1e-3)


def test_thresholds(tmp_path, truth):
    path = write_ground_truth(tmp_path / "gt.mat", truth, np.full(3, 100.0))  # heads of size 60
    for distance, expected in ((0, (100, 100, 100)), (6, (100, 100, 100)), (6.3, (100, 100, 0))):
        table = evaluate_pckh(path, truth + np.array([distance, 0]))
        assert (table["Mean"], table["Mean@0.1"], table["Mean@0.10"]) == expected
    for distance, expected in ((29.9, (100, 0, 0)), (30.1, (0, 0, 0))):
        table = evaluate_pckh(path, truth - [0, distance])
        assert (table["Mean"], table["Mean@0.1"], table["Mean@0.10"]) == expected


def test_each_joint_counts_in_its_row_and_a_person_by_its_own_head(tmp_path, truth):
    path = write_ground_truth(tmp_path / "gt.mat", truth, np.array([10.0, 100.0, 1000.0]))
    rows = {"ank": "Ankle", "kne": "Knee", "hip": "Hip", "wri": "Wrist", "elb": "Elbow", "sho": "Shoulder"}
    for k, joint in enumerate(JOINTS):
        predicted = truth.copy()
        predicted[:, k] += [100, 0]  # within half of a head for the last person only
        table = evaluate_pckh(path, predicted)
        row = {"head": "Head", "neck": None, "pelv": None, "thor": None}.get(joint, rows.get(joint[1:]))
        share = 100 / 3 if row == "Head" else (100 + 100 / 3) / 2
        for name in ("Head", *rows.values()):
            assert table[name] == pytest.approx(share if name == row else 100)
        # The neck has no row but counts in the mean; pelvis and thorax do not.
        assert table["Mean"] == pytest.approx(100 if joint in ("pelv", "thor") else 100 * (1 - 2 / 42))


def test_missing_joints_do_not_count(tmp_path, truth):
    missing = np.zeros((3, 16))
    missing[0, :4] = missing[1, 9] = missing[2, JOINTS.index("lwri")] = 1
    path = write_ground_truth(tmp_path / "gt.mat", truth, np.full(3, 50.0), missing)
    predicted = np.where(missing[..., None] == 1, -1e4, truth)
    assert set(evaluate_pckh(path, predicted).values()) == {100.0}
    predicted[0, JOINTS.index("rwri")] += 1000  # one of 48 - 6 unscored - 6 missing
    table = evaluate_pckh(path, predicted)
    assert table["Mean"] == pytest.approx(100 * 35 / 36)
    assert table["Wrist"] == pytest.approx(100 * (2 / 3 + 1) / 2)


def test_a_joint_that_nobody_has_is_nan_and_leaves_the_mean(tmp_path, truth):
    missing = np.zeros((3, 16))
    missing[:, JOINTS.index("head")] = 1
    table = evaluate_pckh(write_ground_truth(tmp_path / "gt.mat", truth, np.full(3, 50.0), missing), truth)
    assert np.isnan(table.pop("Head"))
    assert set(table.values()) == {100.0}


@pytest.mark.parametrize("shape", [(39, 16, 2), (40, 16, 3), (40, 17, 2), (40, 2, 16), (16, 2), (0, 16, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"keypoints_xy must have shape \(40, 16, 2\).*Received: \("):
        evaluate_pckh(GROUND_TRUTH, np.zeros(shape))


def test_predictions_must_be_finite():
    keypoints = seeded.load("mpii_eval")["preds_xy_0based"].copy()
    keypoints[7, 3, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        evaluate_pckh(GROUND_TRUTH, keypoints)


def edited(tmp_path, edit):
    content = {name: value for name, value in scipy.io.loadmat(GROUND_TRUTH).items() if name in VARIABLES}
    edit(content)
    scipy.io.savemat(tmp_path / "gt.mat", content)
    return tmp_path / "gt.mat"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_missing_variable_is_named(tmp_path, name):
    path = edited(tmp_path, lambda content: content.pop(name))
    with pytest.raises(InputError, match=f"no {name}"):
        evaluate_pckh(path, np.zeros((40, 16, 2)))


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda c: c.update(jnt_missing=c["jnt_missing"][:, :39]), r"pos_gt_src must hold \(16, 2, 39\)"),
        (lambda c: c.update(jnt_missing=c["jnt_missing"][:15]), r"jnt_missing must hold \(16, 40\)"),
        (lambda c: c.update(headboxes_src=np.zeros((2, 40))), "headboxes_src must hold"),
        (lambda c: c.update(pos_gt_src="abc"), "pos_gt_src must hold"),
        (lambda c: c.update(dataset_joints=c["dataset_joints"][:, ::-1]), "dataset_joints must be rank, rkne"),
        (lambda c: c.update(dataset_joints=3), "dataset_joints must be rank, rkne"),
    ],
)
def test_other_ground_truth_is_refused(tmp_path, edit, match):
    with pytest.raises(InputError, match=match):
        evaluate_pckh(edited(tmp_path, edit), np.zeros((40, 16, 2)))


def test_damaged_files_are_refused(tmp_path):
    whole = GROUND_TRUTH.read_bytes()
    path = tmp_path / "gt.mat"
    keypoints = np.zeros((40, 16, 2))
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        evaluate_pckh(path, keypoints)
    for content in (b"", b"not a MATLAB file", whole[:100], whole[:1000], whole[: len(whole) // 2], whole[:-100]):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            evaluate_pckh(path, keypoints)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
