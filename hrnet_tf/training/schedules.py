"""The learning rate over training."""

from __future__ import annotations

import math
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
        return self.learning_rate * ops.power(self.factor, drops) * _warmup(step, self.warmup_steps)


class WarmupCosineDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a period of a cosine, down to 0 where training ends.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5, without the
    restarts.
    """

    def __init__(self, learning_rate: float, last_step: int, warmup_steps: int = 0):
        self.learning_rate = learning_rate
        self.last_step = last_step
        self.warmup_steps = warmup_steps

    def __call__(self, step: int | tf.Tensor | keras.Variable) -> tf.Tensor:
        step = ops.cast(step, "float32")
        share = ops.clip((step - self.warmup_steps) / max(self.last_step - self.warmup_steps, 1), 0.0, 1.0)
        return self.learning_rate * 0.5 * (1 + ops.cos(math.pi * share)) * _warmup(step, self.warmup_steps)


def _warmup(step, warmup_steps):
    """What the rate is multiplied by."""
    return ops.minimum(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
