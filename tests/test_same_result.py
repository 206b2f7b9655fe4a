"""The same flags and seed give the same losses and weights on a CPU, to the last bit, in processes of their own."""

import pathlib
import subprocess
import sys

import pytest
from conftest import write_dataset

TESTS = pathlib.Path(__file__).parent
SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import tensorflow as tf
threads, input_threads, deterministic = {arguments!r}
tf.config.threading.set_intra_op_parallelism_threads(threads)
import keras, numpy as np
from hrnet_tf import benchmarks, devices, heatmaps
from hrnet_tf.data import pipeline
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_train_step

people, _ = benchmarks.load_people(benchmarks.open_benchmark("coco", {data!r}, {{}}), "tiny")
for pipeline._PARALLEL_CALLS in input_threads:
    keras.utils.set_random_seed(0)
    if deterministic:
        devices.compute_deterministically()
    images = x = keras.Input((64, 64, 3))
    for stride in (4, 1, 1):
        x = keras.layers.Conv2D(32, 3, strides=stride, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = with_fused_batch_norm(keras.Model(images, keras.layers.Conv2D(17, 1)(x)))
    optimizer = make_optimizer(1e-3, "float32", clip_norm=0.01)
    optimizer.build(model.trainable_variables)
    objective = HeatmapObjective(KeypointMSE(), lambda k, v: heatmaps.encode(k, v, (64, 64), 2.0))
    step = make_train_step(tf.distribute.get_strategy(), model, optimizer, objective, use_xla=False)
    batches = pipeline.keypoint_dataset(people, (64, 64), 4, Augmentation(), 0, 0, 12)
    losses = [float(step(*batch)["loss"]).hex() for batch in batches]
    weights = b"".join(v.numpy().tobytes() for v in model.variables + optimizer.variables)
    print(hashlib.sha256(repr(losses).encode() + weights).hexdigest())
"""


@pytest.mark.slow
def test_losses_and_weights_are_those_of_another_process_whatever_the_threads_that_make_batches(tmp_path):
    write_dataset(tmp_path / "data")
    for threads in (2, 8):
        found = []
        for arguments in ((threads, (1, 2, 8), False), (threads, (2,), True)):
            script = SCRIPT.format(tests=str(TESTS), arguments=arguments, data=str(tmp_path / "data"))
            run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
            assert run.returncode == 0, run.stderr[-2000:]
            found += run.stdout.split()
        assert len(found) == 4 and len(set(found)) == 1, (threads, found)
