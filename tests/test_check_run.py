"""`hrnet-tf check-run`: what it says of work directories that are whole, damaged, left over in and in use."""

import json
import types

import keras
import pytest
from test_run_state import RUN, _flip_a_bit, claim, save_states

from hrnet_tf import InputError
from hrnet_tf.cli import check_run
from hrnet_tf.export import export_keras
from hrnet_tf.training.run_state import claimed


@pytest.fixture(scope="module")
def best_keras(tmp_path_factory):
    path = tmp_path_factory.mktemp("best") / "best.keras"
    images = keras.Input((32, 32, 3), name="images")
    export_keras(keras.Model(images, keras.layers.Conv2D(3, 1, strides=4)(images)), path)
    return path.read_bytes()


@pytest.fixture
def work_dir(tmp_path, best_keras, monkeypatch):
    """A run with states after the steps 1 and 2."""
    monkeypatch.setattr(check_run, "FLAGS", types.SimpleNamespace(clean=False))
    claim(tmp_path, RUN | {"batch_size": 8})
    save_states(tmp_path, [1, 2])
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    (tmp_path / "best.keras").write_bytes(best_keras)
    (tmp_path / "flags.txt").write_text("--epochs=1\n")
    return tmp_path


def test_a_whole_run_can_be_resumed(work_dir, capfd):
    assert check_run.main(str(work_dir)) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "model a, input_size 64x64, batch_size 8"
    assert lines[1:5] == [
        "state 000001: good, after step 1",
        "state 000002: good, after step 2",
        "metrics.jsonl: 2 lines",
        "best.keras: good",
    ]
    assert lines[5:] == [
        "export: none yet, it is written at the end",
        f"goes on after step 2: hrnet-tf train --flagfile={work_dir}/flags.txt --resume",
    ]


def test_damage_is_named_and_has_exit_codes(work_dir, capfd):
    _flip_a_bit(work_dir / "checkpoints" / "000002" / "state.index")
    with open(work_dir / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "lo')
    (work_dir / "best.keras").write_bytes((work_dir / "best.keras").read_bytes()[:-100])
    (work_dir / "export").mkdir()
    (work_dir / "export" / "model.keras").write_bytes(b"")
    (work_dir / "flags.txt").unlink()
    assert check_run.main(str(work_dir)) == 2
    said = capfd.readouterr().out
    assert "state 000002: damaged: state.index is not as it was written\n" in said
    assert "metrics.jsonl: 3 lines, 1 damaged, the first is line 3\n" in said
    assert "best.keras: damaged: " in said
    assert "export: model.keras; not saved_model/1, model.onnx, keypoints.onnx\n" in said
    assert said.endswith("goes on after step 1: the same command with --resume\n")
    (work_dir / "checkpoints" / "000001" / "manifest.json").write_text(json.dumps([]))
    assert check_run.main(str(work_dir)) == 3
    assert capfd.readouterr().out.endswith("no state is good. Choose another --work_dir to start over\n")


def test_what_is_left_over_is_told_and_removed_but_not_of_a_living_run(work_dir, capfd, monkeypatch):
    rest = work_dir / "checkpoints" / ".000003"
    rest.mkdir()
    (rest / "state.index").write_bytes(b"0" * 2**20)
    assert check_run.main(str(work_dir)) == 0
    assert "left over of killed processes: 1 folders, 1.0 MiB; --clean removes it" in capfd.readouterr().out
    monkeypatch.setattr(check_run.FLAGS, "clean", True)
    run = RUN | {"batch_size": 8}
    with claimed(work_dir, run, resume=True, course={}):
        rest.mkdir()
        with pytest.raises(InputError, match="another process trains in"):
            check_run.main(str(work_dir))
        monkeypatch.setattr(check_run.FLAGS, "clean", False)
        assert check_run.main(str(work_dir)) == 0
        assert capfd.readouterr().out.endswith("a process trains in it now\n") and rest.exists()
    monkeypatch.setattr(check_run.FLAGS, "clean", True)
    assert check_run.main(str(work_dir)) == 0
    assert "removed what killed processes have left: 1 folders, 0.0 MiB" in capfd.readouterr().out
    assert not rest.exists()


def test_what_is_no_work_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"it has no run\.json"):
        check_run.main(str(tmp_path))
    with pytest.raises(InputError, match="takes one work directory"):
        check_run.main()
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="not what a run has written"):
        check_run.main(str(tmp_path))
