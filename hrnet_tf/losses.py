"""Heatmap losses, as the reference computes them.

Shape legend: B batch, h and w heatmap, K keypoints.
"""

from keras import ops


def _keypoint_errors(heatmaps_true, heatmaps_pred, target_weight):
    """[B,K] half the mean squared error of each heatmap. The weight multiplies both maps and so counts squared."""
    squared = ops.square(heatmaps_pred - heatmaps_true)
    return 0.5 * ops.mean(squared, axis=(1, 2)) * ops.square(target_weight)


class KeypointMSE:
    """Half the mean squared error over batch, pixels and keypoints.

    Keypoints of weight 0 add nothing but stay in the denominator.
    """

    def __call__(self, heatmaps_true, heatmaps_pred, target_weight):
        """Args: heatmaps [B,h,w,K] twice, target_weight [B,K]. Returns a scalar."""
        return ops.mean(_keypoint_errors(heatmaps_true, heatmaps_pred, target_weight))


class KeypointOHKM:
    """Online hard keypoint mining: the mean over the `top_k` worst keypoints of each person.

    Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018.
    """

    def __init__(self, top_k=8):
        self.top_k = top_k

    def __call__(self, heatmaps_true, heatmaps_pred, target_weight):
        """Args: heatmaps [B,h,w,K] twice, target_weight [B,K]. Returns a scalar."""
        errors = _keypoint_errors(heatmaps_true, heatmaps_pred, target_weight)
        worst, _ = ops.top_k(errors, self.top_k, sorted=False)
        return ops.mean(worst)
