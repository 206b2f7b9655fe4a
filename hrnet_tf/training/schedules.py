"""The learning rate over training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import keras
from keras import ops

if TYPE_CHECKING:
    import tensorflow as tf


class WarmupStepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a constant rate that is multiplied by `factor` at each drop.

    A drop at step s takes effect with step s itself (0-based), as the reference drops the rate
    before the epoch of the given number.
    """

    def __init__(
        self, learning_rate: float, drop_steps: Iterable[int] = (), factor: float = 0.1, warmup_steps: int = 0
    ):
        self.learning_rate = learning_rate
        self.drop_steps = tuple(drop_steps)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step: int | tf.Tensor | keras.Variable) -> tf.Tensor:
        step = ops.cast(step, "float32")
        drops = sum((ops.cast(step >= drop, "float32") for drop in self.drop_steps), ops.zeros(()))
        rate = self.learning_rate * ops.power(self.factor, drops)
        return rate * ops.minimum(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else rate
