"""The command-line tools as users start them, in processes of their own."""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_annotations, write_dataset

from hrnet_tf import build_model

ROOT = pathlib.Path(__file__).parents[1]


def command(tool, **flags):
    return [sys.executable, f"tools/{tool}.py", *(f"--{name}={value}" for name, value in flags.items())]


def training(root, **flags):
    """The flags of a run that takes seconds, on the folder `root`/data."""
    return {
        "model": "hrnet_w18_small_v1",
        "input_size": "64x64",
        "data_dir": root / "data",
        "train_split": "tiny",
        "val_split": "tiny",
        "work_dir": root / "work",
        "batch_size": 4,
        "epochs": 2,
        "eval_every": 1,
        **flags,
    }


def run(tool, **flags):
    options = {"cwd": ROOT, "capture_output": True, "text": True}
    return subprocess.run(command(tool, **flags), **options)


def complaint(result):
    """The one line that a tool ended with, which must be its only one on bad input."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith(("error: ", "FATAL "))]
    assert len(errors) == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset and a finished run on it."""
    root = tmp_path_factory.mktemp("trained")
    write_dataset(root / "data")
    result = run("train", **training(root))
    assert result.returncode == 0, result.stderr
    (root / "stdout").write_text(result.stdout)
    return root


@pytest.mark.slow
def test_training_leaves_what_it_says(trained):
    work, output = trained / "work", (trained / "stdout").read_text()
    assert "8 people to train on, 8 annotated boxes to evaluate on" in output
    assert "step 2: AP " in output and "step 4: AP " in output and "best AP " in output
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "AP" in line] == [2, 4]
    assert "--epochs=2\n" in (work / "flags.txt").read_text()
    assert json.loads((work / "run.json").read_text())["model"] == "hrnet_w18_small_v1"
    for name in ("best.keras", "export/model.keras", "export/saved_model/saved_model.pb", "export/model.onnx"):
        assert (work / name).is_file()
    assert not list(work.rglob(".*"))


@pytest.mark.slow
def test_flags_written_by_a_run_start_it_again(trained):
    flags = {"flagfile": trained / "work" / "flags.txt", "epochs": 1, "work_dir": trained / "again"}
    result = run("train", **flags)
    assert result.returncode == 0, result.stderr
    assert "step 2: AP " in result.stdout


@pytest.mark.slow
def test_evaluating_and_exporting_a_trained_model(trained, tmp_path):
    model = trained / "work" / "best.keras"
    paths = {name: tmp_path / name for name in ("metrics.json", "results.json", "sheet.png")}
    flags = {"model": model, "data_dir": trained / "data", "val_split": "tiny"}
    result = run("evaluate", **flags, **{name.split(".")[0]: path for name, path in paths.items()})
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (trained / "work" / "metrics.jsonl").read_text().splitlines()]
    best = max(line["AP"] for line in lines if "AP" in line)
    assert json.loads(paths["metrics.json"].read_text())["AP"] == pytest.approx(best, abs=1e-6)
    assert len(json.loads(paths["results.json"].read_text())) == 8
    assert paths["sheet.png"].read_bytes().startswith(b"\x89PNG")
    result = run("export", **flags, out_dir=tmp_path / "export")
    assert result.returncode == 0, result.stderr
    assert "largest difference from the Keras model, onnx: " in result.stdout
    assert (tmp_path / "export" / "model.onnx").is_file()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(trained, tmp_path):
    """SIGINT in the first part and SIGKILL in the second, against a run that nothing happened to."""
    shutil.copytree(trained / "data", tmp_path / "data")
    flags = training(tmp_path, epochs=12, eval_every=4, flip_test="false")
    # Threads add up in varying order; with one of them results are the same to the last bit.
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
    one, other = (tf.train.load_checkpoint(str(tmp_path / name / "checkpoints")) for name in ("whole", "work"))
    names = [name for name in one.get_variable_to_shape_map() if name.startswith(("model", "optimizer", "step"))]
    assert len(names) > 400
    for name in names:
        np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name), name)


def _wait_for_saves(work_dir, saves, process):
    """Returns once a run is training and has saved its state so many times, counted over all its parts."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        saved = [int(path.stem.split("-")[1]) for path in work_dir.glob("checkpoints/last-*.index")]
        if (work_dir / "metrics.jsonl").exists() and max(saved, default=0) >= saves:
            return
        time.sleep(0.05)
    pytest.fail("the run ended or took too long")


def test_train_refuses_bad_data(tmp_path):
    content = write_dataset(tmp_path / "data")
    flags = training(tmp_path)
    assert "data directory nowhere does not exist" in complaint(run("train", **flags | {"data_dir": "nowhere"}))
    assert "person_keypoints_other.json does not exist" in complaint(run("train", **flags | {"train_split": "other"}))
    (tmp_path / "data" / "images" / "tiny" / "000000000002.jpg").unlink()
    assert "1 of 4 images listed in the annotations are absent" in complaint(run("train", **flags))
    del content["categories"][0]["keypoints"]
    write_annotations(tmp_path / "data", "tiny", content)
    assert "has no keypoints" in complaint(run("train", **flags))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "hrnet_w33"}, "value should be one of <hrnet_w32|hrnet_w48|"),
        ({"input_size": "100x64"}, "flag --input_size=100x64: must be like 256x192, multiples of 32"),
        ({"batch": 3}, "Unknown command line flag 'batch'"),
        ({"learning_rate_drops": "a,b"}, "must be epochs, like 170,200"),
    ],
)
def test_train_refuses_bad_flags(tmp_path, flags, message):
    assert message in complaint(run("train", **training(tmp_path) | flags))
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_train_refuses_work_dirs_in_use(trained):
    flags = training(trained)
    before = sorted(path for path in (trained / "work").rglob("*"))
    assert "holds a run already. Pass --resume" in complaint(run("train", **flags))
    other = flags | {"model": "hrnet_w18_small_v2", "resume": "true"}
    assert "holds checkpoints of" in complaint(run("train", **other))
    assert sorted(path for path in (trained / "work").rglob("*")) == before


@pytest.mark.slow
def test_a_truncated_image_stops_training_or_is_skipped(tmp_path):
    write_dataset(tmp_path / "data")
    path = tmp_path / "data" / "images" / "tiny" / "000000000002.jpg"
    path.write_bytes(path.read_bytes()[:1500])
    message = complaint(run("train", **training(tmp_path)))
    assert f"cannot decode image {path}" in message
    flags = training(tmp_path, skip_bad_images="true", work_dir=tmp_path / "skipping", epochs=1)
    result = run("train", **flags)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(f"skipped: cannot decode image {path}") == 1
    assert "1 images could not be read and were skipped" in result.stdout


@pytest.mark.slow
def test_a_full_disk_ends_training_in_one_line(tmp_path):
    write_dataset(tmp_path / "data")
    limit = 2_000_000  # bytes a file may have; a checkpoint has more
    result = subprocess.run(
        command("train", **training(tmp_path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "cannot write a checkpoint to" in complaint(result)
    assert not (tmp_path / "work" / "best.keras").exists()
    assert not list((tmp_path / "work" / "checkpoints").glob("*.index"))


def test_evaluate_and_export_refuse_what_is_no_model(tmp_path):
    write_dataset(tmp_path / "data")
    flags = {"data_dir": tmp_path / "data", "val_split": "tiny"}
    assert "--model must be an existing .keras file" in complaint(run("evaluate", **flags, model="missing.keras"))
    (tmp_path / "junk.keras").write_bytes(os.urandom(1000))
    export = {"model": tmp_path / "junk.keras", "out_dir": tmp_path / "out"}
    assert "junk.keras cannot be loaded" in complaint(run("export", **flags, **export))
    build_model("hrnet_w18_small_v1", (64, 64), num_keypoints=5).save(tmp_path / "five.keras")
    message = complaint(run("evaluate", **flags, model=tmp_path / "five.keras"))
    assert "predicts 5 keypoints, but the annotations have 17" in message
    assert not (tmp_path / "out").exists()
