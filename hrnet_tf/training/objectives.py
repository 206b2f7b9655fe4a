"""What a training step minimises: from a network's outputs and the labels of a batch to a loss, and what is told of it.

An objective is called with the outputs and the labels of a share of a batch and gives the loss, a scalar that is a mean
over the share, and a scalar for each name in `metrics`. It is part of the compiled step: TensorFlow operations alone.
"""

from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf

from hrnet_tf import heatmaps


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
        loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
        targets: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None,
    ):
        """Takes what it consists of.

        Args:
            loss: (heatmaps_true, heatmaps_pred, target_weight) -> scalar, a mean over the batch.
            targets: labels -> heatmaps_true, target_weight. None: they are the labels.
        """
        self._loss, self._targets = loss, targets

    def __call__(self, outputs: tf.Tensor, *labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        heatmaps_true, target_weight = self._targets(*labels) if self._targets else labels
        _, pck = heatmaps.pck(heatmaps_true, outputs)
        return self._loss(heatmaps_true, outputs, target_weight), pck
