"""Whose run a work directory holds, and the state that it is resumed from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hrnet_tf import files, progress
from hrnet_tf.data.images import ImageRecords
from hrnet_tf.data.sequence import SEQUENCE_VERSION
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, read_json, reason, replacing, rests
from hrnet_tf.models.build import build_model
from hrnet_tf.models.clones import last_output
from hrnet_tf.models.variants import size_to_build
from hrnet_tf.training.states import States

if TYPE_CHECKING:
    import keras

    from hrnet_tf.data.records import PersonRecords
    from hrnet_tf.training.average import MovingAverage

_RUN_FILE, _LOCK, _STATES = "run.json", "lock", "checkpoints"
_COURSE = "course"  # in the run file
_SAID = 400  # characters


def fingerprint(records: PersonRecords | ImageRecords) -> str:
    """Of what is trained on: images' names, boxes, keypoints, which of them are annotated, and regions."""
    people = records.people if isinstance(records, ImageRecords) else records
    digest = hashlib.sha256(repr([os.path.basename(path) for path in people.image_paths]).encode())
    for array in (people.image_index, people.boxes, people.keypoints, people.visible):
        digest.update(array.tobytes())
    if isinstance(records, ImageRecords):
        digest.update(repr([records.image_index.tolist(), records.regions]).encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def claimed(work_dir: PathLike, run: dict[str, Any], resume: bool, course: dict[str, Any]) -> Iterator[None]:
    """Makes sure that `work_dir` is this run's, creating it if need be, and keeps others out meanwhile.

    What processes that were killed have left half-written is removed.

    Args:
        work_dir: folder of the run.
        run: {name: value} of what a state fits: the network, and what batches follow from.
        resume: go on with the run that is there, if one is.
        course: the same of what changes the course of a run but goes with any state, such as the learning rate. What
            differs from that of a run that goes on is said.

    Raises:
        InputError: the folder is another process's, has states of another run, naming what differs, or of
            this one without `resume`, or files of a run without any state, or cannot be written.
    """
    run = run | {"sequence": SEQUENCE_VERSION}
    folder = Path(work_dir)
    try:
        (folder / _STATES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create --work_dir {work_dir}: {reason(error)}") from error
    with locked(folder):
        _check(folder, run, resume, course)
        remove_left_over(folder)
        with replacing(folder / _RUN_FILE) as temporary:
            temporary.write_text(json.dumps(run | {_COURSE: course}), encoding="utf-8")
        yield


@contextlib.contextmanager
def locked(work_dir: PathLike) -> Iterator[None]:
    """Keeps other processes out of the work directory of a run; the system takes the lock back from one that ends.

    Raises:
        InputError: the folder is another process's, or cannot be written.
    """
    refusal = f"another process trains in --work_dir {work_dir}: end it, or choose another"
    with files.locked(Path(work_dir) / _LOCK, refusal):
        yield


def left_over(work_dir: PathLike) -> list[Path]:
    """What processes that were killed have left half-written in the work directory of a run."""
    folder = Path(work_dir)
    return [*rests(folder), *rests(folder / "export"), *states_of(folder).rests()]


def remove_left_over(work_dir: PathLike) -> None:
    """Removes it; for whoever has the folder `locked`."""
    for path in left_over(work_dir):
        shutil.rmtree(path, ignore_errors=True)


def states_of(work_dir: PathLike) -> States:
    """Of the run in a work directory."""
    return States(Path(work_dir) / _STATES)


def read_run(work_dir: PathLike) -> dict[str, Any]:
    """What was run in a work directory, {name: value}, as `claimed` was given it.

    Raises:
        InputError: the run file is not there or not what a run has written.
    """
    run = read_json(os.path.join(work_dir, _RUN_FILE))
    if not isinstance(run, dict):
        raise InputError(f"{work_dir}/{_RUN_FILE} is not what a run has written")
    return run


def _check(folder: Path, run: dict[str, Any], resume: bool, course: dict[str, Any]) -> None:
    """InputError unless the states in the folder, if any, are of `run`, to be resumed; another course is said."""
    if not states_of(folder):
        if (folder / "best.keras").exists():
            raise InputError(
                f"--work_dir {folder} holds best.keras of a run, but no state in {_STATES}/ that it could go on from. "
                "Choose another --work_dir"
            )
        return
    found = read_json(folder / _RUN_FILE)
    found = found if isinstance(found, dict) else {}
    before = found.pop(_COURSE, {})
    differences = _differences(found, run)
    if "sequence" in differences:
        raise InputError(
            f"--work_dir {folder} holds a run of another version of hrnet_tf, whose random crops follow from the "
            "seed in another way, so that it cannot go on as it began. Finish it with the version that it was "
            "begun with, or choose another --work_dir to start over"
        )
    if differences:
        raise InputError(
            f"--work_dir {folder} holds another run: {listed(differences.values())}. Choose another --work_dir"
        )
    if not resume:
        raise InputError(f"--work_dir {folder} holds a run already. Pass --resume to continue it, or choose another")

    if changed := _differences(before if isinstance(before, dict) else {}, course):
        told = listed(changed.values(), _SAID)
        progress.note(f"the run goes on in another way, and not to the result that it would have had: {told}")


def _differences(there: dict[str, Any], here: dict[str, Any]) -> dict[str, str]:
    """{name: both values in words} of what differs, in the order of names."""
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return {name: f"{name} {there.get(name)} there, {here.get(name)} here" for name in names}


def is_work_dir(path: PathLike) -> bool:
    """Whether `path` is the work directory of a run."""
    return os.path.isfile(os.path.join(path, _RUN_FILE))


def load_last(work_dir: PathLike) -> tuple[keras.Model, tuple[int, int], str]:
    """The network of a run, or the moving average of it where there is one, as it was at its last good state.

    Args:
        work_dir: folder of the run.

    Returns:
        A `keras.Model` in float32, (H, W) of the images that it is trained on, and the codec that it is trained with.

    Raises:
        InputError: there is no state, or all are damaged.
    """
    states, run = states_of(work_dir), read_run(work_dir)
    try:
        height, width = (int(side) for side in run["input_size"].split("x"))
        size = size_to_build(run["model"], (height, width))
        model = build_model(run["model"], size, run["num_keypoints"], channel_order=run["channel_order"])
        codec = run["codec"]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{work_dir}/{_RUN_FILE} is not what a run has written: {reason(error)}") from error
    evaluated = "average" if run.get("averaged") else "model"
    if states.load(tf.train.Checkpoint(**{evaluated: model}), whole=False) is None:
        raise InputError(f"{work_dir} has no checkpoint yet")
    return last_output(model), (height, width), codec


class Checkpoint:
    """Model, optimizer, average and progress of a run, saved under `<work_dir>/checkpoints`: see `States`.

    Attributes:
        step: steps done.
        evaluated_step: the step of the last evaluation.
        best_metric: of the best evaluation so far, minus infinity before the first.
        bad_steps: how many steps were skipped in a row, up to the last one.
        since_log: {name: number} of each step since the last entry in the log.
        variables: of model, optimizer and moving average.
    """

    def __init__(
        self,
        work_dir: PathLike,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        average: MovingAverage | None = None,
    ):
        more = {"average": average.model} if average else {}
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, **more)
        self._states = states_of(work_dir)
        averaged = average.model.variables if average else []
        self.variables = [v.value for v in (*model.variables, *optimizer.variables, *averaged)]
        self.step, self.evaluated_step, self.best_metric = 0, 0, float("-inf")
        self.bad_steps, self.since_log = 0, list[dict[str, float]]()
        self._saved_step = 0

    @property
    def saved(self) -> str:
        """Which state on the disk was the last to be saved or read, in words."""
        return (
            f"{self._states.latest}, after step {self._saved_step}"
            if self._states.latest
            else "none: there is none yet"
        )

    def save(self) -> dict[str, float]:
        """Writes the state. Returns what that took: "save_seconds" and "save_megabytes"."""
        start = time.monotonic()
        names = "step", "evaluated_step", "best_metric", "bad_steps", "since_log"
        size = self._states.save(self._checkpoint, {name: getattr(self, name) for name in names})
        self._saved_step = self.step
        return {"save_seconds": round(time.monotonic() - start, 3), "save_megabytes": round(size / 2**20, 3)}

    def restore(self) -> bool:
        """Reads the last good state, if there is one. Returns whether there was."""
        found = self._states.load(self._checkpoint)
        for name, value in (found or {}).items():
            setattr(self, name, value)
        self._saved_step = self.step
        return found is not None
