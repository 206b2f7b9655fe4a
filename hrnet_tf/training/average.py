"""A network's exponential moving average over training, which evaluates better than the last weights."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.variables import moving_statistics, read


class MovingAverage:
    """The average of a network, a network of its own.

    Update n makes it d average + (1 - d) weights with d = min(decay, (1 + n) / (10 + n)), so that the weights of the
    start count for little even in a short run (as tf.train.ExponentialMovingAverage has it).
    BatchNorm's moving statistics are averaged in the same way: they are then those of the same steps as the weights.

    Attributes:
        model: the average.
        decay: what stays of it in an update.
        followed: variables of the network in training that are averaged: those trained, then BatchNorm's statistics.
        variables: theirs in `model`.
    """

    def __init__(self, model: keras.Model, decay: float):
        """Begins with the present weights of a network `with_fused_batch_norm`, under the strategy of that."""
        self.model, self.decay = with_fused_batch_norm(model), decay
        self.followed, self.variables = (of.trainable_variables + moving_statistics(of) for of in (model, self.model))

    def follow(
        self, handles: Sequence[tf.Tensor], averages: Sequence[tf.Tensor], updates: tf.Tensor, finite: tf.Tensor
    ) -> None:
        """Takes in an update, on one replica.

        Args:
            handles: of `followed`.
            averages: of `variables`.
            updates: their number so far, with this one; float32.
            finite: whether this one is to count, boolean.
        """
        decay = tf.minimum(self.decay, (1 + updates) / (10 + updates))
        share = tf.where(finite, 1 - decay, 0.0)
        for handle, average, variable in zip(handles, averages, self.variables, strict=True):
            old, new = read(average, variable), read(handle, variable)
            tf.raw_ops.AssignVariableOp(resource=average, value=old + share * (new - old))
