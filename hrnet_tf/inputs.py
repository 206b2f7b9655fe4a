"""What predictors and detectors are given: images and boxes of all kinds.

Shape legend: H and W image, N people.
"""

import os
import warnings

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.data.decoding import twelve_bits_note, unused_bits
from hrnet_tf.data.pixels import check_pixels
from hrnet_tf.data.records import read_image
from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import MAX_COORDINATE, PathLike


def load_image(image: ArrayLike | PathLike) -> np.ndarray:
    """An image as RGB [H,W,3] uint8.

    Args:
        image: a path, whose picture is turned as its EXIF orientation says, so that boxes and
            keypoints are those of the picture as it is looked at; or an array [H,W,3] RGB, [H,W,4]
            RGBA (alpha is dropped), [H,W] or [H,W,1] grey; uint8, or uint16 from 0 to 65535.

    Raises:
        InputError: the file cannot be read, the array has another shape or type, or there are too many pixels.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, turn=True)
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"an image must be uint8 from 0 to 255 or uint16 from 0 to 65535. Received: {image.dtype} "
            f"{list(image.shape)}. Scale and convert it, as in np.uint8(255 * image + 0.5) for values from 0 to 1"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise InputError(f"an image must have shape [H,W,3], [H,W,4], [H,W] or [H,W,1]. Received: {list(image.shape)}")
    check_pixels(image.shape[1::-1], "an image")
    if image.dtype == np.uint16:
        shift = unused_bits(image[..., :3])
        if shift < 8:
            warnings.warn(f"an image given as uint16: {twelve_bits_note(shift)}", stacklevel=2)
        image = (image >> shift).astype(np.uint8)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    return np.ascontiguousarray(image)


def checked_boxes(boxes_xywh: ArrayLike | None, image: np.ndarray | None) -> np.ndarray:
    """Boxes as [N,4] float32; None is all of `image` [H,W,3] in one.

    Raises:
        InputError: they are not [N,4] numbers, or one is not finite, too far out or without area.
    """
    if boxes_xywh is None:
        assert image is not None
        height, width = image.shape[:2]
        return np.array([[0, 0, width, height]], np.float32)
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
            boxes = np.asarray(boxes_xywh, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"boxes must be [N,4] numbers. Received: {shown(boxes_xywh)}") from error
    if boxes.shape == (0,):
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes must have shape [N,4] (x, y, width, height). Received: {list(boxes.shape)}")
    # Comparisons with NaN are false.
    usable = (np.abs(boxes) <= MAX_COORDINATE).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    if not usable.all():
        bad = int(np.argmin(usable))
        raise InputError(
            f"box {bad} must be finite x, y, width, height up to {MAX_COORDINATE:g} in pixels, with a positive width "
            f"and height. Received: {boxes[bad].tolist()}"
        )
    return boxes
