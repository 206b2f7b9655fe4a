"""Steps whose loss or gradients are not finite: skipped, counted, and in a row the end of a run."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_run import OBJECTIVE, PLAN, Run, bad_at, batch_of_step, logged_steps, small_model

from hrnet_tf import InputError
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_train_step


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_too_many_bad_steps_in_a_row_stop_and_name_the_last_state(tmp_path, bad):
    run = Run(tmp_path, make_dataset=bad_at((2, 3, 7, 8, 9), bad), max_bad_steps=3)
    with pytest.raises(
        InputError, match=r"^3 steps in a row, up to step 10 \(epoch 4\).* is (nan|inf).*2, after step 6$"
    ):
        run.go()
    restored = Run(tmp_path, resume=True)
    assert restored.checkpoint.step == 6
    assert all(np.isfinite(w).all() for w in restored.weights())
    with pytest.raises(InputError, match=r"^1 steps in a row, up to step 1 .*none: there is none yet$"):
        Run(tmp_path / "other", make_dataset=bad_at((0,), bad), max_bad_steps=1).go()


def test_bad_steps_are_counted_left_out_of_means_and_counted_on_after_a_resume(tmp_path):
    assert Run(tmp_path, make_dataset=bad_at((2, 4, 6, 7))).go() == 0
    assert [line["skipped_steps"] for line in logged_steps(tmp_path)] == [2, 2]
    assert all(np.isfinite(list(line.values())).all() for line in logged_steps(tmp_path))
    parts = tmp_path / "parts"
    bad = bad_at((2, 3, 4))
    with pytest.raises(InputError, match=r"^3 steps in a row, up to step 5"):
        Run(parts, make_dataset=bad, max_bad_steps=3).go()
    one_more = Run(parts, make_dataset=bad, max_bad_steps=4, save_interval=0)
    one_more.trainer._plan = dataclasses.replace(PLAN, epochs=1, eval_every=1)
    assert one_more.go() == 0 and one_more.checkpoint.bad_steps == 1
    with pytest.raises(InputError, match=r"^3 steps in a row, up to step 5"):
        Run(parts, resume=True, make_dataset=bad, max_bad_steps=3).go()


def test_float16_skips_overflowing_steps():
    model = small_model("mixed_float16")
    optimizer = make_optimizer(0.01, "mixed_float16")
    optimizer.build(model.trainable_variables)
    step = make_train_step(tf.distribute.get_strategy(), model, optimizer, OBJECTIVE, use_xla=False)
    scale = float(optimizer.dynamic_scale.numpy())
    images, heatmaps, weight = batch_of_step(0)
    before = [v.numpy() for v in model.trainable_variables]
    step(tf.constant(images), tf.constant(heatmaps * 1e7), tf.constant(weight))
    assert float(optimizer.dynamic_scale.numpy()) == scale / 2
    assert all(np.array_equal(v.numpy(), b) for v, b in zip(model.trainable_variables, before, strict=True))
    step(tf.constant(images), tf.constant(heatmaps), tf.constant(weight))
    assert any(not np.array_equal(v.numpy(), b) for v, b in zip(model.trainable_variables, before, strict=True))
    assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
