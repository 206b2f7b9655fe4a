"""Training on several machines: who is who, shares of batches, and the same run on any number of processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import write_dataset
from tool_runs import ROOT, command, training

from hrnet_tf import InputError
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.coco import load_split
from hrnet_tf.data.pipeline import evaluation_dataset, keypoint_dataset
from hrnet_tf.workers import Share, find_cluster

SLURM = {"SLURM_STEP_NODELIST": "gpu[01-02]", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_LOCALID": "1"}


@pytest.fixture
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == "TF_CONFIG"]:
        monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def members(cluster):
    return cluster.task_id, cluster.cluster_spec().as_dict()["worker"]


def test_the_cluster_is_the_flags_or_the_environments(environment):
    assert find_cluster() is None
    environment(SLURM_STEP_NUM_TASKS="4", SLURM_PROCID="3", **SLURM)
    assert members(find_cluster()) == (3, ["gpu01:22750", "gpu01:22751", "gpu02:22750", "gpu02:22751"])
    workers = ["one:1000", "two:1000", "two:1001"]
    environment(TF_CONFIG=json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": 1}}))
    assert members(find_cluster()) == (1, workers)
    assert members(find_cluster(["a:1", "b:1"], 0)) == (0, ["a:1", "b:1"])
    assert find_cluster(["a:1"], 0) is None


def test_a_single_task_of_slurm_trains_alone(environment):
    environment(SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0", **SLURM)
    assert find_cluster() is None


@pytest.mark.parametrize(
    ("workers", "worker", "wanted"),
    [
        (["a:1", "b:1"], None, "must say which of the 2 workers this is, from 0 to 1. Received: None"),
        (["a:1", "b:1"], 2, "from 0 to 1. Received: 2"),
        (["a:1", "a:1"], 0, "host:port of its own. Received: a:1"),
        (["a", "b:1"], 0, "host:port of its own. Received: a"),
        ([], 1, "--worker says which of --workers this is"),
    ],
)
def test_workers_that_make_no_sense_are_refused(workers, worker, wanted, environment):
    with pytest.raises(InputError, match=re.escape(wanted)):
        find_cluster(workers, worker)


@pytest.mark.parametrize(
    "config", ["{", "[]", '"x"', '{"cluster": {"ps": ["a:1"]}}', '{"cluster": {"worker": ["a:1", "b:1"]}}']
)
def test_a_tf_config_that_makes_no_sense_is_refused(config, environment):
    environment(TF_CONFIG=config)
    with pytest.raises(InputError, match=r"TF_CONFIG|--worker must say"):
        find_cluster()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    write_dataset(root, num_images=5, people_per_image=3)
    return load_split(root, "tiny")


@pytest.mark.parametrize("count", [2, 3])
def test_shares_put_together_are_the_batches_of_one(people, count):
    """Over two epochs, from a step in the middle, with the last batch of an epoch filled up."""

    def batches(share):
        dataset = keypoint_dataset(people, (64, 64), 6, Augmentation(), 3, 1, 6, share=share)
        return [[array.numpy() for array in batch] for batch in dataset]

    whole, parts = batches(Share()), [batches(Share(index, count)) for index in range(count)]
    assert len(whole) == 5
    for step, batch in enumerate(whole):
        for number, array in enumerate(batch):
            together = np.concatenate([part[step][number] for part in parts])
            np.testing.assert_array_equal(together, array)


def test_shares_of_an_evaluation_have_everybody_once(people):
    shares = [evaluation_dataset(people, (64, 64), 6, share=Share(index, 3)) for index in range(3)]
    found = np.concatenate([index.numpy() for share in shares for _, index in share])
    assert sorted(found[found >= 0]) == list(range(len(people)))
    assert len({len(list(share)) for share in shares}) == 1


def test_nothing_of_other_shares_is_kept(people):
    from hrnet_tf.data.crops import TrainingCrops
    from hrnet_tf.data.sequence import CropSequence

    crops = TrainingCrops(CropSequence(people, (64, 64), 6, Augmentation(), 0), 0, 6, share=Share(1, 2))
    for step in range(6):
        crops(step)
    assert not crops._kept


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import keras, numpy as np, seeded, tensorflow as tf
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_train_step, over_replicas
from hrnet_tf.workers import distributed, find_cluster, gathered, of_all, share_of, spread

index, addresses, output = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
cluster = find_cluster(addresses, index)
strategy = (
    tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster) if cluster else tf.distribute.get_strategy()
)
keras.utils.set_random_seed(0)
with strategy.scope():
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same")(images)
    x = keras.layers.BatchNormalization(synchronized=len(addresses) > 1)(x)
    model = keras.Model(images, keras.layers.Conv2D(3, 1)(keras.layers.Activation("softplus")(x)))
    optimizer = make_optimizer(1e-3, "float32", epsilon=1e-3)
    optimizer.build(model.trainable_variables)
share = share_of(strategy)
own = share.of(6)
# Only the first has the weights: the others get them.
model.set_weights([w + 0.01 * (index + 1) * (w.ndim > 1) for w in model.get_weights()])
spread(strategy, [v.value for v in (*model.variables, *optimizer.variables)])
step = make_train_step(strategy, model, optimizer, HeatmapObjective(KeypointMSE()), False, synchronized=True)

def batches():
    for i in range(20):
        rng = np.random.default_rng(i)
        whole = seeded.images(i, 6, 32, 32), rng.random((6, 8, 8, 3)).astype(np.float32), np.ones((6, 3), np.float32)
        yield tuple(array[own] for array in whole)

specs = tuple(tf.TensorSpec(a.shape, a.dtype) for a in next(batches()))
dataset = tf.data.Dataset.from_generator(batches, output_signature=specs)
told = [step(*batch) for batch in distributed(strategy, dataset)]
losses = [over_replicas(strategy, scalars["loss"]) for scalars in told]
everybody = of_all(strategy, [10 + index, -index])
rows = gathered(strategy, np.full((index, 2), index, np.int32))
weights = np.concatenate([w.ravel() for w in model.get_weights()])
np.savez(output, losses=losses, weights=weights, everybody=everybody, rows=rows)
"""


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def train_together(tmp_path, count):
    """What each of `count` processes has after 20 steps."""
    script = SCRIPT.format(tests=str(ROOT / "tests"))
    addresses = ",".join(free_addresses(count))
    outputs = [str(tmp_path / f"{count}_{index}.npz") for index in range(count)]
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(index), addresses, output])
        for index, output in enumerate(outputs)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0] * count
    return [np.load(output) for output in outputs]


@pytest.mark.slow
def test_two_and_three_processes_lose_as_one(tmp_path):
    (one,) = train_together(tmp_path, 1)
    assert one["losses"][-1] < 0.9 * one["losses"][0]
    for count in (2, 3):
        found = train_together(tmp_path, count)
        for part in found:
            np.testing.assert_allclose(part["losses"], one["losses"], rtol=1e-6)
            np.testing.assert_array_equal(part["weights"], found[0]["weights"])
            np.testing.assert_array_equal(part["everybody"], [[10 + i, -i] for i in range(count)])
            np.testing.assert_array_equal(part["rows"], [[i, i] for i in range(count) for _ in range(i)])


class Job:
    """`train` in two processes on the folder `root`/data."""

    def __init__(self, root, **flags):
        addresses = free_addresses(2)
        flags = training(root, **{"flip_test": "false", "epochs": 4, "eval_every": 2} | flags)
        options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.work_dir = root / "work"
        self.before = self.last_state()
        # The second has a folder of its own, in which nothing may appear.
        self.processes = [
            subprocess.Popen(
                command("train", **flags | {"work_dir": folder}, workers=",".join(addresses), worker=i), **options
            )
            for i, folder in enumerate((self.work_dir, root / "other"))
        ]
        assert not (root / "other").exists()

    def last_state(self):
        return max((int(path.name) for path in self.work_dir.glob("checkpoints/0*")), default=0)

    def wait_for_state(self):
        """Until the state has been saved by this job."""
        deadline = time.monotonic() + 240
        while self.last_state() == self.before:
            assert time.monotonic() < deadline and all(p.poll() is None for p in self.processes)
            time.sleep(0.1)

    def end(self, timeout=240):
        outputs = [process.communicate(timeout=timeout)[0] for process in self.processes]
        return [process.returncode for process in self.processes], outputs


@pytest.mark.slow
def test_a_lost_worker_ends_the_others_and_the_run_goes_on(tmp_path):
    write_dataset(tmp_path / "data", num_images=5)
    for victim, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGTERM)):
        job = Job(tmp_path, resume="true", epochs=10_000, eval_every=10_000, save_minutes=0)
        job.wait_for_state()
        job.processes[victim].send_signal(number)
        codes, outputs = job.end(timeout=120)
        if number == signal.SIGTERM:
            assert codes == [143, 143], outputs
            assert "the same command with --resume goes on from there" in outputs[0]
        else:
            assert codes[1 - victim] == 75, outputs
            assert "error: another worker is gone" in outputs[1 - victim].splitlines()[-1]
    step = json.loads(max(job.work_dir.glob("checkpoints/0*/manifest.json")).read_text())["progress"]["step"]
    epochs = step // 3 + 2  # 10 people in batches of 4
    codes, outputs = Job(tmp_path, resume="true", epochs=epochs, eval_every=epochs).end()
    assert codes == [0, 0], outputs
    assert f"resuming after step {step}" in outputs[0] and not (tmp_path / "other").exists()
    logged = [json.loads(line) for line in (job.work_dir / "metrics.jsonl").read_text().splitlines()]
    (evaluated,) = [entry for entry in logged if "AP" in entry]
    # The same evaluation by one process.
    metrics = tmp_path / "metrics.json"
    flags = {"model": job.work_dir / "best.keras", "data_dir": tmp_path / "data", "val_split": "tiny"}
    subprocess.run(command("evaluate", **flags, flip_test="false", metrics=metrics), cwd=ROOT, check=True)
    alone = json.loads(metrics.read_text())
    assert all(evaluated[name] == pytest.approx(alone[name], abs=1e-6) for name in ("AP", "AR", "AR50"))


@pytest.mark.slow
def test_workers_of_different_data_or_flags_are_refused(tmp_path):
    write_dataset(tmp_path / "data")
    addresses = ",".join(free_addresses(2))
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [
        subprocess.Popen(command("train", **training(tmp_path, seed=seed), workers=addresses, worker=worker), **options)
        for worker, seed in enumerate((0, 1))
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert all("error: the workers differ in seed: give all of them the same" in output for output in outputs)
    assert not (tmp_path / "work").exists()
