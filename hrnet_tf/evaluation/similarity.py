"""Object keypoint similarity (OKS) between predictions, non-maximum suppression by it, and rescoring.

Shapes: N people, K keypoints; keypoints are (x, y) or (x, y, score) in pixels of the image.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf import skeletons
from hrnet_tf.errors import InputError

# Soft suppression never rejects a person for good; it ends after this many (COCO scores 20 per image).
SOFT_NMS_MAX_PEOPLE = 20


def oks(
    keypoints: ArrayLike,
    area: float,
    other_keypoints: ArrayLike,
    other_areas: ArrayLike,
    sigmas: ArrayLike | None = None,
    counted: ArrayLike | None = None,
) -> np.ndarray:
    """Object keypoint similarity of one person to N others.

    The mean over keypoints of exp(-d² / (2·area·(2·sigma)²)), where d is the distance in pixels and
    area the mean of the two areas: COCO's similarity, with two predictions in the place of
    prediction and annotation, so that every keypoint counts.

    Args:
        keypoints: [K, 2] or [K, 3], the one person.
        area: its area in square pixels.
        other_keypoints: [N, K, 2] or [N, K, 3].
        other_areas: [N] square pixels.
        sigmas: K tolerances as fractions of object size; COCO's by default.
        counted: [N, K], which keypoints the mean is over; all by default. Those that are not may be NaN.

    Returns:
        [N] float64 in [0, 1]; 0 where no keypoint counts.

    Raises:
        InputError: `sigmas` are not one positive number for each keypoint.

    Source: https://cocodataset.org/#keypoints-eval
    """
    keypoints = np.asarray(keypoints, np.float64)
    others = np.asarray(other_keypoints, np.float64)
    sigmas = checked_sigmas(sigmas, keypoints.shape[-2])
    squared_distance = np.sum((others[..., :2] - keypoints[:, :2]) ** 2, axis=-1)  # [N, K]
    mean_area = (area + np.asarray(other_areas, np.float64)) / 2
    # np.spacing(1) keeps areas of 0 from dividing by 0, as in COCO's own code.
    likeness = np.exp(-squared_distance / (2 * (2 * sigmas) ** 2 * (mean_area + np.spacing(1))[:, None]))
    if counted is None:
        return likeness.mean(axis=-1)
    counted = np.asarray(counted, bool)
    return np.where(counted, likeness, 0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)


def oks_nms(
    keypoints: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    threshold: float = 0.9,
    sigmas: ArrayLike | None = None,
) -> np.ndarray:
    """Keeps the best of the people that are more alike than the threshold, greedily.

    Args:
        keypoints: [N, K, 2] or [N, K, 3], people of one image.
        scores: [N], higher is better; equal scores rank in the order given.
        areas: [N] square pixels.
        threshold: a person whose OKS with a better one exceeds this is dropped.
        sigmas: K tolerances as fractions of object size; COCO's by default.

    Returns:
        Indices of the people kept, best first, integer array.

    Raises:
        InputError: lengths differ, or `sigmas` are not one positive number for each keypoint.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/nms/nms.py
    """
    keypoints, scores, areas = _checked_people(keypoints, scores, areas)
    order = _best_first(scores)
    kept: list[np.intp] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[oks(keypoints[best], areas[best], keypoints[order], areas[order], sigmas) <= threshold]
    return np.array(kept, np.intp)


def soft_oks_nms(
    keypoints: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    threshold: float = 0.9,
    sigmas: ArrayLike | None = None,
) -> np.ndarray:
    """Ranks people by a score that decays with their likeness to better ones; the best 20 are kept.

    Each time a person is taken, the scores of those left are multiplied by exp(-OKS² / threshold).

    Args:
        keypoints: [N, K, 2] or [N, K, 3], people of one image.
        scores: [N], higher is better; equal scores rank in the order given.
        areas: [N] square pixels.
        threshold: the width of the decay; larger is milder.
        sigmas: K tolerances as fractions of object size; COCO's by default.

    Returns:
        Indices of at most 20 people, best first, integer array.

    Raises:
        InputError: lengths differ, or `sigmas` are not one positive number for each keypoint.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/nms/nms.py
    """
    keypoints, scores, areas = _checked_people(keypoints, scores, areas)
    order = _best_first(scores)
    kept: list[np.intp] = []
    while order.size and len(kept) < SOFT_NMS_MAX_PEOPLE:
        best, order = order[0], order[1:]
        kept.append(best)
        similarity = oks(keypoints[best], areas[best], keypoints[order], areas[order], sigmas)
        scores[order] *= np.exp(-(similarity**2) / threshold)
        order = order[_best_first(scores[order])]
    return np.array(kept, np.intp)


def rescore(box_scores: ArrayLike, keypoint_scores: ArrayLike, threshold: float = 0.2) -> np.ndarray:
    """Scores people by box score times mean of their keypoint scores above a threshold.

    Args:
        box_scores: [N].
        keypoint_scores: [N, K].
        threshold: keypoints at or below it are left out; a person with none above scores 0.

    Returns:
        [N] float64.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/coco.py
    """
    keypoint_scores = np.asarray(keypoint_scores, np.float64)
    counted = keypoint_scores > threshold
    total = np.where(counted, keypoint_scores, 0).sum(axis=-1)
    return np.asarray(box_scores, np.float64) * total / np.maximum(counted.sum(axis=-1), 1)


def _best_first(scores):
    return np.argsort(-scores, kind="stable")


def _checked_people(
    keypoints: ArrayLike, scores: ArrayLike, areas: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 arrays of equal length; `scores` is a copy."""
    keypoints = np.asarray(keypoints, np.float64)
    scores = np.array(scores, np.float64)
    areas = np.asarray(areas, np.float64)
    if not len(keypoints) == len(scores) == len(areas):
        raise InputError(
            "keypoints, scores and areas must have the same length. "
            f"Received: {len(keypoints)}, {len(scores)} and {len(areas)}"
        )
    return keypoints, scores, areas


def checked_sigmas(sigmas: ArrayLike | None, num_keypoints: int) -> np.ndarray:
    """The tolerances as an array [K]; None stands for COCO's."""
    sigmas = np.asarray(skeletons.COCO.oks_sigmas if sigmas is None else sigmas, np.float64)
    if sigmas.shape != (num_keypoints,) or not (sigmas > 0).all():
        raise InputError(
            f"sigmas must hold one positive number for each of {num_keypoints} keypoints (the default is COCO's 17). "
            f"Received: {np.array2string(sigmas, threshold=20, max_line_width=1000)}"
        )
    return sigmas


@dataclasses.dataclass(frozen=True)
class Suppression:
    """How people are scored and duplicates dropped; the defaults are the reference's.

    Attributes:
        nms: "oks" drops people too like a better one of their image, "soft" ranks them by a score that
            decays with the likeness and keeps the best 20 of an image, "none" keeps all.
        oks_threshold: the likeness at which "oks" drops; the width of the decay of "soft".
        score_threshold: keypoints at or below it do not count in a person's score.
    """

    nms: str = "oks"
    oks_threshold: float = 0.9
    score_threshold: float = 0.2


# By name, from keypoints, scores, areas, threshold and sigmas to indices, as `oks_nms`.
SUPPRESSIONS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, float, ArrayLike | None], np.ndarray]] = {
    "oks": oks_nms,
    "soft": soft_oks_nms,
    "none": lambda keypoints, scores, *_: np.argsort(-scores, kind="stable"),
}
REFERENCE_SUPPRESSION = Suppression()
