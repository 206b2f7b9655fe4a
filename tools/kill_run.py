"""Kills a training again and again, fills its disk and flips bits in its states, and looks whether anything is lost.

    python tools/kill_run.py --kills=100
    python tools/kill_run.py --full_disks=20     # as root: mounts a tmpfs of a few MiB
    python tools/kill_run.py --flipped_bits=20

The training is that of `hrnet-tf train` from its work directory to its states (claim, step, loop, log, states, moving
average, best.keras), of a network and images so small that most of the time is theirs. Each part of it is a process of
its own, forked from one that has TensorFlow imported but not yet used. At least a third of the kills wait until a state
is being written. After each, all states that are there must be good, and the newest no older than the last one seen; in
the end losses, metrics and all variables must be those of a run that nothing happened to, to the last bit. Exit code 1
where something is not so.
"""

import argparse
import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from hrnet_tf.errors import InputError
from hrnet_tf.export import export_keras
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.loop import Plan, Trainer
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.run_state import Checkpoint, claimed, states_of
from hrnet_tf.training.schedules import WarmupCosineDecay
from hrnet_tf.training.step import make_train_step

PLAN = Plan(epochs=12, epoch_steps=3, eval_every=1, batch_size=2)
RUN = {"model": "tiny", "input_size": "16x16", "batch_size": PLAN.batch_size, "seed": 0}
TMPFS_MEGABYTES = 8
FAILED = 3  # exit code of a part that ended by anything but a line


def train(work_dir: Path) -> int:
    """The training, from wherever the folder's states are. Returns the exit code of `hrnet-tf train`."""
    with claimed(work_dir, RUN, resume=True, course={}):
        keras.utils.set_random_seed(0)
        images = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False)(images)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        model = with_fused_batch_norm(keras.Model(images, keras.layers.Conv2D(3, 1)(x)))
        optimizer = make_optimizer(
            WarmupCosineDecay(0.01, PLAN.last_step, 10), "float32", clip_norm=1, weight_decay=0.1
        )
        optimizer.build(model.trainable_variables)
        average, strategy = MovingAverage(model, 0.9), tf.distribute.get_strategy()
        checkpoint = Checkpoint(work_dir, model, optimizer, average)
        checkpoint.restore()
        images, heatmaps, weight = batch(-1)

        def evaluate():
            error = float(KeypointMSE()(heatmaps, average.model(images, training=False), weight))
            epoch = (
                checkpoint.step // PLAN.epoch_steps
            )  # the best of 7, 4, 1, 8, ... are few: a file takes long to write
            return {"AP": 7 * epoch % 10, "error": error}, np.zeros((4, 4, 3), np.uint8)

        return Trainer(
            strategy=strategy,
            model=model,
            optimizer=optimizer,
            train_step=make_train_step(
                strategy, model, optimizer, HeatmapObjective(KeypointMSE()), use_xla=False, average=average
            ),
            make_dataset=make_dataset,
            evaluate=evaluate,
            main_metric="AP",
            save_best=lambda metrics: export_keras(average.model, work_dir / "best.keras"),
            plan=PLAN,
            checkpoint=checkpoint,
            work_dir=work_dir,
            save_interval=0.2,
            average=average,
        ).run()


def batch(step: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(step + 1)
    images = rng.integers(0, 256, (PLAN.batch_size, 16, 16, 3)).astype(np.uint8)
    return images, rng.random((PLAN.batch_size, 4, 4, 3), np.float32), np.ones((PLAN.batch_size, 3), np.float32)


def make_dataset(first_step: int, last_step: int) -> tf.data.Dataset:
    specs = tuple(tf.TensorSpec(array.shape, array.dtype) for array in batch(0))
    return tf.data.Dataset.from_generator(lambda: map(batch, range(first_step, last_step)), output_signature=specs)


def start(work_dir: Path, log: Path) -> int:
    """Starts a part of the training in a process of its own; returns its number."""
    process = os.fork()
    if process:
        return process
    code = FAILED
    try:
        with open(log, "a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        code = train(work_dir)
    except (InputError, OSError) as error:  # what the commands make a line of
        is_line = isinstance(error, InputError) or error.errno == errno.ENOSPC
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 1 if is_line else FAILED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def result(work_dir: Path) -> dict:
    """What must be equal: variables by their hash, progress, what was logged but for times, and the best weights."""
    states = states_of(work_dir)
    manifest = json.loads((states.folder / f"{states.numbers()[-1]:06}" / "manifest.json").read_text())
    lines = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    left_out = {"learning_rate"}  # that of the moment in which the log is written
    logged = [{k: v for k, v in line.items() if k not in left_out} for line in lines if "save_seconds" not in line]
    with zipfile.ZipFile(work_dir / "best.keras") as best:
        weights = best.getinfo("model.weights.h5").CRC
    variables = {name: digest for name, digest in manifest["sha256"].items() if ".data-" in name}
    return {"variables": variables, "progress": manifest["progress"], "logged": logged, "best": weights}


class Trial:
    """One training after the other, disturbed until there was enough of it.

    Attributes:
        counts: of what has happened.
    """

    def __init__(self, folder: Path, logs: Path, seed: int):
        self.folder, self.logs, self.random = folder, logs, random.Random(seed)
        self.counts: Counter[str] = Counter()
        begun, self.work_dir = time.monotonic(), folder / "undisturbed"
        if code := self.wait(self.start()):
            raise SystemExit(f"the undisturbed run ended with {code}: {logs}")
        self.seconds, self.expected = time.monotonic() - begun, result(self.work_dir)
        print(f"undisturbed: {self.seconds:.1f} s, {PLAN.last_step} steps, {2 * PLAN.epochs} states", flush=True)
        self.begin()

    def begin(self) -> None:
        """A training of its own in a new folder."""
        self.counts["runs"] += 1
        self.work_dir, self.last_step = self.folder / f"run{self.counts['runs']}", -1
        self.flipped: Path | None = None  # the state that is damaged on purpose

    def start(self) -> int:
        self.counts["parts"] += 1
        return start(self.work_dir, self.logs / f"{self.work_dir.name}.log")

    def wait(self, process: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def fail(self, what: str) -> None:
        self.counts["failures"] += 1
        print(f"FAILED: {self.work_dir.name}: {what}", flush=True)

    def good(self) -> dict[int, int]:
        """{number: step} of the states without damage; any other, but for the one of a flipped bit, is a failure."""
        states, found = states_of(self.work_dir), {}
        for number in states.numbers():
            damage = states.damage(number)
            if not damage:
                found[number] = states.progress(number)["step"]
            elif states.path(number) != self.flipped:
                self.fail(f"state {number}: {damage}")
        return found

    def look(self) -> None:
        """Between two parts: every state is good, and the newest no older than before."""
        step = max(self.good().values(), default=-1)
        if step < self.last_step:
            self.counts["states lost"] += 1
            self.fail(f"the newest state is of step {step}, and was of {self.last_step}")
        self.last_step = step

    def end(self, code: int) -> None:
        """Compares a training that has ended by itself with the undisturbed one, and begins another."""
        if code:
            self.fail(f"ended with {code}")
        elif result(self.work_dir) != self.expected:
            self.fail("its result differs from the undisturbed one's")
        else:
            self.counts["finished and equal"] += 1
            shutil.rmtree(self.work_dir)
        self.begin()

    def kill(self, while_saving: bool) -> None:
        """Starts a part and kills it, at a random instant or in the writing of a state after that, or at its end."""
        process, instant = self.start(), time.monotonic() + self.random.uniform(0, self.seconds)
        staging: list[Path] = []
        while not (ended := os.waitpid(process, os.WNOHANG))[0]:
            if instant < time.monotonic() and (not while_saving or (staging := self.written())):
                time.sleep(self.random.uniform(0, 0.02) if while_saving else 0)
                os.kill(process, signal.SIGKILL)
                self.wait(process)
                self.counts["kills"] += 1
                self.counts["kills while a state was written"] += any(path.exists() for path in staging)
                self.look()
                return
            time.sleep(0.0005)
        self.end(os.waitstatus_to_exitcode(ended[1]))

    def written(self) -> list[Path]:
        """The states that are being written."""
        with contextlib.suppress(OSError):
            return [path for path in states_of(self.work_dir).rests() if path.name[1:].isdecimal()]
        return []

    def kill_often(self, kills: int) -> None:
        while self.counts["kills"] < kills or 3 * self.counts["kills while a state was written"] < kills:
            self.kill(while_saving=self.random.random() < 0.5)

    def flip_bits(self, flips: int) -> None:
        while self.counts["bits flipped"] < flips:
            runs = self.counts["runs"]
            self.kill(while_saving=False)
            good = self.good()
            if self.counts["runs"] > runs or len(good) < 2:
                continue
            self.flipped = states_of(self.work_dir).path(max(good))
            path = self.random.choice(sorted(self.flipped.iterdir()))
            content = bytearray(path.read_bytes())
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            path.write_bytes(content)
            self.counts["bits flipped"] += 1
            if max(good) in self.good():
                self.counts["without effect"] += 1  # of a bit of the manifest's progress, say
            self.last_step = max(self.good().values())

    def fill_disk(self, times: int) -> None:
        ballast = self.folder / "ballast"
        while self.counts["full disks"] < times:
            process = self.start()
            time.sleep(self.random.uniform(0, self.seconds))
            size = shutil.disk_usage(self.folder).free - self.random.randrange(32 << 10)
            with contextlib.suppress(OSError):  # where the training has taken the last of it meanwhile
                ballast.write_bytes(b"0" * max(size, 0))
            code = self.wait(process)
            ballast.unlink()
            if code == 1:
                self.counts["full disks"] += 1
                self.look()
            else:
                self.end(code)


@contextlib.contextmanager
def tmpfs(folder: str) -> Iterator[None]:
    """The folder as a file system of its own of a few MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MEGABYTES}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kills", "flipped_bits", "full_disks"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given, failures = parser.parse_args(), 0
    trials = {"kills": Trial.kill_often, "flipped_bits": Trial.flip_bits, "full_disks": Trial.fill_disk}
    for name, disturb in trials.items():
        if not getattr(given, name):
            continue
        begun = time.monotonic()
        logs = Path(tempfile.mkdtemp(prefix="kill_run_logs_"))
        with (
            tempfile.TemporaryDirectory() as folder,
            tmpfs(folder) if name == "full_disks" else contextlib.nullcontext(),
        ):
            trial = Trial(Path(folder), logs, given.seed)
            disturb(trial, getattr(given, name))
            trial.end(trial.wait(trial.start()))  # what was disturbed last goes on to its end
        told = {"states lost": 0, "failures": 0} | trial.counts
        failures += told["failures"]
        print(f"{name}: {told}, {time.monotonic() - begun:.0f} s; logs in {logs}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
