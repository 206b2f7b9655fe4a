"""One training step on all replicas: gradients compiled, applied outside.

The forward and backward pass of a replica may be compiled by XLA; the optimizer, and with it the
all-reduce, stays outside, as collectives of `tf.distribute` cannot be compiled.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hrnet_tf import heatmaps


class Adam(keras.optimizers.Adam):
    """Adam with epsilon outside the bias correction: lr m^ / (sqrt(v^) + epsilon), as in PyTorch.

    Kingma and Ba 2015, algorithm 1. Keras adds epsilon to the uncorrected sqrt(v), which makes it 32
    times as large in the first step; many gradients of a freshly initialised HRNet are below that.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        epsilon: float = 1e-8,
        **options: Any,
    ):
        super().__init__(learning_rate, epsilon=epsilon, **options)

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations.value + 1, tf.float32)
        beta1_power, beta2_power = self.beta_1**step, self.beta_2**step
        # One operation reads and writes everything once. It adds its epsilon to the uncorrected sqrt(v) as well.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon * tf.sqrt(1 - beta2_power),
            grad=tf.cast(gradient, tf.float32),
        )


def make_optimizer(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    precision: str,
) -> keras.optimizers.Optimizer:
    """Adam as the reference uses it (no weight decay), with dynamic loss scaling for float16."""
    optimizer = Adam(learning_rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def make_train_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
    use_xla: bool,
) -> Callable[..., tuple[Any, Any]]:
    """Builds the function that trains on one global batch.

    Args:
        strategy: the tf.distribute.Strategy that `model` was built under.
        model: images -> heatmaps.
        optimizer: of `make_optimizer`, built under `strategy` too.
        loss: (heatmaps_true, heatmaps_pred, target_weight) -> scalar, a mean over the batch.
        use_xla: compile each replica's forward and backward pass.

    Returns:
        A tf.function (images, heatmaps, target_weight), possibly per replica, -> loss and PCK, each
        a scalar on every replica's device; `over_replicas` of them are the mean loss over the global
        batch and the mean of the replicas' PCK.
    """
    num_replicas = strategy.num_replicas_in_sync
    scales_loss = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)

    def gradients(images, targets, target_weight, loss_scale):
        with tf.GradientTape() as tape:
            predictions = model(images, training=True)
            # Gradients are summed over replicas, each of which has an equal share of the batch.
            value = loss(targets, predictions, target_weight) / num_replicas
            scaled = value * loss_scale
        grads = tape.gradient(scaled, [v.value for v in model.trainable_variables])
        _, pck = heatmaps.pck(targets, predictions)
        return value, pck / num_replicas, grads

    if use_xla:
        gradients = tf.function(gradients, jit_compile=True)

    def replica_step(images, targets, target_weight):
        loss_scale = optimizer.dynamic_scale.value if scales_loss else 1.0
        value, pck, grads = gradients(images, targets, target_weight, tf.convert_to_tensor(loss_scale, tf.float32))
        if scales_loss and num_replicas > 1:
            grads = _spread_overflow(grads)
        optimizer.apply(grads, model.trainable_variables)
        return value, pck

    @tf.function
    def train_step(images, targets, target_weight):
        # Not reduced: that would copy them to the host, and the host would wait for every step.
        return strategy.run(replica_step, args=(images, targets, target_weight))

    return train_step


def over_replicas(strategy: tf.distribute.Strategy, value: Any) -> float:
    """The number that shares of it [replicas] on the devices of a step add up to; waits for them."""
    return sum(float(share) for share in strategy.experimental_local_results(value))


def _spread_overflow(grads):
    """Makes gradients NaN on every replica where any replica's overflowed.

    LossScaleOptimizer decides whether to skip a step by the first replica's gradients, before they
    are summed.
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(grad)) for grad in grads])
    overflows = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.where(finite, 0.0, 1.0))
    return [tf.where(overflows > 0, float("nan"), grad) for grad in grads]


def average_statistics(strategy: tf.distribute.Strategy, model: keras.Model) -> None:
    """Sets BatchNorm's moving statistics on every replica to their mean over replicas.

    Each replica gathers its own; what is evaluated and saved must not depend on which one is read.
    """
    if strategy.num_replicas_in_sync == 1:
        return

    @tf.function
    def average():
        def replica():
            variables = [v.value for v in model.non_trainable_variables]
            means = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.MEAN, [tf.identity(v) for v in variables]
            )
            for variable, mean in zip(variables, means, strict=True):
                variable.assign(mean)

        strategy.run(replica)

    average()
