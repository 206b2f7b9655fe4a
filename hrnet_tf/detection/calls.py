"""Whatever finds people: a `PersonDetector`, or a function of the caller's.

Shape legend: H and W image, N people.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hrnet_tf.errors import InputError, shown
from hrnet_tf.inputs import checked_boxes

# Image [H,W,3] uint8 RGB -> boxes [N,4] (x, y, width, height) in its pixels, or a tuple of these and scores [N].
Detector = Callable[[np.ndarray], Any]


def find_people(detector: Detector, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boxes that a detector finds, checked.

    Args:
        detector: what is called.
        image: [H,W,3] uint8 RGB.

    Returns:
        boxes [N,4] float32 and scores [N] float32, 1 where the detector gives none; in its order.

    Raises:
        InputError: it gives anything else.
    """
    found = detector(image)
    boxes, scores = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if boxes is None:
        raise InputError("a detector must return boxes [N,4], or a tuple of boxes and scores [N]. Received: None")
    try:
        boxes = checked_boxes(boxes, None)
    except InputError as error:
        raise InputError(f"what the detector returns cannot be used: {error}") from error
    if scores is None:
        return boxes, np.ones(len(boxes), np.float32)
    try:
        checked = np.asarray(scores, np.float32)
    except (ValueError, TypeError):
        checked = np.full(1, np.nan, np.float32)
    if checked.shape != (len(boxes),) or not np.isfinite(checked).all():
        raise InputError(
            f"a detector must return a finite score for each of {len(boxes)} boxes. Received: {shown(scores)}"
        )
    return boxes, checked
