"""Whole images as networks of them take these, and their outputs as grouping takes them.

As HRNet/HigherHRNet-Human-Pose-Estimation does both.

Shape legend: B batch, H and W image, h and w image as resized, K keypoints, T components of a tag.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hrnet_tf import geometry
from hrnet_tf.errors import InputError
from hrnet_tf.models.variants import HEATMAPS, HEATMAPS_TAGS, MAX_SIDE
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.skeletons import flip_order

# The longer side of an image becomes a multiple of this.
SIDE_MULTIPLE = 64


@dataclasses.dataclass(frozen=True)
class Frame:
    """How an image is resized.

    Attributes:
        size: (h, w) that it has then.
        center: (x, y) of its middle, whole pixels.
        extent: (width, height) of what is shown of it, and beyond it.
    """

    size: tuple[int, int]
    center: tuple[int, int]
    extent: tuple[float, float]

    def matrix(self, inverse: bool = False) -> np.ndarray:
        """[2,3] from pixels of the image to those of the resized one, or back."""
        return geometry.affine_matrix([self.center], [self.extent], 0, self.size, inverse)[0]


def frame(image_size: tuple[int, int], side: int, scale: float = 1.0, smallest_scale: float = 1.0) -> Frame:
    """How an image is resized to be looked at: its shorter side to `side` times `scale`, in proportion.

    The longer side is rounded up to a multiple of 64, at the smallest of the scales that the image is looked at in, so
    that the maps of all scales show the same; beyond the image it is black.

    Args:
        image_size: (H, W).
        side: in pixels.
        scale: of this look at it.
        smallest_scale: of all looks at it.

    Raises:
        InputError: the image is so long and narrow that the longer side would have more than 4096 pixels.
    """
    height, width = image_size
    shorter, longer = sorted(image_size)
    smallest = _rounded_up(smallest_scale * side)
    grown = scale / smallest_scale
    short, long = int(smallest * grown), int(_rounded_up(smallest / shorter * longer) * grown)
    if long > MAX_SIDE * max(1.0, scale):
        raise InputError(
            f"an image must not be so long and narrow: of {width} x {height} pixels, the longer side would have {long} "
            f"where the shorter has {short}. Cut it into parts"
        )
    is_upright = width < height
    size = (long, short) if is_upright else (short, long)
    extent = (width, long / short * width) if is_upright else (long / short * height, height)
    return Frame(size, (int(width / 2 + 0.5), int(height / 2 + 0.5)), extent)


def _rounded_up(side):
    return int((side + SIDE_MULTIPLE - 1) // SIDE_MULTIPLE * SIDE_MULTIPLE)


def average(
    outputs: Mapping[str, tf.Tensor], flip_pairs: Sequence[tuple[int, int]] | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Both outputs of a network as one: heatmaps averaged, tags at their size.

    Args:
        outputs: {"heatmaps_tags": [B,h/4,w/4,2K], "heatmaps": [B,h/2,w/2,K]}; with the flip test of images, and behind
            them the same images mirrored.
        flip_pairs: of the keypoints, for the flip test; None without it.

    Returns:
        heatmaps [b,h/2,w/2,K] and tags [b,h/2,w/2,K,T]; with the flip test b = B / 2 and T = 2, else T = 1.
    """
    high = outputs[HEATMAPS]
    low = tf.image.resize(outputs[HEATMAPS_TAGS], tf.shape(high)[1:3])
    num_keypoints = high.shape[-1]
    heatmaps, tags = 0.5 * (low[..., :num_keypoints] + high), low[..., num_keypoints:]
    if flip_pairs is None:
        return heatmaps, tags[..., None]
    order = flip_order(flip_pairs, num_keypoints)
    (heatmaps, mirrored), (tags, mirrored_tags) = tf.split(heatmaps, 2), tf.split(tags, 2)
    mirrored, mirrored_tags = (tf.gather(tf.reverse(maps, [2]), order, axis=3) for maps in (mirrored, mirrored_tags))
    return 0.5 * (heatmaps + mirrored), tf.stack([tags, mirrored_tags], axis=-1)


def enlarge(maps: tuple[tf.Tensor, tf.Tensor], size: Sequence[int] | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Heatmaps [B,h,w,K] and tags [B,h,w,K,T] at another size (h, w)."""
    heatmaps, tags = maps
    num_keypoints, num_tags = tags.shape[3:]
    flat = tf.reshape(tags, tf.concat([tf.shape(tags)[:3], [num_keypoints * num_tags]], 0))
    enlarged = tf.image.resize(flat, size)
    shape = tf.concat([tf.shape(enlarged)[:3], [num_keypoints, num_tags]], 0)
    return tf.image.resize(heatmaps, size), tf.reshape(enlarged, shape)


def make_map_function(
    model: Callable[..., Any] | Runner, flip_pairs: Sequence[tuple[int, int]] | None, use_xla: bool = False
) -> Any:
    """Builds the function from images [B,h,w,3] uint8 to their heatmaps and tags, as of `average`.

    Args:
        model: of `prediction.network.Network`.
        flip_pairs: as of `average`.
        use_xla: compile it, anew for every size.

    Returns:
        A tf.function, or with a `Runner` a plain one.
    """

    def with_mirrored(images):
        return images if flip_pairs is None else tf.concat([images, tf.reverse(images, [2])], axis=0)

    if isinstance(model, Runner):
        return lambda images: average(model(with_mirrored(images).numpy()), flip_pairs)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)], jit_compile=use_xla)
    def maps(images):
        return average(model(with_mirrored(images), training=False), flip_pairs)

    return maps
