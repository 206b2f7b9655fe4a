"""What a network is trained to answer: heatmaps and weights, from keypoints in a crop."""

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
