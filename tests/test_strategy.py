"""Training on two replicas, in processes of their own: a process can hold one strategy only."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import pathlib, sys
sys.path.insert(0, {tests!r})
import keras, numpy as np, seeded, tensorflow as tf
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_average_statistics, make_train_step, over_replicas
from smooth import smooth_network

replicas, use_xla, synchronized, precision = {arguments!r}
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
strategy = tf.distribute.MirroredStrategy([f"CPU:{{i}}" for i in range(replicas)])
assert strategy.num_replicas_in_sync == replicas
keras.utils.set_random_seed(0)
with strategy.scope():
    if synchronized is None:
        images = keras.Input((64, 64, 3))
        x = keras.layers.Conv2D(8, 3, strides=4, padding="same", dtype=precision)(images)
        x = keras.layers.ReLU(dtype=precision)(keras.layers.BatchNormalization(dtype=precision)(x))
        model = keras.Model(images, keras.layers.Conv2D(3, 1, dtype="float32")(x))
    else:
        model = smooth_network(precision)
    model = with_fused_batch_norm(model, bool(synchronized))
    # Adam would turn rounding errors of tiny gradients into whole steps; with a large epsilon it does not.
    optimizer = make_optimizer(1e-3, precision, 1.0, clip_norm=0.1) if {plain} else make_optimizer(1e-4, precision)
    optimizer.build(model.trainable_variables)
    average = MovingAverage(model, 0.5)
variables = model.variables + average.model.variables
start = np.concatenate([v.numpy().ravel() for v in variables])
traces = 0

def loss(*arguments):
    global traces
    traces += 1
    return KeypointMSE()(*arguments)

objective = HeatmapObjective(loss)
step = make_train_step(strategy, model, optimizer, objective, use_xla, {accumulate}, bool(synchronized), average)

def batches():
    for i in range(4):
        rng = np.random.default_rng(i)
        heatmaps = rng.random((8, 16, 16, 3)).astype(np.float32)
        heatmaps[{overflow}:] *= 1e30 if {overflow} and i == 1 else 1
        yield seeded.images(i, 8, 64, 64), heatmaps, np.ones((8, 3), np.float32)

specs = tuple(tf.TensorSpec(a.shape, a.dtype) for a in next(batches()))
dataset = tf.data.Dataset.from_generator(batches, output_signature=specs)
results = [step(*batch) for batch in strategy.experimental_distribute_dataset(dataset)]
for value in results[-1].values():
    devices = [tf.DeviceSpec.from_string(v.backing_device) for v in strategy.experimental_local_results(value)]
    assert [device.device_index for device in devices] == list(range(replicas)), devices
losses = [over_replicas(strategy, told["loss"]) for told in results]
assert traces == (replicas if synchronized else 1)
average_statistics = make_average_statistics(strategy, model, average.model)
average_statistics()
average_statistics()
assert replicas == 1 or average_statistics.experimental_get_tracing_count() == 1
skipped = [bool(np.isnan(over_replicas(strategy, told["gradient_norm"]))) for told in results]
assert skipped == [False, {overflow} > 0, False, False], skipped
per_replica = [
    np.concatenate([strategy.experimental_local_results(v.value)[r].numpy().ravel() for v in variables])
    for r in range(replicas)
]
np.savez({output!r}, losses=losses, weights=np.stack(per_replica), start=start)
"""


def train(
    tmp_path, replicas, use_xla=False, synchronized=None, precision="float32", overflow=0, plain=False, accumulate=1
):
    """Losses of four steps, and the weights on each replica after them.

    The network is one of three layers, or a small HRNet with BatchNorm `synchronized` or not.
    """
    import pathlib

    output = str(tmp_path / f"{replicas}_{use_xla}_{synchronized}_{overflow}_{accumulate}.npz")
    script = SCRIPT.format(
        tests=str(pathlib.Path(__file__).parent),
        arguments=(replicas, use_xla, synchronized, precision),
        output=output,
        overflow=overflow,
        plain=plain,
        accumulate=accumulate,
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    return np.load(output)


@pytest.mark.slow
def test_two_replicas_equal_one(tmp_path):
    one, two = (train(tmp_path, replicas, synchronized=True, plain=True) for replicas in (1, 2))
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_array_equal(two["weights"][0], two["weights"][1])
    np.testing.assert_array_equal(two["start"], one["start"])
    moved = np.linalg.norm(one["weights"][0] - one["start"])
    assert np.linalg.norm(two["weights"][0] - one["weights"][0]) < 1e-3 * moved


@pytest.mark.slow
def test_compiled_replicas_agree(tmp_path):
    plain, compiled = train(tmp_path, 2), train(tmp_path, 2, use_xla=True)
    np.testing.assert_allclose(compiled["losses"], plain["losses"], rtol=1e-4)
    # BatchNorm's statistics differ between replicas until they are averaged.
    np.testing.assert_array_equal(compiled["weights"][0], compiled["weights"][1])


@pytest.mark.slow
def test_parts_of_a_batch_add_up_on_compiled_replicas(tmp_path):
    # Crops 0, 1 | 2, 3 and 4, 5 | 6, 7 see BatchNorm in pairs: as they do on four replicas.
    parts = train(tmp_path, 2, use_xla=True, plain=True, accumulate=2)
    four = train(tmp_path, 4, plain=True)
    np.testing.assert_allclose(parts["losses"], four["losses"], rtol=1e-4)
    np.testing.assert_array_equal(parts["weights"][0], parts["weights"][1])


@pytest.mark.slow
def test_an_overflow_on_one_replica_skips_the_step_on_all(tmp_path):
    # Crops 4 to 7 are the second replica's.
    result = train(tmp_path, 2, precision="mixed_float16", overflow=4)
    assert np.isfinite(result["weights"]).all()
    np.testing.assert_array_equal(result["weights"][0], result["weights"][1])
    # The second of the four steps is the one that overflows: all others change every weight.
    without = train(tmp_path, 2, precision="mixed_float16")
    assert (result["weights"][0] != result["start"]).mean() > 0.5
    assert (without["weights"][0] != result["weights"][0]).mean() > 0.5


PREDICTION = """
import sys
import keras, numpy as np, tensorflow as tf
from hrnet_tf.prediction.keypoints import make_predict_function

replicas, use_xla = {arguments!r}
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
strategy = tf.distribute.MirroredStrategy([f"CPU:{{i}}" for i in range(replicas)])
keras.utils.set_random_seed(0)
with strategy.scope():
    images = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same")(images)
    model = keras.Model(images, keras.layers.Conv2D(3, 1)(keras.layers.BatchNormalization()(x)))
predict = make_predict_function(strategy, model, ((1, 2),), use_xla)
crops = np.random.default_rng(0).integers(0, 256, (8, 64, 48, 3)).astype(np.uint8)
found = []
for batch in strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(crops).batch(4)):
    found += [part.numpy() for part in strategy.experimental_local_results(predict(batch))]
np.save({output!r}, np.concatenate(found))
"""


def test_prediction_on_two_replicas_is_that_on_one_compiled_or_not(tmp_path):
    found = {}
    for replicas, use_xla in ((1, False), (2, False), (2, True)):
        output = str(tmp_path / f"{replicas}_{use_xla}.npy")
        script = PREDICTION.format(arguments=(replicas, use_xla), output=output)
        subprocess.run([sys.executable, "-c", script], check=True)
        found[replicas, use_xla] = np.load(output)
    np.testing.assert_allclose(found[2, False], found[1, False], rtol=1e-5)
    np.testing.assert_allclose(found[2, True], found[1, False], rtol=1e-4)
