"""MPII Human Pose annotations into `PersonRecords`, and predictions into the test server's file.

Two sources of annotations are read: the JSON files of the reference implementation, and the
original release, a MATLAB file. Both count pixels from 1; records count them from 0.

Source: Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis",
CVPR 2014; leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/mpii.py
"""

import os

import numpy as np
import scipy.io
from numpy.typing import ArrayLike
from scipy.io.matlab import mat_struct

from hrnet_tf.data.records import PersonRecords
from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import PathLike, json_numbers, read_json, reason, replacing
from hrnet_tf.geometry import BOX_PADDING
from hrnet_tf.mat_files import read_mat
from hrnet_tf.skeletons import MPII

# Where the release's annotations lie in the data directory: with the JSON files, or as unpacked.
_RELEASE_NAME = "mpii_human_pose_v1_u12_1.mat"
_RELEASE_FOLDERS = ("annot", "", "mpii_human_pose_v1_u12_2")
# The splits that the release tells apart, by its img_train.
_RELEASE_SPLITS = {"trainval": 1, "test": 0}
# The only split that has no joints.
TEST_SPLIT = "test"

# A person's `scale` is the side of a box around it in units of so many pixels.
_SCALE_UNIT = 200
# The box is moved down by this times the scale, so that the crop does not lose the feet.
_SHIFT_DOWN = 15
# What stands for an unknown coordinate.
_ABSENT = -1


def annotation_path(data_dir: PathLike, split: str) -> str:
    """Path of the reference's annotations of a split."""
    return os.path.join(data_dir, "annot", f"{split}.json")


def ground_truth_path(data_dir: PathLike, split: str) -> str:
    """Path of what PCKh is computed against (see `evaluate_pckh`); it comes with the reference's JSON files."""
    return os.path.join(data_dir, "annot", f"gt_{split}.mat")


def load_split(data_dir: PathLike, split: str) -> PersonRecords:
    """Reads the people of a split of MPII, in the order of the annotations.

    `<data_dir>/annot/<split>.json` is read where it exists: lists of people with `image`, `center`,
    `scale`, `joints` and `joints_vis`, as the reference has them for train, valid, trainval and
    test. Without it the release's `mpii_human_pose_v1_u12_1.mat` is read, in `<data_dir>`, its
    `annot` or `mpii_human_pose_v1_u12_2`. It has two splits: "trainval", everybody with joints in
    the training images, and "test", everybody with a position in the others. Which people train
    and which validate is not in it, but a list of the reference's.

    Images are looked for in `<data_dir>/images/`. Boxes are the reference's: squares of side
    200 * scale moved down by 15 * scale, to be padded as all boxes are. Joints are visible if
    annotated, occluded or not; people without a visible one stay in, as in the reference. In the
    split "test" nobody has joints.

    Returns:
        `PersonRecords`; `image_ids` number the images from 0.

    Raises:
        InputError: a file or folder is absent, cannot be read or is not in its format, an
            annotation is malformed (it is named), or nobody is left.
    """
    if not os.path.isdir(data_dir):
        raise InputError(f"data directory {data_dir} does not exist")
    path = annotation_path(data_dir, split)
    if os.path.isfile(path):
        people = _people_of_json(path, with_joints=split != TEST_SPLIT)
    else:
        path = _release_path(data_dir, split)
        people = _people_of_release(path, split)
    if not people:
        raise InputError(f"{path}: nobody is annotated in split {split!r}")
    image_dir = os.path.join(data_dir, "images")
    if not os.path.isdir(image_dir):
        raise InputError(f"image folder {image_dir} does not exist")
    return _records(people, image_dir)


def save_predictions(path: PathLike, keypoints: ArrayLike) -> None:
    """Writes `pred.mat`, as MPII's test server takes it: the variable `preds`, [N,16,2], pixels from 1.

    Args:
        path: file to write.
        keypoints: [N,16,2] or, with scores, [N,16,3]; x, y in image pixels, of everybody in the
            split and in its order.

    Raises:
        InputError: `keypoints` has another shape or is not finite, or `path` cannot be written.
    """
    keypoints = np.asarray(keypoints, np.float32)
    if keypoints.ndim != 3 or keypoints.shape[1] != MPII.num_keypoints or keypoints.shape[2] not in (2, 3):
        raise InputError(f"keypoints must have shape [N,{MPII.num_keypoints},2 or 3]. Received: {keypoints.shape}")
    if not np.isfinite(keypoints).all():
        raise InputError("keypoints must be finite. Received: NaN or infinity")
    with replacing(path) as temporary:
        scipy.io.savemat(os.fspath(temporary), {"preds": keypoints[..., :2] + 1}, appendmat=False)


def _records(people, image_dir):
    """`PersonRecords` of (image name, [scale, x, y], [16,3] joints) as annotated."""
    names, placements, joints = zip(*people, strict=True)
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    scale, x, y = np.array(placements, np.float64).T
    joints = np.array(joints, np.float64)  # [N,16,3]
    # People of unknown position are neither moved nor padded by the reference.
    known = x != _ABSENT
    side = _SCALE_UNIT * scale / np.where(known, 1, BOX_PADDING)
    y = y + np.where(known, _SHIFT_DOWN * scale, 0)
    boxes = np.stack([x - 1 - side / 2, y - 1 - side / 2, side, side], -1)
    return PersonRecords(
        skeleton=MPII,
        image_paths=[os.path.join(image_dir, name) for name in index],
        image_ids=np.arange(len(index), dtype=np.int64),
        image_index=np.array([index[name] for name in names], np.int32),
        boxes=boxes.astype(np.float32),
        box_scores=np.ones(len(people), np.float32),
        keypoints=(joints[..., :2] - 1).astype(np.float32),
        visible=(joints[..., 2] > 0).astype(np.float32),
    )


def _no_joints():
    return np.tile([_ABSENT, _ABSENT, 0.0], (MPII.num_keypoints, 1))


def _people_of_json(path, with_joints):
    """People of one of the reference's files, as `_records` takes them."""
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path} must hold a list of people. Received: a {type(content).__name__}")
    people = []
    for number, person in enumerate(content):
        try:
            people.append(_parse_person(person, with_joints))
        except (KeyError, TypeError, ValueError) as error:
            problem = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}: person {number} is malformed: {problem}") from error
    return people


def _parse_person(person, with_joints):
    """(image name, [scale, x, y], [16,3] joints) of a person of such a file."""
    if not isinstance(person, dict):
        raise TypeError(f"an object is wanted. Received: {shown(person)}")
    name = person["image"]
    if not isinstance(name, str) or not name:
        raise ValueError(f"'image' must be a file name. Received: {shown(name)}")
    placement = json_numbers([person["scale"], *person["center"]], 3)
    if placement[0] <= 0:
        raise ValueError(f"'scale' must be positive. Received: {shown(person['scale'])}")
    joints = _no_joints()
    if with_joints:
        points = person["joints"]
        if [len(point) for point in points] != [2] * len(joints):
            raise ValueError(f"'joints' must hold {len(joints)} points (x, y). Received: {shown(points)}")
        joints[:, :2] = json_numbers([value for point in points for value in point], joints[:, :2].size).reshape(-1, 2)
        joints[:, 2] = json_numbers(person["joints_vis"], len(joints))
    return name, placement, joints


def _release_path(data_dir, split):
    """Path of the release's annotations, if they hold the split."""
    absent = f"annotation file {annotation_path(data_dir, split)} does not exist"
    for folder in _RELEASE_FOLDERS:
        path = os.path.join(data_dir, folder, _RELEASE_NAME)
        if os.path.isfile(path):
            if split not in _RELEASE_SPLITS:
                raise InputError(
                    f"{absent}, and {path} only has the splits {' and '.join(_RELEASE_SPLITS)}. Received: {split}. "
                    "Use one of those, or the JSON files of the reference implementation"
                )
            return path
    raise InputError(f"{absent}, nor does {_RELEASE_NAME}. Check the data directory and the split's name")


def _people_of_release(path, split):
    """People of a split of the release, as `_records` takes them; those without a position are left out."""
    images, in_training = _read_release(path)
    people = []
    for i in np.flatnonzero(in_training == _RELEASE_SPLITS[split]):
        name = getattr(getattr(images[i], "image", None), "name", None)
        try:
            for person in _structs(getattr(images[i], "annorect", None)):
                placement, joints = _placement(person), _joints(person)
                if placement is None or (split != TEST_SPLIT and joints is None):
                    continue
                if not isinstance(name, str) or not name:
                    raise ValueError("it has no file name")
                people.append((name, placement, _no_joints() if split == TEST_SPLIT else joints))
        except ValueError as error:
            raise InputError(f"{path}: image {i + 1} of annolist is malformed: {reason(error)}") from error
    return people


def _read_release(path):
    """The structs of RELEASE.annolist and the numbers of RELEASE.img_train."""
    release = read_mat(path, ["RELEASE"], struct_as_record=False, squeeze_me=True).get("RELEASE")
    images = _structs(getattr(release, "annolist", None))
    in_training = np.ravel(getattr(release, "img_train", ()))
    if not images or len(images) != len(in_training):
        raise InputError(
            f"{path} is not MPII's release: it must hold RELEASE with as many img_train as annolist. "
            f"Received: {len(in_training)} and {len(images)}"
        )
    return images, in_training


def _structs(value):
    """The structs of a MATLAB struct array; none where it is empty or something else, as it is if unset."""
    return [item for item in np.ravel(np.asarray(value, object)) if isinstance(item, mat_struct)]


def _number(struct, name):
    """A field of a MATLAB struct, None where it is not there or unset, which is an empty array."""
    value = getattr(struct, name, None)
    return value if np.size(value) == 1 else None


def _placement(person):
    """[scale, x, y] of a person of the release, None where it has none."""
    position = getattr(person, "objpos", None)
    values = [_number(person, "scale"), _number(position, "x"), _number(position, "y")]
    if any(value is None for value in values):
        return None
    placement = json_numbers(values, 3)
    return placement if placement[0] > 0 else None


def _joints(person):
    """[16,3] annotated joints of a person of the release, None where there are none.

    A joint's `is_visible`, which may be a number, a character, empty or not there at all, tells
    occluded ones; the reference learns and scores those too.
    """
    points = _structs(getattr(getattr(person, "annopoints", None), "point", None))
    joints = _no_joints()
    for point in points:
        k, x, y = json_numbers([_number(point, name) for name in ("id", "x", "y")], 3)
        if k not in range(len(joints)):
            raise ValueError(f"a point's id must be from 0 to {len(joints) - 1}. Received: {k:g}")
        joints[int(k)] = x, y, 1
    return joints if points else None
