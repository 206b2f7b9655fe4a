"""The command-line tools on good input, as users start them."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import weight_files
from conftest import write_dataset
from tool_runs import complaint, run, training

from hrnet_tf.model_card import read_card
from hrnet_tf.training.run_state import load_last


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
    assert "8 people to train on, evaluation on 8 people in annotated boxes" in output
    assert "step 2: AP " in output and "step 4: AP " in output and "best AP " in output
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "AP" in line] == [2, 4]
    assert "--epochs=2\n" in (work / "flags.txt").read_text()
    assert json.loads((work / "run.json").read_text())["model"] == "hrnet_w18_small_v1"
    for name in ("best.keras", "export/model.keras", "export/saved_model/1/saved_model.pb", "export/model.onnx"):
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
    options = {"formats": "onnx,onnx_float16", "int8": "true", "int8_symmetric": "true", "calibration_split": "tiny"}
    result = run("export", **flags, **options, evaluate="true", out_dir=tmp_path / "export")
    assert result.returncode == 0, result.stderr
    names = {"model.onnx", "keypoints.onnx", "model_float16.onnx", "model_int8.onnx"}
    assert {path.name for path in (tmp_path / "export").iterdir()} == names
    assert "largest difference from the Keras model, model_float16.onnx: " in result.stdout
    figures = {line.split()[0] for line in result.stdout.splitlines() if line.startswith("model")}
    assert figures == {"model.onnx", "model_float16.onnx", "model_int8.onnx"}


@pytest.mark.slow
def test_fine_tuning_keeps_what_is_frozen_and_saves_the_average(tmp_path):
    write_dataset(tmp_path / "data")
    weight_files.save(tmp_path / "pose.pth", weight_files.small_pose())
    flags = training(tmp_path, pretrained=tmp_path / "pose.pth", learning_rate=1e-3, epochs=1)
    flags |= {"schedule": "cosine", "weight_decay": 0.1, "clip_norm": 1, "ema_decay": 0.99}
    parts = complaint(run("train", **flags, freeze="stem,stage5"))
    assert "--freeze: hrnet_w18_small_v1 has no stage5; its parts are stem, final_layer, layer1, stage2" in parts
    result = run("train", **flags, freeze="stem,layer1,stage2")
    assert result.returncode == 0, result.stderr
    best = keras.models.load_model(tmp_path / "work" / "best.keras")
    assert all(layer.trainable for layer in best.layers)
    given = weight_files.small_pose()
    for name in ("conv1", "stage2.0.branches.1.0.conv1", "final_layer", "stage3.0.branches.0.0.conv1"):
        kernel = best.get_layer(name.replace(".", "_")).kernel.numpy().transpose(3, 2, 0, 1)
        assert np.array_equal(kernel, given[f"{name}.weight"]) == name.startswith(("conv1", "stage2")), name
    for ours, theirs in (("moving_mean", "running_mean"), ("moving_variance", "running_var"), ("gamma", "weight")):
        np.testing.assert_array_equal(getattr(best.get_layer("bn2"), ours), given[f"bn2.{theirs}"])
    model, *_ = load_last(tmp_path / "work")  # evaluated in the last step, and so both
    for one, other in zip(model.variables, best.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    frozen = [layer for layer in best.layers if layer.name.startswith(("conv", "bn", "layer1", "stage2"))]
    num_trained = len(best.trainable_variables) - sum(len(layer.trainable_variables) for layer in frozen)
    state = tf.train.load_checkpoint(str(max((tmp_path / "work" / "checkpoints").iterdir()) / "state"))
    of_optimizer = [name for name in state.get_variable_to_shape_map() if name.startswith("optimizer/_variables")]
    assert len(of_optimizer) == 2 * num_trained, of_optimizer[:3]


@pytest.mark.slow
def test_train_refuses_work_dirs_in_use(trained):
    flags = training(trained)
    before = sorted(path for path in (trained / "work").rglob("*"))
    assert "holds a run already. Pass --resume" in complaint(run("train", **flags))
    other = flags | {"model": "hrnet_w18_small_v2", "resume": "true"}
    assert "holds another run: " in complaint(run("train", **other))
    assert sorted(path for path in (trained / "work").rglob("*")) == before


def test_tools_compute_with_changed_weights_whatever_the_environment_says():
    """TensorFlow's kernels keep the first weights with this variable, which a server may have set for all it runs."""
    script = """
from hrnet_tf.cli import shared
import keras, numpy as np, tensorflow as tf
model = keras.Sequential([keras.Input((16, 16, 8)), keras.layers.Conv2D(8, 3, use_bias=False)])
compute, images = tf.function(model), np.ones((1, 16, 16, 8), np.float32)
before = compute(images).numpy()
model.set_weights([2 * weight for weight in model.get_weights()])
np.testing.assert_allclose(compute(images).numpy(), 2 * before, rtol=1e-5)
"""
    environment = {**os.environ, "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_network_of_several_outputs_learns_points(tmp_path):
    write_dataset(tmp_path / "data")
    flags = training(tmp_path, model="cpn_50", loss="dsnt", output_weights="1,1,1,1,2", epochs=1)
    result = run("train", **flags)
    assert result.returncode == 0, result.stderr
    best = tmp_path / "work" / "best.keras"
    assert keras.models.load_model(best).output_shape == (None, 16, 16, 17)
    assert read_card(best).refine == "integral"
    assert json.loads((tmp_path / "work" / "export" / "saved_model" / "1" / "model_card.json").read_text())["refine"]
    result = run("evaluate", model=best, data_dir=tmp_path / "data", val_split="tiny")
    assert result.returncode == 0, result.stderr
