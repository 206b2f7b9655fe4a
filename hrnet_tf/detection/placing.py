"""An image in the input of a detector, and boxes back from there.

Shape legend: H and W image, h and w input of the detector, n boxes.
"""

import dataclasses

import cv2
import numpy as np

# What is around an image that does not have the input's proportions.
_GREY = 114


@dataclasses.dataclass(frozen=True)
class Placing:
    """Where in the input an image lies: a point (x, y) of the image is at (x, y) · `scale` + `offset`.

    Points are those of edges: the image is from 0 to W and from 0 to H.

    Attributes:
        scale: (of x, of y).
        offset: (x, y) of the image's top left corner.
        size: (H, W) of the image.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]
    size: tuple[int, int]

    def boxes(self, corners: np.ndarray) -> np.ndarray:
        """Boxes [n,4] (x, y, width, height) in the image's pixels, cut to the image.

        Args:
            corners: [n,4] (x, y) of the top left and of the bottom right corner, in pixels of the input.
        """
        corners = (corners - self.offset * 2) / (self.scale * 2)
        height, width = self.size
        corners = corners.clip(0, (width, height, width, height))
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).astype(np.float32)


def stretched(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Placing]:
    """The image [H,W,3] as all of an input [h,w,3] of `size` (h, w), without its proportions."""
    return _placed(image, size, size, (0, 0))


def in_corner(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Placing]:
    """The image [H,W,3] in the top left corner of an input [h,w,3] of `size` (h, w), as large as it can be there."""
    return _placed(image, size, _largest(image, size), (0, 0))


def in_middle(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Placing]:
    """The image [H,W,3] in the middle of an input [h,w,3] of `size` (h, w), as large as it can be there."""
    height, width = _largest(image, size)
    return _placed(image, size, (height, width), ((size[1] - width) // 2, (size[0] - height) // 2))


def _largest(image, size):
    """(height, width) that fills an input of `size` in one direction."""
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    return max(1, round(ratio * image.shape[0])), max(1, round(ratio * image.shape[1]))


def _placed(image, size, placed_size, offset):
    """The input with the image enlarged or shrunk to `placed_size` (height, width) at `offset` (x, y)."""
    height, width = placed_size
    canvas = np.full((*size, 3), _GREY, np.uint8)
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    x, y = offset
    canvas[y : y + height, x : x + width] = cv2.resize(image, (width, height), interpolation=interpolation)
    return canvas, Placing((width / image.shape[1], height / image.shape[0]), offset, image.shape[:2])
