"""Adam and AdamW, with the updates of all variables in one function, which XLA can compile.

Keras's optimizers apply themselves across replicas, outside of what is compiled: some nine operations, each a kernel of
its own on a GPU, for every variable. Here Keras holds the state, and `make_update` changes that of one replica.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.variables import read


def make_optimizer(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    precision: str,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> keras.optimizers.Optimizer:
    """The state of Adam and what it is to do, by default as the reference uses it; dynamic loss scaling for float16.

    For `make_train_step`. Its own `apply` does something else: it adds epsilon to the uncorrected sqrt(v).

    Args:
        learning_rate: a number or a schedule of the number of updates.
        precision: Keras dtype policy of the network.
        epsilon: added to sqrt(v^).
        weight_decay: of AdamW: times the learning rate, what weights lose of themselves in an update. 0: none.
        clip_norm: gradients whose norm, over all variables together, is larger are scaled down to it. 0: none.
    """
    optimizer = keras.optimizers.Adam(
        learning_rate, epsilon=epsilon, weight_decay=weight_decay or None, global_clipnorm=clip_norm or None
    )
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def learning_rate(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Of the next step, float32."""
    return tf.cast(_adam(optimizer).learning_rate, tf.float32)


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """What the loss is multiplied by before its gradients are taken, float32."""
    return tf.convert_to_tensor(optimizer.dynamic_scale.value if scales_loss(optimizer) else 1.0, tf.float32)


def scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the gradients that it takes are those of a scaled loss."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def state(optimizer: keras.optimizers.Optimizer) -> list[list[keras.Variable]]:
    """What `make_update` changes: first and second moments, and the counters."""
    adam = _adam(optimizer)
    scaling = [optimizer.dynamic_scale, optimizer.step_counter] if scales_loss(optimizer) else []
    return [adam._momentums, adam._velocities, [adam.iterations, *scaling]]


def make_update(
    optimizer: keras.optimizers.Optimizer, average: MovingAverage | None = None
) -> Callable[..., tf.Tensor]:
    """The function that applies gradients to the variables of one replica.

    Adam of Kingma and Ba 2015, algorithm 1, with epsilon outside the bias correction, lr m^ / (sqrt(v^) + epsilon), as
    in PyTorch. Keras adds epsilon to the uncorrected sqrt(v), which makes it 32 times as large in the first step; many
    gradients of a freshly initialised HRNet are below that. Weight decay is that of Loshchilov and Hutter, "Decoupled
    Weight Decay Regularization", ICLR 2019, with the learning rate of the step, as in PyTorch's AdamW; biases and
    BatchNorm's parameters, which have one axis, do not decay.

    Args:
        optimizer: of `make_optimizer`, built.
        average: what follows the weights, if anything does.

    Returns:
        (variables, first, second, counters, statistics, averages, gradients, learning_rate, loss) -> norm: the handles
        of the variables, of `state`, and of what `average` follows besides and has; the gradients of the scaled loss
        and the loss, summed over replicas; a scalar, the norm of the loss's gradients before they are clipped. It is
        NaN where that or the loss is not finite: then nothing but the loss scale changes.
    """
    adam = _adam(optimizer)
    counted = state(optimizer)[2]

    def update(variables, first, second, counters, statistics, averages, gradients, learning_rate, loss):
        iterations, *scaling = (read(*pair) for pair in zip(counters, counted, strict=True))
        step = tf.cast(iterations + 1, tf.float32)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        norm = tf.where(finite, norm, float("nan"))
        if scaling:
            norm, gradients = norm / scaling[0], [gradient / scaling[0] for gradient in gradients]
        if adam.global_clipnorm:
            gradients = [gradient * tf.minimum(1.0, adam.global_clipnorm / norm) for gradient in gradients]
        _apply_adam(adam, (variables, first, second, gradients), learning_rate, step, finite)
        if average:
            average.follow([*variables, *statistics], averages, step, finite)
        tf.raw_ops.AssignVariableOp(resource=counters[0], value=iterations + tf.cast(finite, iterations.dtype))
        if scaling:
            new = _rescaled(*scaling, finite, optimizer.dynamic_growth_steps)
            for handle, value in zip(counters[1:], new, strict=True):
                tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        return norm

    return update


def _apply_adam(adam, of_variables, learning_rate, step, finite):
    """Update number `step` of all variables, if `finite`; of_variables: (variables, first, second, gradients)."""
    beta1, beta2 = tf.constant(adam.beta_1), tf.constant(adam.beta_2)
    beta1_power, beta2_power = beta1**step, beta2**step
    epsilon = adam.epsilon * tf.sqrt(1 - beta2_power)
    # With these, and gradients of 0, an update changes nothing.
    beta1, beta2 = tf.where(finite, beta1, 1.0), tf.where(finite, beta2, 1.0)
    learning_rate = tf.where(finite, learning_rate, 0.0)
    for variable, m, v, gradient in zip(*of_variables, strict=True):
        if adam.weight_decay and gradient.shape.rank > 1:
            value = tf.raw_ops.ReadVariableOp(resource=variable, dtype=gradient.dtype)
            decayed = value * (1 - learning_rate * adam.weight_decay)
            tf.raw_ops.AssignVariableOp(resource=variable, value=decayed)
        # One operation reads and writes everything once. It adds its epsilon to the uncorrected sqrt(v) as well.
        tf.raw_ops.ResourceApplyAdam(
            var=variable,
            m=m,
            v=v,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            grad=tf.where(finite, gradient, 0.0),
        )


def _rescaled(scale, good_steps, finite, growth_steps):
    """The loss scale and the number of finite steps since it changed: as Keras has them after a step."""
    grows = finite & (good_steps + 1 >= growth_steps)
    return (
        tf.where(grows, scale * 2, tf.where(finite, scale, scale / 2)),
        tf.where(finite & ~grows, good_steps + 1, 0),
    )


def _adam(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)
