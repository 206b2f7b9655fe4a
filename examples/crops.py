"""What the examples of this folder share, with numpy alone: reading an image, cutting out a person and the way back.

Sizes are (height, width), points and boxes (x, y, ...) in pixels, counted from the middle of the top left one.
"""

import re

import numpy as np

BOX_PADDING = 1.25  # a crop shows this much more than the person's box


def read_ppm(path):
    """An image as [H,W,3] uint8 RGB. Any tool writes this format, as in `convert photo.jpg photo.ppm`.

    An application has its own image library; turn the picture as its EXIF orientation says.
    """
    with open(path, "rb") as file:
        content = file.read()
    header = re.match(rb"P6\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+255\s", content)
    if header is None:
        raise SystemExit(f"error: {path} must be a binary PPM file of 8 bits (P6)")
    width, height = (int(number) for number in header.groups())
    if len(content) < header.end() + height * width * 3:
        raise SystemExit(f"error: {path} is shorter than its {width}x{height} pixels")
    return np.frombuffer(content, np.uint8, height * width * 3, header.end()).reshape(height, width, 3)


class Frame:
    """The part of an image that a crop of (H, W) shows, and the way of points from there to the image.

    Attributes:
        step: (x, y) pixels of the image from one pixel of the crop to the next.
    """

    def __init__(self, box, input_size, codec="msra"):
        """Widens `box` (x, y, width, height) to the crop's proportions and pads it, as for training by `codec`."""
        x, y, width, height = box
        size = np.array(input_size[::-1], np.float64)  # (W, H)
        self.center = np.array([x + width / 2, y + height / 2])
        width = max(width, height * size[0] / size[1])
        extent = size - 1 if codec == "udp" else size
        self.middle = extent / 2
        self.step = BOX_PADDING * width * np.array([1, size[1] / size[0]]) / extent
        self.size = input_size

    def cut(self, image):
        """[H,W,3] uint8 from `image` [height,width,3], interpolated bilinearly, black beyond its border."""
        height, width = self.size
        x = self.center[0] + (np.arange(width) - self.middle[0]) * self.step[0]
        y = self.center[1] + (np.arange(height) - self.middle[1]) * self.step[1]
        return np.rint(_interpolate(_interpolate(image, y, 0), x, 1)).astype(np.uint8)

    def to_image(self, points):
        """Points [...,2] (x, y) of the crop in pixels of the image."""
        return self.center + (np.asarray(points) - self.middle) * self.step


def _interpolate(image, positions, axis):
    """`image` at `positions` along an axis."""
    length = image.shape[axis]
    low = np.floor(positions).astype(int)
    shape = [-1 if a == axis else 1 for a in range(3)]
    total = 0
    for index, weight in ((low, low + 1 - positions), (low + 1, positions - low)):
        weight = np.where((index >= 0) & (index < length), weight, 0).reshape(shape)
        total = total + weight * image.take(np.clip(index, 0, length - 1), axis)
    return total
