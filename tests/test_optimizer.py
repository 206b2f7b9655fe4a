"""Adam and its loss scaling, against their formulas in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hrnet_tf.training.optimizer import handles, learning_rate, loss_scale, make_optimizer, make_update, state

RATE, EPSILON = 0.01, 1e-3
SHAPES = ((3, 2), (5,))


def adam(values, gradients, rate, epsilon):
    """Algorithm 1 of Kingma and Ba on arrays: values after each of the steps' gradients, and both moments."""
    beta1, beta2 = float(np.float32(0.9)), float(np.float32(0.999))
    first, second = [np.zeros(v.shape) for v in values], [np.zeros(v.shape) for v in values]
    found = []
    for step, of_step in enumerate(gradients, 1):
        first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, of_step, strict=True)]
        second = [beta2 * v + (1 - beta2) * g**2 for v, g in zip(second, of_step, strict=True)]
        unbiased = [(m / (1 - beta1**step), v / (1 - beta2**step)) for m, v in zip(first, second, strict=True)]
        values = [x - rate * m / (np.sqrt(v) + epsilon) for x, (m, v) in zip(values, unbiased, strict=True)]
        found.append(values)
    return found, first, second


class Updates:
    """Variables, an optimizer of them, and what gives them gradients."""

    def __init__(self, precision, rate=RATE):
        rng = np.random.default_rng(0)
        self.start = [rng.normal(0, 1, shape).astype(np.float32) for shape in SHAPES]
        self.variables = [keras.Variable(values) for values in self.start]
        self.optimizer = make_optimizer(rate, precision, epsilon=EPSILON)
        self.optimizer.build(self.variables)
        self._update = make_update(self.optimizer)

    def step(self, gradients, finite=True):
        """Gradients of the loss, which are scaled here."""
        scale = float(loss_scale(self.optimizer))
        scaled = [tf.constant(g * scale, tf.float32) for g in gradients]
        rate = learning_rate(self.optimizer)
        self._update(handles(self.variables), *map(handles, state(self.optimizer)), scaled, rate, tf.constant(finite))

    def state(self):
        """Variables, first and second moments."""
        return [[v.numpy() for v in part] for part in (self.variables, *state(self.optimizer)[:2])]


def gradients_of(step):
    """Some as small as epsilon, where it matters in what way that is added."""
    rng = np.random.default_rng(step)
    return [rng.normal(0, 1, shape) * 10.0 ** rng.integers(-4, 1, shape) for shape in SHAPES]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_updates_are_adams_with_epsilon_outside_the_bias_correction(precision):
    updates = Updates(precision)
    expected, first, second = adam(updates.start, [gradients_of(step) for step in range(4)], RATE, EPSILON)
    for step, values in enumerate(expected):
        updates.step(gradients_of(step))
        moved = [value - start for value, start in zip(values, updates.start, strict=True)]
        for found, start, move in zip(updates.state()[0], updates.start, moved, strict=True):
            np.testing.assert_allclose(found - start, move, rtol=1e-4, atol=1e-6)
    for found, wanted in zip(updates.state()[1:], (first, second), strict=True):
        for moments, others in zip(found, wanted, strict=True):
            np.testing.assert_allclose(moments, others, rtol=1e-5)
    assert int(updates.optimizer.iterations) == 4


def test_a_step_that_overflows_changes_the_loss_scale_alone():
    """As if it had not been: also after steps that have filled the moments, and with what is infinite or no number."""
    skipping, whole = Updates("mixed_float16"), Updates("mixed_float16")
    for step in range(3):
        whole.step(gradients_of(step))
        skipping.step(gradients_of(step))
        before, scale = skipping.state(), float(loss_scale(skipping.optimizer))
        skipping.step([np.full(shape, bad) for shape, bad in zip(SHAPES, (np.inf, np.nan), strict=True)], finite=False)
        assert float(loss_scale(skipping.optimizer)) == scale / 2
        for part, old in zip(skipping.state(), before, strict=True):
            for found, wanted in zip(part, old, strict=True):
                np.testing.assert_array_equal(found, wanted)
    for part, other in zip(skipping.state(), whole.state(), strict=True):
        for found, wanted in zip(part, other, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert int(skipping.optimizer.inner_optimizer.iterations) == 3


def test_the_loss_scale_goes_as_kerass_own():
    ours, theirs = Updates("mixed_float16"), Updates("mixed_float16")
    for optimizer in (ours.optimizer, theirs.optimizer):
        optimizer.dynamic_growth_steps = 3
    scales = set()
    for step, finite in enumerate((True, True, True, True, False, True, True, False, True, True, True, True)):
        ours.step(gradients_of(step), finite)
        scale = float(theirs.optimizer.dynamic_scale)
        gradients = [g * scale if finite else np.full(g.shape, np.inf) for g in gradients_of(step)]
        theirs.optimizer.apply([tf.constant(g, tf.float32) for g in gradients])
        for name in ("dynamic_scale", "step_counter"):
            assert float(getattr(ours.optimizer, name)) == float(getattr(theirs.optimizer, name)), (step, name)
        scales.add(float(loss_scale(ours.optimizer)))
    assert len(scales) == 3  # that of the start, twice and half of it


def test_float32_has_no_loss_scale_and_schedules_count_updates():
    updates = Updates("float32", keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25]))
    assert float(loss_scale(updates.optimizer)) == 1
    rates = []
    for step in range(3):
        rates.append(float(learning_rate(updates.optimizer)))
        updates.step(gradients_of(step))
    assert rates == [0.5, 0.5, 0.25]
