"""Keypoints of one set as those of another that has some of them too."""

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.errors import InputError, listed
from hrnet_tf.skeletons.sets import facts, find
from hrnet_tf.skeletons.skeleton import Skeleton


def convert(keypoints: ArrayLike, source: Skeleton, target: Skeleton) -> np.ndarray:
    """People's keypoints as another set has them: the same points, and what lies half way between two of them.

    Which are the same is told by their names, and where published sets call one point by several, as CrowdPose's `head`
    and MPII's `head_top`, by `common` in `sets.json`. OpenPose's neck and mid-hip are the middles of shoulders and
    hips, with the lower of the two scores. What the source does not have is 0, 0 with score 0.

    Args:
        keypoints: [N,K,3] x, y in pixels, score (or COCO's visibility).
        source: the K keypoints.
        target: the K2 keypoints that are wanted.

    Returns:
        [N,K2,3] in the float type of `keypoints`, float64 for integers.

    Raises:
        InputError: the keypoints have another shape, or the sets have no keypoint in common.
    """
    keypoints = np.asarray(keypoints)
    if keypoints.ndim != 3 or keypoints.shape[1:] != (source.num_keypoints, 3):
        raise InputError(f"keypoints must have shape [N, {source.num_keypoints}, 3]. Received: {keypoints.shape}")
    if not np.issubdtype(keypoints.dtype, np.floating):
        keypoints = keypoints.astype(np.float64)
    ours = {name: i for i, name in enumerate(_common_names(source))}
    middles = _middles(target)
    known_middles = _middles(source)
    converted = np.zeros((len(keypoints), target.num_keypoints, 3), keypoints.dtype)
    is_found = False
    for k, name in enumerate(_common_names(target)):
        ends = middles.get(name)
        if ends and ends != known_middles.get(name) and set(ends) <= ours.keys():
            converted[:, k] = _middle(*(keypoints[:, ours[end]] for end in ends))
        elif name in ours:
            converted[:, k] = keypoints[:, ours[name]]
        else:
            continue
        is_found = True
    if not is_found:
        raise InputError(
            f"no keypoint is in both sets: there are {listed(source.names)}, and wanted are {listed(target.names)}"
        )
    return converted


def _common_names(skeleton):
    """The names by which a set's keypoints are known in other sets too."""
    name = find(skeleton.names)
    common = facts(name).get("common", {}) if name else {}
    return [common.get(keypoint, keypoint) for keypoint in skeleton.names]


def _middles(skeleton):
    """{keypoint: the two between which it is half way by definition}."""
    name = find(skeleton.names)
    return facts(name).get("middles", {}) if name else {}


def _middle(a, b):
    """[N,3] between two keypoints [N,3]; zeros where one is not there."""
    middle = (a + b) / 2
    middle[:, 2] = np.minimum(a[:, 2], b[:, 2])
    return np.where(middle[:, 2:] > 0, middle, 0).astype(a.dtype)
