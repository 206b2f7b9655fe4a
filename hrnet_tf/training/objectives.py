"""What a training step minimises: from a network's outputs and the labels of a batch to a loss, and what is told of it.

An objective is called with the outputs and the labels of a share of a batch and gives the loss, a scalar that is a mean
over the share, and a scalar for each name in `metrics`. It is part of the compiled step: TensorFlow operations alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf

from hrnet_tf import heatmaps, integral
from hrnet_tf.data.images import STRIDES
from hrnet_tf.data.targets import ImageTargets
from hrnet_tf.losses import MaskedHeatmapMSE, associative_embedding
from hrnet_tf.models.variants import HEATMAPS, HEATMAPS_TAGS


class Objective(Protocol):
    """What `make_train_step` takes."""

    metrics: tuple[str, ...]

    def __call__(self, outputs: Any, *labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The loss, and a scalar of each of `metrics`."""


class HeatmapObjective:
    """The loss of the heatmaps of crops, and PCK: the share of keypoints whose maximum is where it should be."""

    metrics: tuple[str, ...] = ("PCK",)

    def __init__(
        self,
        loss: Callable[[tf.Tensor, Any, tf.Tensor], tf.Tensor],
        targets: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None,
    ):
        """Takes what it consists of.

        Args:
            loss: (heatmaps_true, outputs, target_weight) -> scalar, a mean over the batch; outputs are heatmaps, or a
                list of them of which the last predicts.
            targets: labels -> heatmaps_true, target_weight. None: they are the labels.
        """
        self._loss, self._targets = loss, targets

    def __call__(self, outputs: tf.Tensor | Sequence[tf.Tensor], *labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        true, target_weight = self._targets(*labels) if self._targets else labels
        _, pck = self._pck(true, outputs[-1] if isinstance(outputs, list) else outputs, target_weight)
        return self._loss(true, outputs, target_weight), pck

    def _pck(self, heatmaps_true, heatmaps_pred, target_weight):
        return heatmaps.pck(heatmaps_true, heatmaps_pred)


class PointObjective(HeatmapObjective):
    """The same of expected points: targets, and what the loss takes first, are points [B,K,2] in heatmap pixels."""

    def _pck(self, points_true, heatmaps_pred, target_weight):
        points = integral.expected_points(integral.probabilities(heatmaps_pred))
        return heatmaps.pck_of_points(points_true, points, target_weight > 0, heatmaps_pred.shape[1:3])


class TagsObjective:
    """The losses of a network of whole images: of heatmaps at both sizes, and of tags, which tell people apart.

    Source: HRNet/HigherHRNet-Human-Pose-Estimation, lib/core/loss.py, MultiLossFactory
    """

    metrics: tuple[str, ...] = ("heatmap_loss", "pull", "push")

    def __init__(self, targets: ImageTargets, tag_weight: float = 1e-3):
        """Takes what makes heatmaps and tags' places of the labels, and by what pull and push are multiplied."""
        self._targets, self._tag_weight = targets, tag_weight

    def __call__(
        self, outputs: dict[str, tf.Tensor], keypoints: tf.Tensor, visible: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Takes the network's outputs, and the labels of `data.pipeline.image_dataset`."""
        heatmaps, tags = tf.split(outputs[HEATMAPS_TAGS], 2, axis=-1)
        low, indices = self._targets(keypoints, visible, STRIDES[0])
        high, _ = self._targets(keypoints, visible, STRIDES[1])
        error, step = MaskedHeatmapMSE(), STRIDES[0] // STRIDES[1]
        heatmap_loss = error(low, heatmaps, mask[:, ::step, ::step]) + error(high, outputs[HEATMAPS], mask)
        pull, push = associative_embedding(tags, indices)
        heatmap_loss, pull, push = (tf.reduce_mean(part) for part in (heatmap_loss, pull, push))
        return heatmap_loss + self._tag_weight * (pull + push), heatmap_loss, pull, push
