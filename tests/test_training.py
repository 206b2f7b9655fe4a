"""Schedules, step, loop and checkpoints, on a network small enough to run many times."""

import json
import os
import shutil
import signal
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_run import (
    OBJECTIVE,
    PLAN,
    Run,
    assert_same_weights,
    batch_of_step,
    interrupt_at,
    logged_steps,
    small_model,
)

from hrnet_tf import InputError, build_model
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.training.loop import Plan
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.schedules import WarmupCosineDecay, WarmupStepDecay
from hrnet_tf.training.step import make_train_step


def test_learning_rate():
    schedule = WarmupStepDecay(1e-3, drop_steps=[10, 20], warmup_steps=4)
    rates = [float(schedule(step)) for step in (0, 1, 3, 4, 9, 10, 19, 20, 100)]
    np.testing.assert_allclose(rates, [2.5e-4, 5e-4, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-6)
    assert float(WarmupStepDecay(1e-3)(0)) == pytest.approx(1e-3)


def test_cosine_falls_from_the_warm_up_to_zero():
    schedule = WarmupCosineDecay(0.5, last_step=110, warmup_steps=10)
    rates = [float(schedule(step)) for step in (0, 4, 9, 10, 35, 60, 85, 110, 200)]
    expected = [0.05, 0.25, 0.5, 0.5, 0.25 * (1 + np.sqrt(0.5)), 0.25, 0.25 * (1 - np.sqrt(0.5)), 0, 0]
    np.testing.assert_allclose(rates, expected, atol=1e-7)
    assert float(WarmupCosineDecay(0.5, 4)(1)) == pytest.approx(0.25 * (1 + np.cos(np.pi / 4)))


def test_evaluations_fall_on_multiples_and_on_the_end():
    plan = Plan(epochs=5, epoch_steps=10, eval_every=2, batch_size=1)
    assert [plan.next_evaluation(step) for step in (0, 19, 20, 39, 40, 49)] == [20, 20, 40, 40, 50, 50]


def test_a_run_evaluates_keeps_the_best_and_logs(tmp_path):
    run = Run(tmp_path, aps=(0.3, 0.2))
    assert run.go() == 0
    assert run.evaluated == [6, 12] and run.saved_best == [6]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["AP"] for line in lines if "AP" in line] == [0.3, 0.2]
    assert [line["step"] for line in lines if "loss" in line] == [6, 12]
    assert [line["learning_rate"] for line in lines if "loss" in line][-1] == pytest.approx(0.001)
    assert all(line["save_megabytes"] > 0 for line in lines if "save_seconds" in line)
    assert [line["step"] for line in lines if "save_seconds" in line] == [6, 12]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_step_reports_the_loss_and_follows_the_gradient():
    model = small_model()
    optimizer = make_optimizer(0.01, "float32")
    optimizer.build(model.trainable_variables)
    step = make_train_step(tf.distribute.get_strategy(), model, optimizer, OBJECTIVE, use_xla=False)
    images, heatmaps, weight = batch_of_step(0)
    before = [v.numpy() for v in model.trainable_variables]
    expected = float(KeypointMSE()(heatmaps, model(images, training=True), weight))
    found = step(*map(tf.constant, batch_of_step(0)))
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5) and 0 <= float(found["PCK"]) <= 1
    moved = [np.abs(v.numpy() - b) for v, b in zip(model.trainable_variables, before, strict=True)]
    # Adam's first step is the learning rate in the direction of the gradient's sign, wherever that is not 0
    # (the first convolution's bias has none, as BatchNorm takes the mean out).
    assert all(m.max() == pytest.approx(0.01, rel=1e-2) for m, b in zip(moved, before, strict=True) if b.ndim != 1)


def test_a_step_is_a_handful_of_operations_however_many_variables_there_are():
    model = build_model("hrnet_w18_small_v1", (32, 32), num_keypoints=3, dtype="mixed_float16")
    optimizer = make_optimizer(0.01, "mixed_float16")
    optimizer.build(model.trainable_variables)
    step = make_train_step(tf.distribute.get_strategy(), model, optimizer, OBJECTIVE, use_xla=False)
    batch = tf.zeros((2, 32, 32, 3), tf.uint8), tf.zeros((2, 8, 8, 3)), tf.zeros((2, 3))
    operations = step.get_concrete_function(*batch).graph.get_operations()
    # Those that hand variables in are none that run.
    assert len(model.trainable_variables) > 150
    assert sum(operation.type != "Placeholder" for operation in operations) < 50


def test_parts_of_a_batch_add_up_to_the_whole():
    images, heatmaps, weight = (np.repeat(array, 3, axis=0) for array in batch_of_step(0))
    heatmaps *= np.arange(1, 7)[:, None, None, None]
    found = []
    for accumulate in (1, 2, 3):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((16, 16, 3))
        model = keras.Model(inputs, keras.layers.Conv2D(3, 3, strides=4, padding="same")(inputs))
        optimizer = make_optimizer(0.01, "float32", epsilon=1.0)
        optimizer.build(model.trainable_variables)
        step = make_train_step(tf.distribute.get_strategy(), model, optimizer, OBJECTIVE, False, accumulate)
        losses = [float(step(*map(tf.constant, (images, heatmaps, weight)))["loss"]) for _ in range(3)]
        found.append((losses, np.concatenate([v.numpy().ravel() for v in model.variables])))
    for losses, weights in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=1e-5)
        np.testing.assert_allclose(weights, found[0][1], rtol=1e-4, atol=1e-6)


def test_building_the_step_does_not_count_in_the_rate(tmp_path, monkeypatch):
    run, now = Run(tmp_path), [0.0]
    monkeypatch.setattr("hrnet_tf.training.loop.time", types.SimpleNamespace(monotonic=lambda: now[0]))
    step, bar = run.train_step, run.trainer._progress._bar
    began = bar.start_t

    def slow_at_first(*batch):
        now[0] += 100 if not run.checkpoint.step else 0
        return step(*batch)

    run.trainer._train_step = slow_at_first
    assert run.go() == 0
    assert bar.start_t == pytest.approx(began + 100, abs=1e-3) and bar.initial == PLAN.batch_size


@pytest.mark.parametrize("moment", ["call", "look"])
def test_a_lack_of_memory_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, moment):
    run = Run(tmp_path)

    def fail(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[96,72,96,48]")

    if moment == "call":
        run.trainer._train_step = fail
    else:
        monkeypatch.setattr("hrnet_tf.training.loop.over_replicas", fail)
    with pytest.raises(InputError, match=r"^out of memory: OOM when .*--batch_size.*--accumulate.*mixed_bfloat16"):
        run.go()


def test_a_step_is_traced_once_for_all_batches(tmp_path):
    run = Run(tmp_path)
    assert run.trainer.run() == 0 and run.checkpoint.step == PLAN.last_step
    assert run.train_step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(("stop", "ema_decay"), [(1, 0), (4, 0), (5, 0), (4, 0.9)])
def test_an_interrupted_and_resumed_run_equals_a_whole_one(tmp_path, stop, ema_decay):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = Run(tmp_path / "whole", ema_decay=ema_decay)
    assert whole.go() == 0
    first = Run(tmp_path / "parts", make_dataset=interrupt_at(stop), ema_decay=ema_decay)
    assert first.go() in (130, 143)
    assert 0 < first.checkpoint.step < PLAN.last_step
    second = Run(tmp_path / "parts", resume=True, ema_decay=ema_decay)
    assert second.checkpoint.step == first.checkpoint.step
    assert second.go() == 0
    assert_same_weights(whole, second)
    one, other = (logged_steps(tmp_path / name) for name in ("whole", "parts"))
    assert one == other and len(one) == 2
    assert first.evaluated + second.evaluated == whole.evaluated
    assert second.checkpoint.best_metric == whole.checkpoint.best_metric


def test_an_evaluation_that_was_interrupted_is_done_on_resuming(tmp_path):
    first = Run(tmp_path, on_evaluate=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert first.go() in (130, 143)
    assert first.checkpoint.step == 6 and first.evaluated == []
    second = Run(tmp_path, resume=True)
    assert second.go() == 0
    assert second.evaluated == [6, 12]


def test_signal_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    Run(tmp_path).go()
    assert signal.getsignal(signal.SIGINT) is before


def test_resuming_drops_what_was_logged_after_the_checkpoint(tmp_path):
    run = Run(tmp_path, make_dataset=interrupt_at(5))
    assert run.go() in (130, 143)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "loss": 1.0}\n{"step": 12, "lo')
    assert Run(tmp_path, resume=True).go() == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [6, 12]


def test_a_work_dir_that_is_removed_ends_the_run_in_a_line(tmp_path):
    run = Run(tmp_path / "run", on_evaluate=lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(InputError, match="cannot write a checkpoint to"):
        run.go()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("garbage", [b"\xff\x00\xfe\n", b"[1]\n", b'"step"\n{"step": "x"}\n', b"\n\n{"])
def test_metrics_are_mended_to_what_is_whole(tmp_path, garbage):
    assert Run(tmp_path, make_dataset=interrupt_at(5)).go() == 130
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(garbage)
    assert Run(tmp_path, resume=True).go() == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 12


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_signals_save_and_have_exit_codes(tmp_path, number, code):
    run = Run(tmp_path, make_dataset=interrupt_at(4, number))
    assert run.go() == code
    assert run.checkpoint.step == Run(tmp_path, resume=True).checkpoint.step > 0
