"""A training run that is interrupted and killed, and goes on."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_dataset
from tool_runs import ROOT, command, training


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    """SIGINT in the first part and SIGKILL in the second, against a run that nothing happened to."""
    write_dataset(tmp_path / "data")
    flags = training(tmp_path, epochs=6, eval_every=2, flip_test="false")
    # Sums are split between threads: all processes must have as many for the same results to the last bit.
    options = {"cwd": ROOT, "env": os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}}
    whole = subprocess.run(command("train", **flags | {"work_dir": tmp_path / "whole"}), capture_output=True, **options)
    assert whole.returncode == 0
    for number, saves in ((signal.SIGINT, 1), (signal.SIGKILL, 4)):
        process = subprocess.Popen(
            command("train", **flags, resume="true"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        _wait_for_saves(tmp_path / "work", saves, process)
        process.send_signal(number)
        output = process.communicate()[0].decode()
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert ("--resume goes on from there" in output) == (number == signal.SIGINT)
    result = subprocess.run(command("train", **flags, resume="true"), capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stderr
    assert "resuming after step " in result.stdout
    steps = [json.loads(line)["step"] for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    last = [max((tmp_path / name / "checkpoints").iterdir()) for name in ("whole", "work")]
    progress = [json.loads((state / "manifest.json").read_text())["progress"] for state in last]
    assert progress[0] == progress[1]
    one, other = (tf.train.load_checkpoint(str(state / "state")) for state in last)
    names = [name for name in one.get_variable_to_shape_map() if name.startswith(("model", "optimizer"))]
    assert len(names) > 400
    for name in names:
        np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name), name)


def _wait_for_saves(work_dir, saves, process):
    """Returns once a run is training and has saved its state so many times, counted over all its parts."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        saved = [int(path.name) for path in work_dir.glob("checkpoints/[0-9]*")]
        if (work_dir / "metrics.jsonl").exists() and max(saved, default=0) >= saves:
            return
        time.sleep(0.05)
    pytest.fail("the run ended or took too long")
