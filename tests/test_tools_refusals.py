"""What the command-line tools say on bad input: one line, exit code 1, nothing half-written."""

import os
import resource
import subprocess

import pytest
from conftest import write_annotations, write_dataset
from tool_runs import ROOT, command, complaint, run, training

from hrnet_tf import build_model


def test_train_refuses_bad_data(tmp_path):
    content = write_dataset(tmp_path / "data")
    flags = training(tmp_path)
    assert "data directory nowhere does not exist" in complaint(run("train", **flags | {"data_dir": "nowhere"}))
    assert "person_keypoints_other.json does not exist" in complaint(run("train", **flags | {"train_split": "other"}))
    (tmp_path / "junk.pth").write_bytes(os.urandom(1000))
    assert "junk.pth" in complaint(run("train", **flags, pretrained=tmp_path / "junk.pth"))
    (tmp_path / "data" / "images" / "tiny" / "000000000002.jpg").unlink()
    assert "1 of 4 images listed in the annotations are absent" in complaint(run("train", **flags))
    for part in (*content["categories"], *content["annotations"]):
        del part["keypoints"]
    write_annotations(tmp_path / "data", "tiny", content)
    assert "a category must list its keypoints" in complaint(run("train", **flags))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "hrnet_w33"}, "value should be one of <hrnet_w32|hrnet_w48|"),
        ({"input_size": "100x64"}, "flag --input_size=100x64: must be like 256x192, multiples of 32"),
        ({"batch": 3}, "Unknown command line flag 'batch'"),
        ({"learning_rate_drops": "a,b"}, "must be epochs, like 170,200"),
        ({"accumulate": 3}, "--batch_size must be a multiple of the number of GPUs (1) times --accumulate (3)"),
        ({"freeze": "stem"}, "--freeze keeps parts as --pretrained has them: give that too"),
        ({"ema_decay": 1}, "flag --ema_decay=1: 1.0 is not a number in the range [0, 0.999999]"),
        ({"sync_batch_norm": "true", "xla": "on"}, "--sync_batch_norm cannot be compiled: give --xla=off"),
    ],
)
def test_train_refuses_bad_flags(tmp_path, flags, message):
    write_dataset(tmp_path / "data")
    assert message in complaint(run("train", **training(tmp_path) | flags))
    assert not (tmp_path / "work").exists()


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
    assert not list((tmp_path / "work" / "checkpoints").glob("**/*.index"))


def test_evaluate_and_export_refuse_what_is_no_model(tmp_path):
    write_dataset(tmp_path / "data")
    flags = {"data_dir": tmp_path / "data", "val_split": "tiny"}
    message = complaint(run("evaluate", **flags, model="missing.keras"))
    assert "a model must be an existing .keras, .onnx or .tflite file" in message
    (tmp_path / "junk.keras").write_bytes(os.urandom(1000))
    export = {"model": tmp_path / "junk.keras", "out_dir": tmp_path / "out"}
    assert "junk.keras cannot be loaded" in complaint(run("export", **flags, **export))
    message = complaint(run("export", **flags, **export, int8_symmetric="true"))
    assert "--int8_symmetric is of 8-bit ONNX files: add --int8, and onnx to --formats" in message
    build_model("hrnet_w18_small_v1", (64, 64), num_keypoints=5).save(tmp_path / "five.keras")
    message = complaint(run("evaluate", **flags, model=tmp_path / "five.keras"))
    assert "predicts 5 keypoints, but the annotations have 17" in message
    assert not (tmp_path / "out").exists()
