"""PCKh: how many of MPII's joints are found, relative to the size of the head."""

import os

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.mat_files import read_mat

# Order of the joints in predictions and ground truth, as the ground truth names them.
_JOINTS = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"),
    *("neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
# The rows of the table; of a pair the mean of both is given.
_ROWS = {
    "Head": ("head",),
    "Shoulder": ("lsho", "rsho"),
    "Elbow": ("lelb", "relb"),
    "Wrist": ("lwri", "rwri"),
    "Hip": ("lhip", "rhip"),
    "Knee": ("lkne", "rkne"),
    "Ankle": ("lank", "rank"),
}
# Joints that follow from others and are not scored.
_UNSCORED = ("pelv", "thor")
# The head's size is this times the diagonal of its box.
_HEAD_SIZE = 0.6
_THRESHOLD = 0.5
# Fine thresholds: what the reference calls Mean@0.1 is the mean at 0.11.
_FINE_MEANS = {"Mean@0.1": 0.11, "Mean@0.10": 0.10}


def evaluate_pckh(gt_mat_file: PathLike, keypoints_xy: ArrayLike) -> dict[str, float]:
    """Percentages of correct joints, as the reference implementation computes them.

    A visible joint is correct if it is predicted within half of the head's size, which is 0.6 times
    the diagonal of the head's box. Means are over all visible joints but pelvis and thorax.

    Args:
        gt_mat_file: the reference's `gt_valid.mat`, with `dataset_joints`, `jnt_missing` [16,N],
            `pos_gt_src` [16,2,N] and `headboxes_src` [2,2,N].
        keypoints_xy: [N,16,2] predicted x, y in image pixels from 0, in the file's order.

    Returns:
        dict of ten floats: "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle" and "Mean"
        at half of the head's size; "Mean@0.1", which is the mean at 0.11 of the head's size as in
        the reference's tables, and "Mean@0.10", which is that at 0.10. NaN where nobody in the file
        has a joint.

    Raises:
        InputError: the file cannot be read or lacks a variable, `keypoints_xy` has another shape or
            is not finite.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/mpii.py
    """
    visible, truth, head_boxes = _load_ground_truth(gt_mat_file)
    keypoints_xy = np.asarray(keypoints_xy, np.float64)
    shape = (truth.shape[-1], len(_JOINTS), 2)
    if keypoints_xy.shape != shape:
        raise InputError(
            f"keypoints_xy must have shape {shape}, for the {shape[0]} people in {os.fspath(gt_mat_file)}. "
            f"Received: {keypoints_xy.shape}. The file and the annotations must be of the same split"
        )
    if not np.isfinite(keypoints_xy).all():
        raise InputError("keypoints_xy must be finite. Received: NaN or infinity")
    # The file counts pixels from 1.
    difference = np.transpose(keypoints_xy + 1, (1, 2, 0)) - truth  # [16,2,N]
    distance = np.hypot(difference[:, 0], difference[:, 1])  # [16,N]
    head_size = _HEAD_SIZE * np.hypot(*(head_boxes[1] - head_boxes[0]))  # [N]

    def correct(threshold):
        """[16] numbers of visible joints found."""
        return ((distance <= threshold * head_size) & visible).sum(-1)

    count = visible.sum(-1)
    scored = np.array([joint not in _UNSCORED for joint in _JOINTS])
    joints = dict(zip(_JOINTS, _percentage(correct(_THRESHOLD), count), strict=True))
    means = {"Mean": _THRESHOLD} | _FINE_MEANS
    return {row: float(np.mean([joints[joint] for joint in members])) for row, members in _ROWS.items()} | {
        name: float(_percentage(correct(threshold)[scored].sum(), count[scored].sum()))
        for name, threshold in means.items()
    }


def _percentage(part, whole):
    with np.errstate(invalid="ignore"):
        return 100 * np.divide(part, whole)


def _load_ground_truth(path):
    """visible [16,N] bool, positions [16,2,N] in pixels from 1, corners of the head boxes [2,2,N]."""
    names = ("dataset_joints", "jnt_missing", "pos_gt_src", "headboxes_src")
    content = read_mat(path, names)
    absent = [name for name in names if name not in content]
    if absent:
        raise InputError(
            f"{os.fspath(path)} must hold the ground truth of PCKh. Received: no {', '.join(absent)}. "
            "Use gt_valid.mat of the reference implementation"
        )
    joints = [str(np.squeeze(joint)) for joint in content["dataset_joints"].ravel()]
    if joints != list(_JOINTS):
        raise InputError(f"{os.fspath(path)}: dataset_joints must be {', '.join(_JOINTS)}. Received: {joints}")
    missing, *positions = (content[name] for name in names[1:])
    num_people = missing.shape[-1]
    for name, shape in zip(names[1:], ((16, num_people), (16, 2, num_people), (2, 2, num_people)), strict=True):
        array = content[name]
        if array.shape != shape or array.dtype.kind not in "biuf":
            raise InputError(
                f"{os.fspath(path)}: {name} must hold {shape} numbers. Received: {array.shape} of {array.dtype}"
            )
    return missing == 0, *(array.astype(np.float64) for array in positions)
