"""A run of training whose network is small enough to run many times, with everything around the trainer."""

import json
import os
import signal

import keras
import numpy as np
import tensorflow as tf

from hrnet_tf.losses import KeypointMSE
from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.loop import Plan, Trainer
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.run_state import Checkpoint
from hrnet_tf.training.schedules import WarmupStepDecay
from hrnet_tf.training.step import make_train_step

PLAN = Plan(epochs=4, epoch_steps=3, eval_every=2, batch_size=2)
OBJECTIVE = HeatmapObjective(KeypointMSE())


def small_model(dtype="float32"):
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", dtype=dtype)(images)
    x = keras.layers.BatchNormalization(dtype=dtype)(x)
    return keras.Model(images, keras.layers.Conv2D(3, 1, dtype="float32")(x))


def batch_of_step(step):
    rng = np.random.default_rng(step)
    return (
        rng.integers(0, 256, (2, 16, 16, 3)).astype(np.uint8),
        rng.random((2, 4, 4, 3)).astype(np.float32),
        np.ones((2, 3), np.float32),
    )


def make_dataset(first_step, last_step):
    specs = tuple(tf.TensorSpec(array.shape, array.dtype) for array in batch_of_step(0))
    return tf.data.Dataset.from_generator(
        lambda: (batch_of_step(step) for step in range(first_step, last_step)), output_signature=specs
    )


class Run:
    """A trainer with everything around it; `aps` are what the evaluations return."""

    def __init__(
        self,
        work_dir,
        resume=False,
        aps=(0.1, 0.2),
        make_dataset=make_dataset,
        on_evaluate=None,
        ema_decay=0.0,
        **options,
    ):
        os.makedirs(work_dir / "checkpoints", exist_ok=True)
        self.model = small_model()
        self.optimizer = make_optimizer(WarmupStepDecay(0.01, [6], warmup_steps=2), "float32")
        self.optimizer.build(self.model.trainable_variables)
        self.average = MovingAverage(self.model, ema_decay) if ema_decay else None
        self.checkpoint = Checkpoint(str(work_dir), self.model, self.optimizer, self.average)
        if resume:
            assert self.checkpoint.restore()
        self.evaluated, self.saved_best = [], []
        strategy = tf.distribute.get_strategy()

        def evaluate():
            if on_evaluate:
                on_evaluate()
            self.evaluated.append(self.checkpoint.step)
            ap = aps[self.checkpoint.step // 6 - 1]
            return {"AP": ap}, np.zeros((4, 4, 3), np.uint8)

        self.train_step = make_train_step(
            strategy, self.model, self.optimizer, OBJECTIVE, use_xla=False, average=self.average
        )
        self.trainer = Trainer(
            strategy=strategy,
            model=self.model,
            optimizer=self.optimizer,
            train_step=self.train_step,
            make_dataset=make_dataset,
            evaluate=evaluate,
            main_metric="AP",
            save_best=lambda metrics: self.saved_best.append(self.checkpoint.step),
            plan=PLAN,
            checkpoint=self.checkpoint,
            work_dir=str(work_dir),
            average=self.average,
            **options,
        )

    def go(self):
        return self.trainer.run()

    def weights(self):
        average = self.average.model.variables if self.average else []
        return [v.numpy() for v in self.model.variables + self.optimizer.variables + average]


def assert_same_weights(a, b):
    for x, y in zip(a.weights(), b.weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def interrupt_at(step, signal_number=signal.SIGINT):
    """A dataset whose batch number `step` comes with a Ctrl-C, or another signal."""

    def make(first_step, last_step):
        def batches():
            for number in range(first_step, last_step):
                if number == step:
                    os.kill(os.getpid(), signal_number)
                yield batch_of_step(number)

        specs = tuple(tf.TensorSpec(array.shape, array.dtype) for array in batch_of_step(0))
        return tf.data.Dataset.from_generator(batches, output_signature=specs)

    return make


def bad_at(steps, value=float("nan")):
    """A dataset whose batches of these numbers have heatmaps that are no numbers."""

    def make(first_step, last_step):
        numbered = make_dataset(first_step, last_step).enumerate(first_step)
        is_bad = tf.constant([step in steps for step in range(PLAN.last_step)])
        return numbered.map(lambda i, batch: (batch[0], tf.where(is_bad[i], value, batch[1]), batch[2]))

    return make


def logged_steps(work_dir):
    """What the log has of steps, without the rate, which is read when the log is written."""
    lines = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name != "learning_rate"} for line in lines if "learning_rate" in line]
