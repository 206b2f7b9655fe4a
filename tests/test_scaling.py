"""Sets of pictures: what is written of them, jobs that go on, and clusters. Without Ray, but for one slow test."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import cv2
import detectors
import dotted
import keras
import numpy as np
import pytest
from picture_sets import BROKEN, NAMES, file_contents, whole, write_sets
from tool_runs import complaint

from hrnet_tf import InputError, PosePredictor, export
from hrnet_tf.scaling import cluster, jobs, stores

pytest.importorskip("fsspec", reason="needs fsspec, of the extra ray")
with_arrow = pytest.mark.skipif(not stores.is_installed("pyarrow"), reason="needs pyarrow, of the extra ray")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"), file_contents())


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Of a small network and a detector that finds the same two people in every picture."""
    root = tmp_path_factory.mktemp("model")
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3))
    heatmaps = keras.layers.Conv2D(17, 4, strides=4)(keras.layers.Rescaling(1 / 255)(images))
    keras.Model(images, heatmaps).save(root / "net.keras")
    rows = np.float32([[[4, 4, 30, 50, 0.9, 0], [30, 10, 60, 58, 0.6, 0]]])
    detectors.constant_file(root / "detector.onnx", {"output0": rows}, (60, 80))
    return jobs.Settings(
        out_dir=str(root / "out"),
        model=jobs.Packed.of(root / "net.keras"),
        detector=jobs.Packed.of(root / "detector.onnx"),
        detector_size=None,
        box_threshold=0.3,
        image_column="image",
        max_pixels=10**6,
        flip_test=False,
        batch_size=4,
        precision="float32",
        jit_compile=None,
        tf32=True,
        trusted=False,
    )


@pytest.fixture(scope="module")
def worker(settings):
    pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra ray")
    from hrnet_tf.scaling.worker import PartWorker

    return PartWorker(settings)


def read_rows(path):
    import pyarrow.parquet as pq

    return pq.read_table(path)


def out_path(settings, name):
    return pathlib.Path(settings.out_dir, f"{name}.parquet")


@with_arrow
def test_of_a_network_of_whole_images_a_picture_too_long_is_a_row_that_says_so(settings, tmp_path):
    from hrnet_tf.scaling.worker import PartWorker

    export.export_keras(dotted.network(), tmp_path / "dotted.keras", dotted.CARD)
    (tmp_path / "pictures").mkdir()
    for name, size in (("crowd.png", (96, 150)), ("long.png", (10, 4000))):
        cv2.imwrite(str(tmp_path / "pictures" / name), dotted.paint([[(30, 2), (40, 7)]], size)[..., ::-1])
    model, out_dir = jobs.Packed.of(tmp_path / "dotted.keras"), str(tmp_path / "out")
    own = dataclasses.replace(settings, model=model, detector=None, out_dir=out_dir)
    part = whole(tmp_path / "pictures")
    assert PartWorker(own)(part) == (part.name, 2, 1, 1, "")
    rows = read_rows(out_path(own, part.name)).to_pylist()
    assert [row["image"] for row in rows] == ["crowd.png", "long.png"]
    assert rows[0]["error"] is None and "must not be so long and narrow" in rows[1]["error"]


def test_rows_are_what_the_predictor_says_of_each_picture(worker, settings, sets, tmp_path):
    part = whole(sets["folder"])
    outcome = worker(part)
    assert outcome == (part.name, 7, 1, 12, "")
    table = read_rows(out_path(settings, part.name))
    rows = table.to_pylist()
    assert [row["index"] for row in rows] == [0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6]
    assert [row["person"] for row in rows if row["image"] != BROKEN] == [0, 1] * 6
    (broken,) = (row for row in rows if row["image"] == BROKEN)
    assert "truncated or damaged" in broken["error"] and broken["person"] is None and broken["keypoints"] is None
    assert all(row["error"] is None and row["note"] is None for row in rows if row["image"] != BROKEN)
    folder = pathlib.Path(tmp_path)
    predictor = PosePredictor(
        settings.model.unpack(folder), flip_test=False, detector=settings.detector.unpack(folder / "detector")
    )
    for i in (0, 6):
        people = predictor.people(sets["folder"] / NAMES[i])
        mine = [row for row in rows if row["index"] == i]
        np.testing.assert_allclose([row["box"] for row in mine], people.boxes)
        np.testing.assert_allclose([row["score"] for row in mine], people.scores, rtol=1e-4)
        keypoints = np.reshape([row["keypoints"] for row in mine], (2, 17, 3))
        np.testing.assert_allclose(keypoints[..., 2], people.keypoints[..., 2], rtol=1e-4, atol=1e-6)
    assert len(table.schema.metadata[b"keypoints"].split(b",")) == 17


def test_pictures_that_are_absent_are_rows_and_damaged_shards_leave_nothing(worker, settings, sets, tmp_path):
    (tmp_path / "list.txt").write_text(f"{sets['folder'] / NAMES[0]}\nabsent.jpg\n")
    part = whole(tmp_path / "list.txt")
    assert worker(part)[1:] == (2, 1, 2, "")
    assert "No such file" in read_rows(out_path(settings, part.name)).to_pylist()[2]["error"]
    shard = tmp_path / "cut.tgz"
    shard.write_bytes(sets["tgz"].read_bytes()[:-100])
    outcome = worker(whole(shard))
    assert outcome.pictures == 0 and "cut.tgz is truncated" in outcome.error
    assert not [path for path in pathlib.Path(settings.out_dir).iterdir() if "cut" in path.name]


def test_jobs_go_on_and_others_are_refused(tmp_path):
    out, source = str(tmp_path / "out"), str(tmp_path / "in")
    assert jobs.open_job(out, {"model": "z"}, source) == set()  # of which no part was written
    assert jobs.open_job(out, {"model": "a", "flip_test": True}, source) == set()
    (tmp_path / "out" / "x.parquet").touch()
    rest = tmp_path / "out" / ".y.parquet.0123abcd"
    rest.touch()
    assert jobs.open_job(out, {"model": "a", "flip_test": True}, source) == {"x"}
    assert not rest.exists()
    with pytest.raises(InputError, match="of another job: model was 'a', is 'b'; flip_test was True, is False"):
        jobs.open_job(out, {"model": "b", "flip_test": False}, source)
    (tmp_path / "out" / "job.json").write_text("{")
    with pytest.raises(InputError, match=r"job.json cannot be read"):
        jobs.open_job(out, {}, source)
    (tmp_path / "out" / "job.json").unlink()
    with pytest.raises(InputError, match="they are of no job"):
        jobs.open_job(out, {}, source)
    with pytest.raises(InputError, match="which is read: give another folder"):
        jobs.open_job(out, {}, str(tmp_path))


def test_folders_are_packed_too(tmp_path):
    for name in ("saved_model.pb", "variables/variables.index"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text(name)
    packed = jobs.Packed.of(tmp_path / "model")
    copy = packed.unpack(tmp_path / "copy")
    assert copy.name == "model" and (copy / "variables" / "variables.index").read_text() == "variables/variables.index"
    assert jobs.Packed.of(copy).digest() == packed.digest()
    (copy / "saved_model.pb").write_text("other")
    assert jobs.Packed.of(copy).digest() != packed.digest()


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


def test_an_actor_takes_a_gpu_or_a_machine():
    head, small, large = node(), node(CPU=4.0), node(CPU=9.0)
    assert cluster.actors([head, small, large, node(alive=False, CPU=1.0)]) == (3, {"num_cpus": 4})
    gpus = [head, small, node(CPU=16.0, GPU=8.0), node(CPU=32.0, GPU=4.0)]
    assert cluster.actors(gpus) == (12, {"num_cpus": 2, "num_gpus": 1})
    with pytest.raises(InputError, match="no machine with a processor"):
        cluster.actors([head])


def test_addresses_that_do_not_answer_are_refused():
    for address, message in (("127.0.0.1:9", "cannot be reached: Connection refused"), ("head", "must be host:port")):
        with pytest.raises(InputError, match=message), cluster.connected(address):
            pass


def test_what_is_not_installed_is_said_in_one_line():
    with pytest.raises(
        InputError, match=r"needs absent_package, which is not installed: pip install 'hrnet_tf\[ray\]'"
    ):
        stores.check_installed("os", "absent_package")


def predict_dataset(settings, source, out_dir, folder, *flags):
    model, detector = settings.model.unpack(folder), settings.detector.unpack(folder)
    command = [sys.executable, "-m", "hrnet_tf.cli", "predict-dataset", source, f"--out_dir={out_dir}"]
    command += [f"--model={model}", f"--detector={detector}", "--noflip_test", *flags]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@with_arrow
@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(settings, sets, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(str(sets["folder"] / NAMES[i % 7]) for i in range(350)))
    arguments = settings, tmp_path / "list.txt"
    flag = "--part_pictures=10"
    assert ended(predict_dataset(*arguments, tmp_path / "whole", tmp_path, flag)).returncode == 0
    out = tmp_path / "out"
    process = predict_dataset(*arguments, out, tmp_path, flag)
    while len(list(out.glob("*.parquet"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert 3 <= len(there) < 35
    result = ended(predict_dataset(*arguments, out, tmp_path, flag))
    assert result.returncode == 0 and f"{len(there)} of 35 part(s) are there already" in result.stdout
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    assert sorted(path.name for path in out.iterdir()) == ["job.json", *(f"part-{i:06}.parquet" for i in range(35))]
    assert all(read_rows(path).equals(read_rows(tmp_path / "whole" / path.name)) for path in out.glob("*.parquet"))
    refused = complaint(ended(predict_dataset(*arguments, out, tmp_path, "--part_pictures=20")))
    assert "part_pictures was 10, is 20" in refused


@pytest.mark.slow
def test_a_machine_that_goes_away_leaves_every_picture_done_once(settings, sets, tmp_path):
    """A cluster of two on this machine, of which one is taken away; compared with one process."""
    pytest.importorskip("ray", reason="needs Ray, of the extra ray")
    command = [sys.executable, "tools/measure_ray.py", f"--images={sets['folder']}", f"--folder={tmp_path / 'work'}"]
    command += [f"--model={settings.model.unpack(tmp_path)}", f"--detector={settings.detector.unpack(tmp_path)}"]
    command += ["--pictures=200", "--part_pictures=10", "--norates"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=pathlib.Path(__file__).parents[1])
    assert result.returncode == 0, result.stderr
    assert "one machine removed: 200 of 200 pictures, the same people in all 20 parts" in result.stdout
