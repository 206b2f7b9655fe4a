"""Losses of heatmaps and tags, as the references compute them.

Shape legend: B batch, h and w heatmap, K keypoints, P people.
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


class MaskedHeatmapMSE:
    """The mean squared error over pixels and keypoints, without what a mask leaves out.

    Pixels that are left out add nothing but stay in the denominator. Of HigherHRNet, at either size of heatmaps
    (HRNet/HigherHRNet-Human-Pose-Estimation, `HeatmapLoss`).
    """

    def __call__(self, heatmaps_true: Tensor, heatmaps_pred: Tensor, mask: Tensor) -> Tensor:
        """Args: heatmaps [B,h,w,K] twice, mask [B,h,w], 1 or 0. Returns [B], a loss for each image."""
        squared = ops.square(heatmaps_pred - heatmaps_true)
        return ops.mean(squared * ops.cast(mask, squared.dtype)[..., None], axis=(1, 2, 3))


def associative_embedding(tags: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """How far a person's tags are from one another, and how near those of different people.

    Newell et al., "Associative Embedding: End-to-End Learning for Joint Detection and Grouping", NeurIPS 2017, with the
    Gaussian of HRNet/HigherHRNet-Human-Pose-Estimation (`AELoss`, "exp"). Padding is a person of whom nothing counts.

    Args:
        tags: [B,h,w,K].
        indices: [B,P,K,2] integers: where a person's keypoint is, k * h * w + y * w + x, and 1 if it counts, else 0.

    Returns:
        pull [B], the mean over people of the mean squared distance of their tags to their mean, 0 without people; push
        [B], the mean over ordered pairs of people of exp(-distance**2) / 2 of their means, 0 with one person or none.
    """
    _, height, width, num_keypoints = tags.shape
    num_people = indices.shape[1]
    keypoint, pixel = indices[..., 0] // (height * width), indices[..., 0] % (height * width)
    index = ops.reshape(pixel * num_keypoints + keypoint, (-1, num_people * num_keypoints))
    flat = ops.reshape(tags, (-1, height * width * num_keypoints))
    found = ops.reshape(ops.take_along_axis(flat, index, axis=1), (-1, num_people, num_keypoints))
    counts = ops.cast(indices[..., 1] > 0, flat.dtype)  # [B,P,K]
    number = ops.maximum(ops.sum(counts, axis=2), 1)
    mean = ops.sum(found * counts, axis=2) / number  # [B,P]
    distance = ops.sum(ops.square(found - mean[..., None]) * counts, axis=2) / number
    is_there = ops.max(counts, axis=2)
    people = ops.sum(is_there, axis=1)  # [B]
    pull = ops.sum(distance * is_there, axis=1) / ops.maximum(people, 1)
    pairs = is_there[:, :, None] * is_there[:, None] * (1 - ops.eye(num_people, dtype=flat.dtype))
    alike = ops.exp(-ops.square(mean[:, :, None] - mean[:, None])) * pairs
    push = 0.5 * ops.sum(alike, axis=(1, 2)) / ops.maximum(people * (people - 1), 1)
    return pull, push
