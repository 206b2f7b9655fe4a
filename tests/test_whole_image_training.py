"""Training of networks of whole images: the objective, and the step that XLA compiles."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from hrnet_tf.data.images import MAX_PEOPLE
from hrnet_tf.data.targets import ImageTargets
from hrnet_tf.losses import MaskedHeatmapMSE, associative_embedding
from hrnet_tf.models.variants import HEATMAPS, HEATMAPS_TAGS
from hrnet_tf.training.objectives import TagsObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_train_step

SIDE, NUM_KEYPOINTS = 64, 3


def labels(seed, batch_size=2, people=3):
    """Keypoints, visible and mask of random images."""
    rng = np.random.default_rng(seed)
    keypoints = np.zeros((batch_size, MAX_PEOPLE, NUM_KEYPOINTS, 2), np.float32)
    visible = np.zeros(keypoints.shape[:-1], np.float32)
    keypoints[:, :people] = rng.uniform(-5, SIDE + 5, (batch_size, people, NUM_KEYPOINTS, 2))
    visible[:, :people] = rng.random((batch_size, people, NUM_KEYPOINTS)) < 0.8
    mask = (rng.random((batch_size, SIDE // 2, SIDE // 2)) < 0.9).astype(np.uint8)
    return keypoints, visible, mask


def outputs(seed, batch_size=2):
    rng = np.random.default_rng(seed)
    sizes = {HEATMAPS_TAGS: (SIDE // 4, 2 * NUM_KEYPOINTS), HEATMAPS: (SIDE // 2, NUM_KEYPOINTS)}
    return {name: rng.normal(size=(batch_size, s, s, c)).astype(np.float32) for name, (s, c) in sizes.items()}


def test_the_loss_is_that_of_both_heatmaps_and_a_thousandth_of_the_tags():
    keypoints, visible, mask = labels(0)
    found, targets = outputs(1), ImageTargets((SIDE, SIDE), 2.0)
    (low, indices), (high, _) = (targets(keypoints, visible, stride) for stride in (4, 2))
    heatmaps, tags = np.split(found[HEATMAPS_TAGS], 2, axis=-1)
    errors = MaskedHeatmapMSE()(low, heatmaps, mask[:, ::2, ::2]), MaskedHeatmapMSE()(high, found[HEATMAPS], mask)
    pull, push = associative_embedding(tf.constant(tags), indices)
    objective = TagsObjective(targets)
    loss, *told = tf.function(objective, jit_compile=True)(found, keypoints, visible, mask)
    expected = [np.mean(sum(errors)), np.mean(pull), np.mean(push)]
    np.testing.assert_allclose(told, expected, rtol=1e-4)
    np.testing.assert_allclose(loss, expected[0] + 1e-3 * (expected[1] + expected[2]), rtol=1e-4)
    assert len(told) == len(objective.metrics)


def test_where_nothing_counts_there_is_no_loss_and_no_gradient():
    keypoints, visible, mask = labels(0)
    found = {name: tf.constant(maps) for name, maps in outputs(1).items()}
    with tf.GradientTape() as tape:
        tape.watch(found)
        loss, *_ = TagsObjective(ImageTargets((SIDE, SIDE), 2.0))(found, keypoints, 0 * visible, 0 * mask)
    assert float(loss) == 0
    assert not any(np.any(part) for part in tape.gradient(loss, found).values())


def small_network():
    """Of three layers, with the outputs of a network of whole images."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(16, 5, strides=4, padding="same", activation="relu")(x)
    low = keras.layers.Conv2D(2 * NUM_KEYPOINTS, 3, padding="same")(x)
    high = keras.layers.Conv2DTranspose(NUM_KEYPOINTS, 4, strides=2, padding="same")(x)
    return keras.Model(images, {HEATMAPS_TAGS: low, HEATMAPS: high})


def test_the_compiled_step_lowers_every_loss():
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.get_strategy()
    model, optimizer = small_network(), make_optimizer(1e-2, "float32")
    optimizer.build(model.trainable_variables)
    step = make_train_step(strategy, model, optimizer, TagsObjective(ImageTargets((SIDE, SIDE), 2.0)), True)
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    batch = [tf.constant(array) for array in (images, *labels(0))]
    told = [{name: float(value) for name, value in step(*batch).items()} for _ in range(60)]
    assert all(told[-1][name] < 0.9 * told[0][name] for name in ("loss", "heatmap_loss"))
    assert told[-1]["pull"] + told[-1]["push"] < told[0]["pull"] + told[0]["push"]


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import keras, numpy as np, tensorflow as tf
import test_whole_image_training as here
from hrnet_tf.data.targets import ImageTargets
from hrnet_tf.training.objectives import TagsObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_train_step, over_replicas

replicas, use_xla = {arguments!r}
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
strategy = tf.distribute.MirroredStrategy([f"CPU:{{i}}" for i in range(replicas)])
keras.utils.set_random_seed(0)
with strategy.scope():
    model = here.small_network()
    optimizer = make_optimizer(1e-3, "float32", epsilon=1.0)
    optimizer.build(model.trainable_variables)
objective = TagsObjective(ImageTargets((here.SIDE, here.SIDE), 2.0), tag_weight=1.0)
step = make_train_step(strategy, model, optimizer, objective, use_xla)

def batches():
    for i in range(4):
        images = np.random.default_rng(i).integers(0, 256, (4, here.SIDE, here.SIDE, 3)).astype(np.uint8)
        yield images, *here.labels(i, 4)

specs = tuple(tf.TensorSpec(a.shape, a.dtype) for a in next(batches()))
dataset = tf.data.Dataset.from_generator(batches, output_signature=specs)
told = [step(*batch) for batch in strategy.experimental_distribute_dataset(dataset)]
values = [[over_replicas(strategy, scalars[name]) for name in ("loss", *objective.metrics)] for scalars in told]
np.savez({output!r}, told=values, weights=np.concatenate([v.numpy().ravel() for v in model.variables]))
"""


@pytest.mark.slow
def test_one_and_two_replicas_compiled_or_not_train_alike(tmp_path):
    found = {}
    for replicas, use_xla in ((1, False), (2, False), (2, True)):
        output = str(tmp_path / f"{replicas}_{use_xla}.npz")
        tests = str(pathlib.Path(__file__).parent)
        script = SCRIPT.format(tests=tests, arguments=(replicas, use_xla), output=output)
        subprocess.run([sys.executable, "-c", script], check=True)
        found[replicas, use_xla] = np.load(output)
    for other in ((2, False), (2, True)):
        np.testing.assert_allclose(found[other]["told"], found[1, False]["told"], rtol=1e-4)
        np.testing.assert_allclose(found[other]["weights"], found[1, False]["weights"], atol=1e-6)
