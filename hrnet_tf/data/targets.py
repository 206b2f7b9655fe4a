"""What a network is trained to answer: heatmaps and weights, from keypoints in a crop.

Shape legend: B batch, H and W crop, P people of an image, K keypoints.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hrnet_tf import heatmaps

# How much more a keypoint of such a name counts in the loss, before squaring: the reference's
# weights for COCO, the further from the trunk the larger.
_KEYPOINT_WEIGHTS = {"elbow": 1.2, "knee": 1.2, "wrist": 1.5, "ankle": 1.5}


def keypoint_weights_by_name(names: Iterable[str]) -> np.ndarray:
    """[K] float32 weights, 1.2 of elbows and knees, 1.5 of wrists and ankles, 1 of the others."""
    weights = [
        next((weight for part, weight in _KEYPOINT_WEIGHTS.items() if part in name.lower()), 1.0) for name in names
    ]
    return np.array(weights, np.float32)


class Targets:
    """Heatmaps and target weights of keypoints, of TensorFlow operations alone.

    Called with keypoints [B,K,2] in crop pixels and visible [B,K], whether they are annotated, it gives
    heatmaps [B,h,w,K] and target_weight [B,K], both float32.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        num_keypoints: int,
        sigma: float,
        codec: str = "msra",
        keypoint_weights: ArrayLike | None = None,
        supervise_absent: bool = False,
    ):
        """Takes what the targets follow from.

        Args:
            input_size: (H, W) of the crops.
            num_keypoints: K.
            sigma: in heatmap pixels.
            codec: a name in `heatmaps.CODECS`.
            keypoint_weights: [K], by which the target weights of annotated keypoints are multiplied;
                the loss squares them. None multiplies by 1.
            supervise_absent: give keypoints that are not annotated or not in the crop an empty target
                and weight 1 instead of 0, so that the network learns to find nothing there.

        Raises:
            ValueError: an unknown `codec`, or not K `keypoint_weights`.
        """
        weights = np.ones(num_keypoints) if keypoint_weights is None else np.asarray(keypoint_weights)
        if weights.shape != (num_keypoints,):
            raise ValueError(f"`keypoint_weights` must have shape [{num_keypoints}]. Received: {list(weights.shape)}")
        heatmaps.get_codec(codec)
        self._input_size, self._sigma, self._codec = input_size, sigma, codec
        self._present_weights, self._absent_weight = weights.astype(np.float32), 1.0 if supervise_absent else 0.0

    def __call__(self, keypoints: tf.Tensor, visible: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        maps, weight = heatmaps.encode(keypoints, visible, self._input_size, self._sigma, self._codec)
        return maps, tf.where(weight > 0, weight * self._present_weights, self._absent_weight)

    def points(self, keypoints: tf.Tensor, visible: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Points [B,K,2] in heatmap pixels instead of heatmaps; those beyond the outermost pixels have weight 0."""
        points = tf.cast(keypoints, tf.float32) / heatmaps.crop_pixels(self._input_size, self._codec)
        height, width = (side // heatmaps.HEATMAP_STRIDE for side in self._input_size)
        inside = tf.reduce_all((points >= 0) & (points <= (width - 1, height - 1)), axis=-1)
        return points, tf.where(inside, tf.cast(visible, tf.float32) * self._present_weights, 0.0)


class ImageTargets:
    """Heatmaps of everybody in an image and where everybody's tags are, of TensorFlow operations alone.

    Source: HRNet/HigherHRNet-Human-Pose-Estimation, lib/dataset/target_generators/target_generators.py
    """

    def __init__(self, input_size: tuple[int, int], sigma: float):
        """Takes (H, W) of the crops, and sigma in pixels of either heatmap."""
        self._input_size, self._sigma = input_size, sigma

    def __call__(self, keypoints: tf.Tensor, visible: tf.Tensor, stride: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Targets of heatmaps whose pixels are `stride` pixels of the crop, h = H / stride and w = W / stride.

        Args:
            keypoints: [B,P,K,2] in crop pixels.
            visible: [B,P,K], whether they are annotated; people come first, then rows of zeros.
            stride: a number of crop pixels.

        Returns:
            heatmaps [B,h,w,K] float32, of Gaussians that peak with 1 and end after 3 sigma + 1 pixels, the largest of
            all people's; and where the keypoints are in them, [B,P,K,2] int32: k·h·w + y·w + x, and 1 for those that
            are annotated and in the crop; else both are 0.
        """
        height, width = (side // stride for side in self._input_size)
        num_keypoints = keypoints.shape[2]
        pixel = tf.cast(tf.cast(keypoints, tf.float32) / stride, tf.int32)  # towards zero, as the reference truncates
        x, y = pixel[..., 0], pixel[..., 1]
        inside = (visible > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        place = tf.range(num_keypoints) * (height * width) + y * width + x
        indices = tf.where(inside[..., None], tf.stack([place, tf.ones_like(place)], -1), 0)
        return self._draw(pixel, inside, height, width), indices

    def _draw(self, pixel, inside, height, width):
        """The largest of Gaussians [B,h,w,K] at pixels [B,P,K,2], of those `inside` [B,P,K].

        By person: all at once would take P times the memory. As many as the fullest image has.
        """

        def profile(person, axis, length):  # [B,length,K], one axis of the separable Gaussian
            offset = tf.abs(tf.range(length)[None, :, None] - pixel[:, person, None, :, axis])
            gaussian = tf.exp(-tf.square(tf.cast(offset, tf.float32)) / (2.0 * self._sigma**2))
            return tf.where(tf.cast(offset, tf.float32) <= 3.0 * self._sigma + 1, gaussian, 0.0)

        def add(person, maps):
            rows = profile(person, 1, height) * tf.cast(inside[:, person, None], tf.float32)
            return person + 1, tf.maximum(maps, rows[:, :, None] * profile(person, 0, width)[:, None])

        seen = tf.reduce_any(inside, axis=(0, 2))
        count = tf.reduce_max(tf.where(seen, tf.range(1, pixel.shape[1] + 1), 0))
        maps = tf.zeros((pixel.shape[0], height, width, pixel.shape[2]))
        return tf.while_loop(lambda person, _: person < count, add, (0, maps))[1]
