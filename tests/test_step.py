"""One step: Adam, AdamW, clipping, averages and loss scaling against their formulas in float64; statistics; PCK."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hrnet_tf import InputError, heatmaps
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.models.clones import portable_clone
from hrnet_tf.training import freezing
from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import learning_rate, loss_scale, make_optimizer, make_update, state
from hrnet_tf.training.step import make_train_step
from hrnet_tf.training.variables import handles

RATE, EPSILON = 0.01, 1e-3
SHAPES = ((3, 2), (5,))
MSE = KeypointMSE()


def adam(values, gradients, rate, epsilon, weight_decay=0.0):
    """Algorithm 1 of Kingma and Ba on arrays: values after each of the steps' gradients, and both moments.

    Of matrices with the weight decay of Loshchilov and Hutter's algorithm 2.
    """
    beta1, beta2 = float(np.float32(0.9)), float(np.float32(0.999))
    first, second = [np.zeros(v.shape) for v in values], [np.zeros(v.shape) for v in values]
    found = []
    for step, of_step in enumerate(gradients, 1):
        first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, of_step, strict=True)]
        second = [beta2 * v + (1 - beta2) * g**2 for v, g in zip(second, of_step, strict=True)]
        unbiased = [(m / (1 - beta1**step), v / (1 - beta2**step)) for m, v in zip(first, second, strict=True)]
        values = [x * (1 - rate * weight_decay) if x.ndim > 1 else x for x in values]
        values = [x - rate * m / (np.sqrt(v) + epsilon) for x, (m, v) in zip(values, unbiased, strict=True)]
        found.append(values)
    return found, first, second


class Updates:
    """Variables, an optimizer of them, and what gives them gradients."""

    def __init__(self, precision, rate=RATE, **options):
        rng = np.random.default_rng(0)
        self.start = [rng.normal(0, 1, shape).astype(np.float32) for shape in SHAPES]
        self.variables = [keras.Variable(values) for values in self.start]
        self.optimizer = make_optimizer(rate, precision, epsilon=EPSILON, **options)
        self.optimizer.build(self.variables)
        self._update = make_update(self.optimizer)

    def step(self, gradients, loss=0.0):
        """Gradients of the loss, which are scaled here. Returns their norm."""
        scale = float(loss_scale(self.optimizer))
        scaled = [tf.constant(g * scale, tf.float32) for g in gradients]
        changed = map(handles, (self.variables, *state(self.optimizer)))
        return float(self._update(*changed, [], [], scaled, learning_rate(self.optimizer), tf.constant(loss)))

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


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_gradients_are_clipped_by_their_norm_and_weights_decay(precision):
    updates = Updates(precision, weight_decay=0.25, clip_norm=0.75)
    norms = [np.sqrt(sum((g**2).sum() for g in gradients_of(step))) for step in range(4)]
    assert min(norms) < 0.75 < max(norms)
    clipped = [[g * min(1, 0.75 / norm) for g in gradients_of(step)] for step, norm in enumerate(norms)]
    expected, *_ = adam(updates.start, clipped, RATE, EPSILON, weight_decay=0.25)
    for step, values in enumerate(expected):
        assert updates.step(gradients_of(step)) == pytest.approx(norms[step], rel=1e-6)
        for found, wanted in zip(updates.state()[0], values, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "clip_norm": 1.0}])
def test_a_step_that_is_not_finite_changes_the_loss_scale_alone(precision, options):
    """As if it had not been: also after steps that have filled the moments, and with what is infinite or no number."""
    skipping, whole = Updates(precision, **options), Updates(precision, **options)
    for step in range(3):
        whole.step(gradients_of(step))
        skipping.step(gradients_of(step))
        before, scale = skipping.state(), float(loss_scale(skipping.optimizer))
        bad = [np.full(shape, bad) for shape, bad in zip(SHAPES, (np.inf, np.nan), strict=True)]
        one_bad = [gradients_of(step)[0], np.nan * gradients_of(step)[1]] if step else bad
        assert np.isnan(skipping.step(one_bad) if step < 2 else skipping.step(gradients_of(step), loss=float("inf")))
        if precision == "mixed_float16":
            assert float(loss_scale(skipping.optimizer)) == scale / 2
        for part, old in zip(skipping.state(), before, strict=True):
            for found, wanted in zip(part, old, strict=True):
                np.testing.assert_array_equal(found, wanted)
    for part, other in zip(skipping.state(), whole.state(), strict=True):
        for found, wanted in zip(part, other, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert int(state(skipping.optimizer)[2][0]) == 3


def test_the_loss_scale_goes_as_kerass_own():
    ours, theirs = Updates("mixed_float16"), Updates("mixed_float16")
    for optimizer in (ours.optimizer, theirs.optimizer):
        optimizer.dynamic_growth_steps = 3
    scales = set()
    for step, finite in enumerate((True, True, True, True, False, True, True, False, True, True, True, True)):
        ours.step(gradients_of(step), 0.0 if finite else float("nan"))
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
    assert make_optimizer(RATE, "float32").epsilon == 1e-8  # the reference's
    rates = []
    for step in range(3):
        rates.append(float(learning_rate(updates.optimizer)))
        updates.step(gradients_of(step))
    assert rates == [0.5, 0.5, 0.25]


def make_step(model, targets=None, accumulate=1, precision="float32", loss=MSE, average=None, use_xla=False):
    optimizer = make_optimizer(RATE, precision, EPSILON)
    optimizer.build(model.trainable_variables)
    objective = HeatmapObjective(loss, targets)
    strategy = tf.distribute.get_strategy()
    return make_train_step(strategy, model, optimizer, objective, use_xla, accumulate, average=average)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_statistics_of_batch_norm_follow_every_part_of_every_batch(accumulate):
    inputs = keras.Input((16, 16, 3))
    norm = keras.layers.BatchNormalization(momentum=0.75)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, strides=4, padding="same")(norm(inputs)))
    step = make_step(model, accumulate=accumulate)
    mean, variance = np.zeros(3), np.ones(3)
    for number in range(2):
        images = np.random.default_rng(number).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
        step(tf.constant(images), tf.zeros((2, 4, 4, 3)), tf.ones((2, 3)))
        for part in np.split(images, accumulate):
            mean = 0.75 * mean + 0.25 * part.mean((0, 1, 2))
            variance = 0.75 * variance + 0.25 * part.var((0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_targets_are_drawn_in_the_step_and_pck_is_the_mean_of_the_parts(accumulate):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, strides=4, padding="same")(inputs))
    step = make_step(model, lambda k, v: heatmaps.encode(k, v, (64, 64), 2.0), accumulate)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    predicted = model(images).numpy()
    # Keypoint 0 is found, 1 is not in the first two crops; 2 is where PCK does not count in three of them.
    keypoints = 4 * heatmaps.decode(predicted, "none").numpy()[..., :2]
    keypoints[:2, 1] = np.where(keypoints[:2, 1] < 32, 48, 16)
    keypoints[1:, 2] = 0
    visible = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 1]], np.float32)
    true, weight = heatmaps.encode(keypoints, visible, (64, 64), 2.0)
    parts = list(zip(np.split(true, accumulate), np.split(predicted, accumulate), strict=True))
    expected, exchanged = (np.mean([float(heatmaps.pck(*part[::way])[1]) for part in parts]) for way in (1, -1))
    assert 0.2 < expected < 0.9 and exchanged != pytest.approx(expected)
    told = step(*map(tf.constant, (images, keypoints, visible)))
    assert float(told["loss"]) == pytest.approx(float(MSE(true, predicted, weight)), rel=1e-5)
    assert float(told["PCK"]) == pytest.approx(expected)


def test_gradients_that_float16_cannot_hold_are_scaled():
    moved = []
    for precision in ("float32", "mixed_float16"):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((16, 16, 3))
        first = keras.layers.Conv2D(4, 3, strides=4, padding="same", dtype=precision)
        model = keras.Model(inputs, keras.layers.Conv2D(3, 1, dtype="float32")(first(inputs)))
        # The gradients of what the first layer gives out are below the least number of float16.
        step = make_step(model, precision=precision, loss=lambda *arguments: 1e-6 * MSE(*arguments))
        images = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
        before = first.kernel.numpy()
        step(tf.constant(images), tf.zeros((2, 4, 4, 3)), tf.ones((2, 3)))
        moved.append(first.kernel.numpy() - before)
    largest = np.abs(moved[0]).max()
    np.testing.assert_allclose(moved[1] / largest, moved[0] / largest, atol=0.02)


def small_network(freeze=False):
    """[B,16,16,3] -> [B,4,4,3] with two BatchNorms; the first half may be frozen."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    x = keras.layers.BatchNormalization(name="stage2_0_bn1")(keras.layers.Conv2D(4, 1, name="stage2_0_conv1")(x))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="final_layer")(keras.layers.ReLU()(x)))
    if freeze:
        freezing.freeze(model, ["stem"])
    return with_fused_batch_norm(model)


def some_batch(seed):
    rng = np.random.default_rng(seed)
    arrays = rng.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8), rng.random((4, 4, 4, 3)), np.ones((4, 3))
    return [tf.constant(array, tf.uint8 if array.dtype == np.uint8 else tf.float32) for array in arrays]


@pytest.mark.parametrize("use_xla", [False, True])
def test_the_moving_average_is_of_weights_and_statistics_after_each_update(use_xla):
    model = small_network()
    average = MovingAverage(model, 0.3)
    step = make_step(model, average=average, use_xla=use_xla)
    expected = [v.numpy().astype(float) for v in average.model.variables]
    for number in range(5):
        # The third batch is skipped: 2/11, 3/12 and then 0.3 are of the updates.
        images, heatmaps_true, weight = some_batch(number)
        step(images, heatmaps_true * (float("nan") if number == 2 else 1), weight)
        decay = {0: 2 / 11, 1: 3 / 12, 2: 1}.get(number, 0.3)
        expected = [decay * e + (1 - decay) * v.numpy() for e, v in zip(expected, model.variables, strict=True)]
        for found, wanted in zip(average.model.variables, expected, strict=True):
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert not np.allclose(average.model.layers[1].kernel, model.layers[1].kernel, atol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_images_that_are_no_numbers_leave_everything_as_it_was(accumulate):
    model = small_network()
    average = MovingAverage(model, 0.9)
    step = make_step(model, average=average, accumulate=accumulate)
    step(*some_batch(0))
    before = [v.numpy() for v in model.variables + average.model.variables]
    images, heatmaps_true, weight = some_batch(1)
    told = step(tf.cast(images, tf.float32) * float("inf"), heatmaps_true, weight)
    assert np.isnan(float(told["gradient_norm"]))
    for variable, old in zip(model.variables + average.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_parts_that_are_frozen_have_no_gradients_no_moments_and_batch_norm_as_in_inference():
    model = small_network(freeze=True)
    average = MovingAverage(model, 0.9)
    assert [v.path for v in model.trainable_variables if v.path.startswith(("conv1", "bn1"))] == []
    assert len(average.variables) == len(model.trainable_variables) + 2
    kept = [v.numpy() for name in ("conv1", "bn1") for v in model.get_layer(name).variables]
    model.get_layer("bn1").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    kept[4] = model.get_layer("bn1").moving_mean.numpy()
    images, first_half = some_batch(0)[0], keras.Model(model.inputs, model.get_layer("bn1").output)
    np.testing.assert_array_equal(first_half(images, training=True), first_half(images, training=False))
    trained = [v.numpy() for v in model.trainable_variables]
    step = make_step(model, average=average)
    for number in range(2):
        step(*some_batch(number))
    for found, old in zip([v for n in ("conv1", "bn1") for v in model.get_layer(n).variables], kept, strict=True):
        np.testing.assert_array_equal(found, old)
    # Convolutions' biases have no gradient where BatchNorm takes the mean out.
    assert all(
        (v.numpy() != old).any() for v, old in zip(model.trainable_variables, trained, strict=True) if old.ndim > 1
    )
    assert all(layer.get_config().get("trainable", True) for layer in portable_clone(model).layers)
    norm = model.get_layer("stage2_0_bn1")
    assert (norm.moving_mean.numpy() != 0).all() and (norm.moving_variance.numpy() != 1).all()


def test_parts_are_told_by_the_names_of_layers():
    names = {"conv2": "stem", "bn1": "stem", "layer1_0_bn1": "layer1", "stage2_0_branches_1_0_conv1": "stage2"}
    names |= {"transition1_0_0": "transition1", "final_layer": "final_layer", "deconv_layers_0": "deconv_layers"}
    assert {name: freezing.part_of(name) for name in names} == names
    with pytest.raises(InputError, match=r"has no stage9; its parts are stem, final_layer, stage2"):
        freezing.freeze(small_network(), ["stage9", "stem"])
    with pytest.raises(InputError, match=r"random weights: --pretrained has none of final_layer"):
        freezing.freeze(small_network(), ["final_layer"], ["final_layer.weight", "final_layer.bias"])
    with pytest.raises(InputError, match=r"nothing is left to train"):
        freezing.freeze(small_network(), ["stem", "stage2", "final_layer"])
