"""Percentage of correct keypoints (PCK) by keypoint: where a network is weak, which AP does not tell."""

import numpy as np
from numpy.typing import ArrayLike

# Of the crop's width and height; the tolerance of the "accuracy" that the reference prints in training.
TOLERANCE = 0.05


def keypoint_pck(
    true_images: ArrayLike,
    true_keypoints: np.ndarray,
    visible: ArrayLike,
    crop_sizes: np.ndarray,
    pred_images: ArrayLike,
    pred_keypoints: ArrayLike,
) -> np.ndarray:
    """Share of annotated keypoints predicted within 5 % of the crop's width and height.

    Each annotated person is compared with the prediction in the same image that is nearest on
    average over the annotated keypoints; without one, its keypoints are missed.

    Args:
        true_images: [N] image of each annotated person.
        true_keypoints: [N,K,2] in image pixels.
        visible: [N,K], 1 where annotated.
        crop_sizes: [N,2] (width, height) of the people's crops in image pixels.
        pred_images: [M] image of each prediction.
        pred_keypoints: [M,K,2] or [M,K,3] in image pixels.

    Returns:
        [K] shares, NaN for keypoints that nobody has annotated.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/core/evaluate.py (distances in
    heatmap pixels there, tenths of the map times 0.5)
    """
    visible = np.asarray(visible) > 0
    pred_images, pred_keypoints = np.asarray(pred_images), np.asarray(pred_keypoints)[..., :2]
    by_image = np.argsort(pred_images, kind="stable")
    first, last = (np.searchsorted(pred_images[by_image], true_images, side) for side in ("left", "right"))
    hits = np.zeros(visible.shape, bool)
    for i in np.flatnonzero(first < last):
        candidates = pred_keypoints[by_image[first[i] : last[i]]]
        distance = np.linalg.norm((candidates - true_keypoints[i]) / crop_sizes[i], axis=-1)  # [candidates,K]
        nearest = distance[np.argmin(np.where(visible[i], distance, 0).sum(-1))]
        hits[i] = visible[i] & (nearest < TOLERANCE)
    total = visible.sum(axis=0)
    return np.where(total > 0, hits.sum(axis=0) / np.maximum(total, 1), np.nan)
