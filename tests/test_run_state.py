"""Whose run a work directory holds, and its states: written whole, checked, and resumed from."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from hrnet_tf import InputError
from hrnet_tf.training.run_state import Checkpoint, claimed, states_of

RUN = {"model": "a", "input_size": "64x64", "num_keypoints": 17}


def tiny_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])


def claim(work_dir, run=RUN, resume=False, course=None):
    with claimed(work_dir, run, resume, course or {}):
        pass


def save_states(work_dir, steps):
    """The states of a run after each of so many steps; returns the model, and its weights after each."""
    model, weights = tiny_model(), []
    checkpoint = Checkpoint(work_dir, model, keras.optimizers.Adam())
    for checkpoint.step in steps:
        for variable in model.variables:
            variable.assign(tf.fill(variable.shape, float(checkpoint.step)))
        checkpoint.save()
        weights.append([v.numpy() for v in model.variables])
    return model, weights


def test_work_dirs_are_not_mixed_up(tmp_path):
    work_dir = tmp_path / "deep" / "run"
    claim(work_dir)
    claim(work_dir, RUN | {"model": "b"})  # nothing was saved yet
    claim(work_dir)
    save_states(work_dir, [1])
    claim(work_dir, resume=True)
    with pytest.raises(InputError, match=r"holds a run already. Pass --resume"):
        claim(work_dir)
    with pytest.raises(InputError, match=r"holds another run: model a there, b here, precision None there, p here"):
        claim(work_dir, RUN | {"model": "b", "precision": "p"}, resume=True)
    # As a version without numbers of sequences writes it, another, and one that writes less than this.
    for older in (RUN, RUN | {"sequence": 1}, {"model": "a"}):
        (work_dir / "run.json").write_text(json.dumps(older))
        with pytest.raises(InputError, match=r"crops follow from the seed in another way.*choose another --work_dir"):
            claim(work_dir, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot create --work_dir"):
        claim(tmp_path / "file" / "run")


def test_another_course_is_said_and_not_refused(tmp_path, capfd):
    course = {"--learning_rate": 0.001, "--learning_rate_drops": ["170", "200"], "replicas": 4}
    claim(tmp_path, course=course)
    save_states(tmp_path, [1])
    claim(tmp_path, resume=True, course=course)
    assert capfd.readouterr().err == ""
    claim(tmp_path, resume=True, course=course | {"--learning_rate": 0.01, "replicas": 8, "--new": 1})
    said = "--learning_rate 0.001 there, 0.01 here, --new None there, 1 here, replicas 4 there, 8 here"
    assert f"goes on in another way, and not to the result that it would have had: {said}" in capfd.readouterr().err
    claim(tmp_path, resume=True, course=course | {"--learning_rate": 0.01, "replicas": 8, "--new": 1})
    assert capfd.readouterr().err == ""


def test_a_work_dir_has_one_process_at_a_time_and_is_free_again_once_that_is_killed(tmp_path):
    script = f"""
import time
from hrnet_tf.training.run_state import claimed
with claimed({str(tmp_path)!r}, {RUN!r}, False, {{}}):
    print("claimed", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "claimed\n"
    with pytest.raises(InputError, match="another process trains in --work_dir"):
        claim(tmp_path)
    other.kill()
    other.wait()
    claim(tmp_path)


def test_what_killed_processes_have_left_is_removed(tmp_path):
    claim(tmp_path)
    save_states(tmp_path, [1])
    names = (
        "checkpoints/.000002",
        "checkpoints/.000001.old",
        ".best.keras.ab1_x9zz",
        ".metrics.jsonl.abcdefgh",
        "export/.export.abcdefgh",
    )
    rests = [tmp_path / name for name in names]
    for rest in rests:
        rest.mkdir(parents=True)
        (rest / "file").write_bytes(b"0" * 1000)
    (tmp_path / ".git").mkdir()
    claim(tmp_path, resume=True)
    assert not any(rest.exists() for rest in rests) and (tmp_path / ".git").is_dir()


def test_two_states_are_kept_and_a_damaged_one_gives_way_to_the_one_before(tmp_path, capfd):
    claim(tmp_path)
    model, weights = save_states(tmp_path, [1, 2, 3])
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == ["000002", "000003"]
    for damage in (_flip_a_bit, _truncate, _remove):
        saved = {path: path.read_bytes() for path in (tmp_path / "checkpoints" / "000003").iterdir()}
        for path, content in saved.items():
            damage(path)
            restored = Checkpoint(tmp_path, model, keras.optimizers.Adam())
            assert restored.restore() and restored.step == 2, path
            for variable, expected in zip(model.variables, weights[1], strict=True):
                np.testing.assert_array_equal(variable, expected)
            assert "000003 cannot be used" in capfd.readouterr().err
            path.write_bytes(content)
    restored = Checkpoint(tmp_path, model, keras.optimizers.Adam())
    assert restored.restore() and restored.step == 3
    for number in ("000002", "000003"):
        _truncate(next((tmp_path / "checkpoints" / number).glob("*.data-*")))
    with pytest.raises(InputError, match=r"cannot resume from .*000003.*not as it was written"):
        restored.restore()


def test_a_damaged_state_is_not_one_of_the_two_that_are_kept(tmp_path):
    claim(tmp_path)
    model, weights = save_states(tmp_path, [1, 2])
    _flip_a_bit(next((tmp_path / "checkpoints" / "000002").glob("*.data-*")))
    resumed = Checkpoint(tmp_path, model, keras.optimizers.Adam())
    assert resumed.restore() and resumed.step == 1
    manifest = tmp_path / "checkpoints" / "000001" / "manifest.json"
    content = manifest.read_text()
    manifest.write_text(content.replace('"step": 1,', '"step": 3,'))
    with pytest.raises(InputError, match=r"cannot resume from .*000002.*not as it was written"):
        resumed.restore()
    manifest.write_text(content)
    resumed.step = 7
    resumed.save()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000001", "000003"]
    _flip_a_bit(next((tmp_path / "checkpoints" / "000003").glob("*.data-*")))
    assert resumed.restore() and resumed.step == 1
    for variable, expected in zip(model.variables, weights[0], strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_a_state_whose_removal_was_cut_short_is_none_of_the_states(tmp_path, monkeypatch):
    claim(tmp_path)
    remove = shutil.rmtree

    def die_half_way(path, **options):
        if path.name.endswith(".old"):
            (path / "manifest.json").unlink()
            raise KeyboardInterrupt
        remove(path, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", die_half_way)
        save_states(tmp_path, [1, 2, 3])
    states = states_of(tmp_path)
    assert states.numbers() == [2, 3] and not any(map(states.damage, states.numbers()))
    assert [path.name for path in states.rests()] == [".000001.old"]
    claim(tmp_path, resume=True)
    assert states.rests() == []


def _flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def _remove(path):
    path.unlink()


def test_a_run_without_states_is_not_begun_over(tmp_path):
    claim(tmp_path)
    save_states(tmp_path, [1])
    (tmp_path / "best.keras").write_bytes(b"")
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(InputError, match=r"holds best.keras of a run, but no state"):
        claim(tmp_path, resume=True)
