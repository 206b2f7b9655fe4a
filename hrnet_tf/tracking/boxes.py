"""Boxes of people whose keypoints are known, for frames in which no detector looks.

Shape legend: N people, K keypoints.
"""

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.tracking.arrays import checked_keypoints, is_sure

# With fewer keypoints than this nobody can say how large a person is.
MIN_KEYPOINTS = 3


def boxes_from_keypoints(keypoints: ArrayLike, threshold: float = 0.2, margin: float = 0.08) -> np.ndarray:
    """Boxes around people's keypoints: what a detector would have found, for the next frame.

    A person reaches beyond the outermost keypoints: head, hands and feet do.

    Args:
        keypoints: [N,K,3] x, y in pixels and score; NaN where there is none.
        threshold: keypoints scored at or below it do not count.
        margin: how far a box reaches beyond them on every side, as a share of their own longer side; the default is
            what fits COCO's boxes best.

    Returns:
        [N,4] float64, x, y, width, height; NaN for people of whom fewer than three keypoints count, or who have no
        extent.

    Raises:
        InputError: the keypoints have another shape.
    """
    keypoints = checked_keypoints(keypoints)
    sure = is_sure(keypoints, threshold)
    low = np.where(sure[..., None], keypoints[..., :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(sure[..., None], keypoints[..., :2], -np.inf).max(axis=1, initial=-np.inf)
    known = sure.sum(axis=1) >= MIN_KEYPOINTS
    low, high = np.where(known[:, None], low, 0), np.where(known[:, None], high, 0)
    reach = margin * (high - low).max(axis=1, keepdims=True)
    boxes = np.concatenate([low - reach, high - low + 2 * reach], axis=1)
    boxes[~(boxes[:, 2:] > 0).all(axis=1)] = np.nan
    return boxes
