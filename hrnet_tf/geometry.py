"""Boxes, crops and the way between image and crop: the one convention for all of them.

A crop is a box widened to the network's aspect ratio and padded, turned about its centre, and
resampled to the network's input size. Points are (x, y), sizes (height, width), boxes
(x, y, width, height), all in pixels with the origin at the centre of the top left pixel.
The convention is that of the reference implementation of the CVPR 2019 paper.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike

# A box is this much larger than the person that it holds, so that the crop shows some surroundings.
BOX_PADDING = 1.25


def box_to_center_size(
    boxes_xywh: ArrayLike, aspect_ratio: float, padding: float = BOX_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sizes of the crops that show the given boxes.

    The shorter side (relative to `aspect_ratio`) is widened, then both are multiplied by `padding`.

    Args:
        boxes_xywh: [N,4] boxes in pixels.
        aspect_ratio: width / height of the crop.
        padding: factor on both sides.

    Returns:
        centre [N,2] (x, y) and size [N,2] (width, height) in pixels, float32.
    """
    x, y, width, height = np.moveaxis(np.asarray(boxes_xywh, np.float64), -1, 0)
    center = np.stack([x + 0.5 * width, y + 0.5 * height], -1)
    width = np.maximum(width, height * aspect_ratio)
    size = np.stack([width, width / aspect_ratio], -1) * padding
    return center.astype(np.float32), size.astype(np.float32)


def affine_matrix(
    center: ArrayLike,
    size: ArrayLike,
    rotation_deg: ArrayLike,
    output_size: tuple[int, int],
    inverse: bool = False,
    align_corners: bool = False,
    mirrored: ArrayLike = False,
) -> np.ndarray:
    """Matrices from image pixels to crop pixels, or back.

    The scale follows from the widths alone; the middle of the crop is (w/2, h/2). With a positive
    angle the crop frame turns clockwise in the image, so its content appears turned the other way.

    With `align_corners`, as in UDP (Huang et al., CVPR 2020; their code counts angles the other
    way), the box's corners are the centres of the crop's corner pixels: the scales are
    (w - 1) / width in x and (h - 1) / height in y, the middle is ((w - 1) / 2, (h - 1) / 2).

    Args:
        center: [N,2] (x, y) of the crop's middle in the image.
        size: [N,2] (width, height) of the crop in image pixels.
        rotation_deg: [N] or a scalar, degrees.
        output_size: (h, w) of the crop in its own pixels.
        inverse: from crop to image instead.
        align_corners: crop as UDP does.
        mirrored: [N] bool or one for all: as if the image were mirrored first, and `center` with it. How wide the
            image is makes no difference then.

    Returns:
        [N,2,3] float32, to be applied to column vectors (x, y, 1).
    """
    center = np.asarray(center, np.float64)
    height, width = output_size
    angle = np.deg2rad(np.broadcast_to(np.asarray(rotation_deg, np.float64), center.shape[:-1]))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)  # [N,2,2]
    rotation[..., 0] *= np.where(mirrored, -1, 1)[..., None]
    size = np.asarray(size, np.float64)
    extent = np.array([width - 1, height - 1] if align_corners else [width, height])
    scale = extent / size if align_corners else extent[0] / size[..., :1]
    source, target = center, np.broadcast_to(extent / 2, center.shape)
    if inverse:
        linear = np.swapaxes(rotation, -1, -2) / scale[..., None, :]
        source, target = target, source
    else:
        linear = scale[..., None] * rotation
    offset = target - np.einsum("...ij,...j->...i", linear, source)
    return np.concatenate([linear, offset[..., None]], -1).astype(np.float32)


def reduction(matrices: ArrayLike) -> int:
    """By how much an image's sides may be shorter, 1, 2, 4 or 8, without being coarser than any crop that is cut of it.

    Args:
        matrices: [N,2,3] from pixels of the image to those of the crops, as `affine_matrix` gives them.
    """
    shrunk = np.abs(np.linalg.det(np.asarray(matrices, np.float64)[..., :2])).max(initial=0) ** -0.5
    return next(factor for factor in (8, 4, 2, 1) if factor <= shrunk or factor == 1)


def of_reduced(matrix: ArrayLike, factor: int) -> np.ndarray:
    """The matrix [2,3] from an image whose sides are shorter by `factor`: its pixel is in the middle of as many."""
    matrix = np.array(matrix, np.float64)
    matrix[:, 2] += matrix[:, :2].sum(1) * (factor - 1) / 2
    matrix[:, :2] *= factor
    return matrix


def transform_points(points: np.ndarray, matrix: ArrayLike) -> np.ndarray:
    """Applies matrices [...,2,3] to points [...,K,2] (x, y); float32."""
    matrix = np.asarray(matrix, np.float64)
    points = np.einsum("...ij,...kj->...ki", matrix[..., :2], points) + matrix[..., None, :, 2]
    return points.astype(np.float32)


def warp(image: np.ndarray, matrix: ArrayLike, output_size: tuple[int, int]) -> np.ndarray:
    """Resamples an image bilinearly, black beyond its border.

    Args:
        image: [H,W,3] uint8.
        matrix: [2,3] from pixels of `image` to pixels of the result, as `affine_matrix` gives it.
        output_size: (h, w).

    Returns:
        [h,w,3] uint8.
    """
    height, width = output_size
    return cv2.warpAffine(image, np.asarray(matrix, np.float64), (width, height), flags=cv2.INTER_LINEAR)
