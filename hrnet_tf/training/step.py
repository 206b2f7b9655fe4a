"""One training step on all replicas: two functions of a replica's own, and the all-reduce between them.

The first goes forward and backward, the second applies the gradients. XLA may compile both, but not what is between
them, as collectives of `tf.distribute` cannot be compiled. Either is traced once, however many replicas there are: they
get the handles of their variables.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.objectives import Objective
from hrnet_tf.training.optimizer import learning_rate, loss_scale, make_update, state
from hrnet_tf.training.variables import handles, moving_statistics, read
from hrnet_tf.workers import share_of

_SCALAR = tf.TensorSpec((), tf.float32)


def make_train_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    use_xla: bool,
    accumulate: int = 1,
    synchronized: bool = False,
    average: MovingAverage | None = None,
) -> Callable[..., dict[str, Any]]:
    """Builds the function that trains on one global batch.

    Where the loss or a gradient is not finite, on whichever replica, nothing is updated but the loss scale; BatchNorm's
    statistics follow every part of a batch whose own are finite.

    Args:
        strategy: the tf.distribute.Strategy that `model` was built under.
        model: images -> what `objective` takes.
        optimizer: of `make_optimizer`, built under `strategy` too.
        objective: what is minimised.
        use_xla: compile each replica's forward and backward pass, and its update.
        accumulate: parts of equal length that every replica's share of a batch is gone through in, one after
            the other, before the update; memory is that of one.
        synchronized: the network's BatchNorm is synchronized over replicas; cannot be compiled.
        average: what follows `model`, if anything does.

    Returns:
        A tf.function (images, *labels), possibly per replica, -> "loss", the objective's `metrics` and
        "gradient_norm", each a scalar on every replica's device; `over_replicas` of them are the mean loss over the
        global batch, the means of the replicas' metrics, and the norm of the gradients before they are clipped, NaN
        where the step was skipped.
    """
    num_replicas = strategy.num_replicas_in_sync
    local_replicas = num_replicas // share_of(strategy).count
    trained, kept = model.trainable_variables, model.non_trainable_variables
    scalars = ("loss", *objective.metrics)
    sums = [_SCALAR] * len(scalars) + [tf.TensorSpec(v.shape) for v in trained]
    gradients = _make_gradients(model, objective, num_replicas * accumulate)
    # Of the update, beside what is trained and the state of the optimizer.
    averaged = (moving_statistics(model), average.variables) if average else ([], [])

    def replica_step(run, update, images, *labels):
        before = [tf.zeros(spec.shape) for spec in sums] if accumulate > 1 else []
        parts = zip(*(tf.split(array, accumulate) for array in (images, *labels)), strict=True)
        for part in parts:
            before = run(handles(trained), handles(kept), before, loss_scale(optimizer), *part)
        values, grads = before[: len(scalars)], before[len(scalars) :]
        loss = values[0]
        if num_replicas > 1:
            loss, values, grads = _all_reduced(values, grads, num_replicas, local_replicas)
        changed = map(handles, (trained, *state(optimizer), *averaged))
        norm = update(*changed, grads, learning_rate(optimizer), loss)
        return {**dict(zip(scalars, values, strict=True)), "gradient_norm": norm / local_replicas}

    @tf.function(autograph=False)
    def train_step(*batch):
        run, update = gradients, make_update(optimizer, average)
        if not synchronized:  # that is an all-reduce, and must know on which replica it is
            before = sums if accumulate > 1 else []
            parts = [_part(strategy, array, accumulate) for array in batch]
            run = _traced(run, use_xla, _handles(trained), _handles(kept), before, _SCALAR, *parts)
            changed = map(_handles, (trained, *state(optimizer), *averaged))
            update = _traced(update, use_xla, *changed, sums[len(scalars) :], _SCALAR, _SCALAR)
        # Not reduced: that would copy them to the host, and the host would wait for every step.
        return strategy.run(replica_step, args=(run, update, *batch))

    return train_step


def _make_gradients(model, objective, shares):
    """The function that goes forward and backward through one of `shares` of a batch, on one replica."""
    trained, kept, gathered = model.trainable_variables, model.non_trainable_variables, moving_statistics(model)

    def gradients(trained_handles, kept_handles, before, loss_scale, images, *labels):
        """Sums of this and the parts before: the scalars and the gradients."""
        weights, statistics = (
            [read(*pair) for pair in zip(*of, strict=True)] for of in ((trained_handles, trained), (kept_handles, kept))
        )
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, new = model.stateless_call(weights, statistics, images, training=True)
            # All replicas and parts have equal shares of the batch, and are summed.
            values = [value / shares for value in objective(outputs, *labels)]
            scaled = values[0] * loss_scale
        grads = tape.gradient(scaled, weights)
        _gather(zip(kept, kept_handles, statistics, new, strict=True), gathered)
        found = [*values, *grads]
        return [old + new for old, new in zip(before, found, strict=True)] if before else found

    return gradients


def _all_reduced(values, grads, num_replicas, local_replicas):
    """The loss, the first of a replica's scalars, summed over all replicas; the scalars; the gradients, summed.

    The scalars stay the replica's own on one machine, which adds them up afterwards. Other machines' are not to be had
    then: where there are any, all are summed, and each replica has an equal share for its machine to add up.
    """
    sent = values if local_replicas < num_replicas else values[:1]
    context = tf.distribute.get_replica_context()
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sent, *grads])
    if local_replicas < num_replicas:
        values = [value / local_replicas for value in summed[: len(sent)]]
    return summed[0], values, summed[len(sent) :]


def _traced(function, use_xla, *specs):
    """The function traced, for all replicas: called on one, a tf.function would be traced for it alone."""
    return tf.function(function, jit_compile=use_xla, autograph=False).get_concrete_function(*specs)


def _handles(variables):
    return [tf.TensorSpec((), tf.resource)] * len(variables)


def _part(strategy, array, count):
    """The tf.TensorSpec of one of `count` parts of a replica's share."""
    share = strategy.experimental_local_results(array)[0]
    return tf.TensorSpec((share.shape[0] // count, *share.shape[1:]), share.dtype)


def _gather(kept, gathered):
    """Sets those of the variables (variable, handle, old, new) that are `gathered`, if all of them are finite."""
    of_batch_norm = {id(variable) for variable in gathered}
    chosen = [of for variable, *of in kept if id(variable) in of_batch_norm]
    if not chosen:
        return
    finite = tf.reduce_all(tf.math.is_finite(tf.concat([new for *_, new in chosen], 0)))
    for handle, old, new in chosen:
        tf.raw_ops.AssignVariableOp(resource=handle, value=tf.where(finite, new, old))


def over_replicas(strategy: tf.distribute.Strategy, value: Any) -> float:
    """The number that shares of it [replicas] on the devices of a step add up to; waits for them."""
    return sum(float(share) for share in strategy.experimental_local_results(value))


def make_average_statistics(strategy: tf.distribute.Strategy, *models: keras.Model) -> Callable[[], None]:
    """Builds the function that sets BatchNorm's moving statistics on every replica to their mean over replicas.

    Each replica gathers its own; what is evaluated and saved must not depend on which one is read.
    """

    def replica():
        variables = [v.value for model in models for v in moving_statistics(model)]
        means = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.MEAN, [tf.identity(v) for v in variables]
        )
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)

    def average():
        if strategy.num_replicas_in_sync > 1 and any(map(moving_statistics, models)):
            strategy.run(replica)

    return tf.function(average, autograph=False)
