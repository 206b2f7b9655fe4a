"""Regions of images whose people are not annotated: where the loss does not count.

A region is kept as COCO's compressed run-length encoding, some hundred bytes, until an image is shown.

Shape legend: H and W image, h and w mask.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pycocotools import mask as coco_mask

from hrnet_tf import geometry
from hrnet_tf.files import json_numbers

# {"size": [H, W], "counts": bytes}
Region = dict[str, Any]
# A polygon's corners, x and y, at least.
_MIN_NUMBERS = 6


def region_of_segments(segmentation: object, size: tuple[int, int]) -> Region | None:
    """The region of an annotation's `segmentation`: polygons, or a run-length encoding, compressed or not.

    Args:
        segmentation: of a JSON file, whatever it is.
        size: (H, W) of the image.

    Returns:
        None where it is neither, is empty, or is not of an image of this size.
    """
    if isinstance(segmentation, list):
        return _of_polygons(segmentation, size)
    if not isinstance(segmentation, dict) or segmentation.get("size") != list(size):
        return None
    counts = segmentation.get("counts")
    try:
        runs = _run_lengths(counts) if isinstance(counts, str) else counts
        if isinstance(runs, list):
            lengths = json_numbers(runs, len(runs), size[0] * size[1])
            if (lengths >= 0).all() and lengths.sum() == size[0] * size[1]:
                return coco_mask.frPyObjects({"size": list(size), "counts": lengths.astype(int).tolist()}, *size)
    except (ValueError, OverflowError):  # no numbers, or damaged
        pass
    return None


def _run_lengths(text):
    """The numbers of a compressed encoding, which pycocotools reads without looking whether they fit the image.

    Groups of five bits, the lowest first, in characters from "0" on, with a sixth bit where there is another group;
    from the third number on they are differences from the last but one.
    """
    runs, value, shift = [], 0, 0
    for character in text:
        group = ord(character) - ord("0")
        if not 0 <= group < 64 or shift > 60:
            raise ValueError("no run-length encoding")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (group & 16) << (shift - 4)  # the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs


def _of_polygons(polygons, size):
    corners = []
    for polygon in polygons:
        try:
            points = json_numbers(polygon, len(polygon))
        except (ValueError, TypeError):  # no list, or not of numbers
            continue
        if len(points) >= _MIN_NUMBERS and len(points) % 2 == 0:
            # What is far outside the image would be walked along pixel by pixel.
            corners.append(points.reshape(-1, 2).clip(0, size[::-1]).ravel().tolist())
    return coco_mask.merge(coco_mask.frPyObjects(corners, *size)) if corners else None


def region_of_box(box: ArrayLike, size: tuple[int, int]) -> Region:
    """The region of a box (x, y, width, height), of its part inside an image of (H, W)."""
    x, y, width, height = np.asarray(box, np.float64).tolist()
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    region: Region = _of_polygons([corners], size)
    return region


def union(regions: Sequence[Region]) -> Region | None:
    """The region that several of one image cover together, None where there are none."""
    return coco_mask.merge(list(regions)) if regions else None


def counted(
    region: Region | None, size: tuple[int, int], matrix: np.ndarray, output_size: tuple[int, int]
) -> np.ndarray:
    """The mask of what counts in a crop: all but the region.

    Beyond the image too, where nobody is: networks are given images with black borders, and must find nobody there.

    Args:
        region: what does not count, if anything.
        size: (H, W) of the image.
        matrix: [2,3] from image to mask pixels.
        output_size: (h, w) of the mask.

    Returns:
        [h,w] uint8, 1 where it counts.
    """
    if region is None:
        return np.ones(output_size, np.uint8)
    left_out = np.zeros(size, np.uint8)
    left_out[coco_mask.decode(region) > 0] = 255
    return (geometry.warp(left_out, matrix, output_size) <= 127).astype(np.uint8)
