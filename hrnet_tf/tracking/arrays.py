"""What is checked of the arrays that tracking is given, and what of them is asked often."""

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.errors import InputError
from hrnet_tf.files import MAX_COORDINATE


def checked_keypoints(keypoints: ArrayLike, num_keypoints: int | None = None) -> np.ndarray:
    """Keypoints as [N,K,3] float64; raises InputError where they have another shape."""
    points = np.asarray(keypoints, np.float64)
    if points.ndim != 3 or points.shape[2] != 3 or num_keypoints not in (None, points.shape[1]):
        wanted = "K" if num_keypoints is None else num_keypoints
        raise InputError(f"keypoints must have shape [N,{wanted},3] (x, y, score). Received: {list(points.shape)}")
    return points


def is_sure(keypoints: np.ndarray, threshold: float) -> np.ndarray:
    """[N,K]: which keypoints [N,K,3] are there, not too far out, and scored above `threshold`."""
    return (np.abs(keypoints[..., :2]) <= MAX_COORDINATE).all(axis=-1) & (keypoints[..., 2] > threshold)


def checked_time(time: float, last: float | None) -> float:
    """A time in seconds; raises InputError where it is not finite or before the last one."""
    time = float(time)
    if not np.isfinite(time) or (last is not None and time < last):
        after = "" if last is None else f" of at least {last:g}, that of the frame before"
        raise InputError(f"time must be a finite number of seconds{after}. Received: {time}")
    return time


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[T,N] intersections over unions of boxes [T,4] and [N,4] (x, y, width, height) of positive sizes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (others[:, :2] + others[:, 2:])[None])
    common = np.maximum(high - low, 0).prod(axis=-1)
    union = boxes[:, 2:].prod(axis=1)[:, None] + others[:, 2:].prod(axis=1) - common
    return common / np.maximum(union, np.finfo(np.float64).tiny)


def known(points: np.ndarray) -> np.ndarray:
    """Which of the points [...,2] there are; those that are not are NaN."""
    return ~np.isnan(points[..., 0])
