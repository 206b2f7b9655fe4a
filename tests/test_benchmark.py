"""The benchmark: what it counts and what it writes; not how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

TOOLS = Path(__file__).parents[1] / "tools"


def benchmark(*arguments):
    command = [sys.executable, str(TOOLS / "benchmark.py"), "--seconds=0", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_operations_are_counted_from_the_model(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    from benchmark.networks import count_flops

    images = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(images)  # 3*3*3*8 products at each of 32x24 places
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same")(x)  # 4*4*8*5 for each of the 32x24 before it
    assert count_flops(keras.Model(images, x)) == 2 * 32 * 24 * (3 * 3 * 3 * 8 + 4 * 4 * 8 * 5)


@pytest.mark.slow
def test_figures_are_written_and_compared_with_older_ones(tmp_path):
    small = ("--model=hrnet_w18_small_v1", "--input_size=64x64", "--batch_sizes=2", "--evaluated=20")
    run = benchmark("--cases=train,evaluation", *small, f"--json={tmp_path / 'a.json'}")
    assert run.returncode == 0, run.stderr
    content = json.loads((tmp_path / "a.json").read_text())
    cases = content["cases"]
    first, second = (cases[f"training step {name}, batch 2"] for name in ("float32", "mixed_bfloat16"))
    assert first["ratio"] == 1
    assert second["ratio"] == pytest.approx(second["per_second"] / first["per_second"])
    assert 0 < first["of_peak"] < 1
    assert cases["COCO figures of 20 people"]["of_peak"] is None
    for case in cases.values():
        assert 0 < case["p50"] <= case["p99"]
        assert case["megabytes"] is None or case["megabytes"] >= 0
        case["per_second"] *= 1e-6
    assert first["megabytes"] is None or first["megabytes"] > 5
    (tmp_path / "a.json").write_text(json.dumps(content))
    again = benchmark("--cases=evaluation", *small, f"--compare={tmp_path / 'a.json'}")
    row = next(line for line in again.stdout.splitlines() if line.startswith("COCO figures"))
    assert float(row.split()[-1]) > 1e3


@pytest.mark.slow
def test_input_is_measured_with_pythons_part_of_it(dataset, tmp_path):
    data = (f"--data_dir={dataset}", "--split=tiny", "--copies=30", "--input_size=64x64")
    run = benchmark("--cases=input", *data, f"--json={tmp_path / 'a.json'}")
    assert run.returncode == 0, run.stderr
    python = json.loads((tmp_path / "a.json").read_text())["cases"]["input, Python per sample"]
    assert python["per_second"] == pytest.approx(7 * 32 / python["p50"])  # the whole batches of 240 people
    rows = {line[:48].strip(): line[48:].split() for line in run.stdout.splitlines()}
    assert float(rows["input, Python per sample"][1]) == pytest.approx(1e6 / python["per_second"], abs=0.06)
    assert "input, full augmentation" in rows


@pytest.mark.slow
def test_replicas_have_a_batch_each(tmp_path):
    small = ("--cases=train", "--model=hrnet_w18_small_v1", "--input_size=64x64", "--batch_sizes=2", "--replicas=2")
    run = benchmark(*small, f"--json={tmp_path / 'a.json'}")
    assert run.returncode == 0, run.stderr
    case = json.loads((tmp_path / "a.json").read_text())["cases"]["training step float32, batch 2 on 2 replicas"]
    assert case["per_second"] == pytest.approx(4 / case["p50"])


def test_unknown_groups_are_refused():
    run = benchmark("--cases=backward")
    assert run.returncode != 0
    assert "cases" in run.stderr
