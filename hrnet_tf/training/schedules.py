"""The learning rate over training."""

import keras
from keras import ops


class WarmupStepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a constant rate that is multiplied by `factor` at each drop.

    A drop at step s takes effect with step s itself (0-based), as the reference drops the rate
    before the epoch of the given number.
    """

    def __init__(self, learning_rate, drop_steps=(), factor=0.1, warmup_steps=0):
        self.learning_rate = learning_rate
        self.drop_steps = tuple(drop_steps)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        drops = sum((ops.cast(step >= drop, "float32") for drop in self.drop_steps), ops.zeros(()))
        rate = self.learning_rate * ops.power(self.factor, drops)
        return rate * ops.minimum(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else rate
