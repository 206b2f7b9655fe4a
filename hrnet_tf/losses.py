"""Losses of heatmaps and tags, as the references compute them.

Shape legend: B batch, h and w heatmap, K keypoints, P people.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from hrnet_tf.integral import expected_points, probabilities

# Of the backend that Keras runs on.
Tensor = Any
# Added where a logarithm or a gradient would not be finite.
_TINY = 1e-12


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


class KeypointDSNT:
    """Distance of the expected point from the true one, and divergence of the heatmap from a Gaussian there.

    Nibali et al., "Numerical Coordinate Regression with Convolutional Neural Networks", arXiv:1801.07372: the Euclidean
    distance in coordinates from -1 to 1, and the Jensen-Shannon divergence. Keypoints of weight 0 add nothing but stay
    in the denominator; weights count squared, as in the other losses.
    """

    def __init__(self, sigma: float = 1.0, divergence: float = 1.0):
        """Takes the Gaussian's deviation in heatmap pixels, and the factor of the divergence."""
        self.sigma, self.divergence = sigma, divergence

    def __call__(self, points_true: Tensor, heatmaps_pred: Tensor, target_weight: Tensor) -> Tensor:
        """Args: points [B,K,2] in heatmap pixels, heatmaps [B,h,w,K], target_weight [B,K]. Returns a scalar."""
        predicted = probabilities(heatmaps_pred)
        height, width = heatmaps_pred.shape[1:3]
        away = (expected_points(predicted) - points_true) * np.array([2 / width, 2 / height], np.float32)
        distance = ops.sqrt(ops.sum(ops.square(away), axis=-1) + _TINY)  # whose gradient is finite at 0 too

        def offsets(axis, length):
            return np.arange(length, dtype=np.float32)[:, None] - points_true[:, None, :, axis]

        squares = ops.square(offsets(1, height))[:, :, None] + ops.square(offsets(0, width))[:, None]
        true = probabilities(-squares / (2 * self.sigma**2))
        middle = 0.5 * (predicted + true)
        divergence = 0.5 * (_divergence(predicted, middle) + _divergence(true, middle))
        return ops.mean((distance + self.divergence * divergence) * ops.square(target_weight))


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """[B,K] Kullback-Leibler divergence of distributions [B,h,w,K], in nats."""
    return ops.sum(p * (ops.log(p + _TINY) - ops.log(q + _TINY)), axis=(1, 2))


class SummedLoss:
    """The weighted sum of a loss of each of a network's outputs."""

    def __init__(self, losses: Sequence[Callable[[Tensor, Tensor, Tensor], Tensor]], weights: Sequence[float]):
        """Takes them in the order of the outputs."""
        self._weighted = tuple(zip(losses, weights, strict=True))

    def __call__(self, true: Tensor, outputs: Tensor | Sequence[Tensor], target_weight: Tensor) -> Tensor:
        """Args: as the losses take, of several outputs a list. Returns a scalar."""
        terms = zip(self._weighted, outputs if isinstance(outputs, list) else [outputs], strict=True)
        return sum(weight * loss(true, output, target_weight) for (loss, weight), output in terms)


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
