"""Heatmap losses, as the reference computes them.

Shape legend: B batch, h and w heatmap, K keypoints.
"""

from typing import Any

from keras import ops

# Of the backend that Keras runs on.
Tensor = Any


def _keypoint_errors(heatmaps_true: Tensor, heatmaps_pred: Tensor, target_weight: Tensor) -> Tensor:
    """[B,K] half the mean squared error of each heatmap. The weight multiplies both maps and so counts squared."""
    squared = ops.square(heatmaps_pred - heatmaps_true)
    return 0.5 * ops.mean(squared, axis=(1, 2)) * ops.square(target_weight)


class KeypointMSE:
    """Half the mean squared error over batch, pixels and keypoints.

    Keypoints of weight 0 add nothing but stay in the denominator.
    """

    def __call__(self, heatmaps_true: Tensor, heatmaps_pred: Tensor, target_weight: Tensor) -> Tensor:
        """Args: heatmaps [B,h,w,K] twice, target_weight [B,K]. Returns a scalar."""
        return ops.mean(_keypoint_errors(heatmaps_true, heatmaps_pred, target_weight))


class KeypointOHKM:
    """Online hard keypoint mining: the mean over the `top_k` worst keypoints of each person.

    Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018.
    """

    def __init__(self, top_k: int = 8):
        self.top_k = top_k

    def __call__(self, heatmaps_true: Tensor, heatmaps_pred: Tensor, target_weight: Tensor) -> Tensor:
        """Args: heatmaps [B,h,w,K] twice, target_weight [B,K]. Returns a scalar."""
        errors = _keypoint_errors(heatmaps_true, heatmaps_pred, target_weight)
        worst, _ = ops.top_k(errors, self.top_k, sorted=False)
        return ops.mean(worst)
