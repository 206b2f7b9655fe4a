"""The state that a run is resumed from, and whose run a work directory holds."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hrnet_tf.data.sequence import SEQUENCE_VERSION
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, read_json, reason, replacing
from hrnet_tf.models.build import build_model

if TYPE_CHECKING:
    import keras

_RUN_FILE = "run.json"
_CHECKPOINT_DIR = "checkpoints"


def claim_work_dir(work_dir: PathLike, run: dict[str, Any], resume: bool) -> None:
    """Makes sure that `work_dir` is this run's, creating it if need be.

    Args:
        work_dir: folder of the run.
        run: dict of what a checkpoint fits: the network, and what batches follow from.
        resume: go on with the run that is there, if one is.

    Raises:
        InputError: the folder has checkpoints of another run, of one whose crops follow from the
            seed in another way, or of this one without `resume`, or cannot be written.
    """
    sequence = {"sequence": SEQUENCE_VERSION}
    run = run | sequence
    path = os.path.join(work_dir, _RUN_FILE)
    if tf.train.latest_checkpoint(os.path.join(work_dir, _CHECKPOINT_DIR)):
        found = read_json(path)
        if found != run and isinstance(found, dict) and found | sequence == run:
            raise InputError(
                f"--work_dir {work_dir} holds a run of another version of hrnet_tf, whose random crops follow from the "
                "seed in another way, so that it cannot go on as it began. Finish it with the version that it was "
                "begun with, or choose another --work_dir to start over"
            )
        if found != run:
            raise InputError(
                f"--work_dir {work_dir} holds checkpoints of {found}, but this run is {run}. Choose another --work_dir"
            )
        if not resume:
            raise InputError(
                f"--work_dir {work_dir} holds a run already. Pass --resume to continue it, or choose another"
            )
    try:
        os.makedirs(work_dir, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create --work_dir {work_dir}: {error.strerror}") from error
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(run), encoding="utf-8")


def is_work_dir(path: PathLike) -> bool:
    """Whether `path` is the work directory of a run."""
    return os.path.isfile(os.path.join(path, _RUN_FILE))


def load_last(work_dir: PathLike) -> tuple[keras.Model, str]:
    """The network of a run as it was at its last checkpoint.

    Args:
        work_dir: folder of the run.

    Returns:
        A `keras.Model` in float32, and the codec that it is trained with.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    path = tf.train.latest_checkpoint(os.path.join(work_dir, _CHECKPOINT_DIR))
    if path is None:
        raise InputError(f"{work_dir} has no checkpoint yet")
    run = read_json(os.path.join(work_dir, _RUN_FILE))
    try:
        input_size = [int(side) for side in run["input_size"].split("x")]
        model = build_model(run["model"], input_size, run["num_keypoints"], channel_order=run["channel_order"])
        tf.train.Checkpoint(model=model).restore(path).assert_existing_objects_matched().expect_partial()
        return model, run["codec"]
    except (tf.errors.OpError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"cannot load the checkpoint {path}: {reason(error)}") from error


class Checkpoint:
    """Model, optimizer and progress of a run, saved under `<work_dir>/checkpoints`.

    Attributes:
        step: steps done.
        evaluated_step: the step of the last evaluation.
        best_metric: of the best evaluation so far, minus infinity before the first.
    """

    def __init__(self, work_dir: PathLike, model: keras.Model, optimizer: keras.optimizers.Optimizer):
        self._progress = {
            "step": tf.Variable(0, dtype=tf.int64),
            "evaluated_step": tf.Variable(0, dtype=tf.int64),
            "best_metric": tf.Variable(float("-inf"), dtype=tf.float64),
        }
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, **self._progress)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, os.path.join(work_dir, _CHECKPOINT_DIR), max_to_keep=1, checkpoint_name="last"
        )
        self.step, self.evaluated_step, self.best_metric = 0, 0, float("-inf")

    def save(self) -> None:
        """Writes the state; the one before it is removed only when the new one is complete."""
        for name, variable in self._progress.items():
            variable.assign(getattr(self, name))
        try:
            # Numbered by TensorFlow: a number used twice would be written over what is there.
            self._manager.save()
        except (tf.errors.OpError, OSError) as error:
            raise InputError(f"cannot write a checkpoint to {self._manager.directory}: {reason(error)}") from error

    def restore(self) -> bool:
        """Reads the last state, if there is one. Returns whether there was."""
        path = self._manager.latest_checkpoint
        if path is None:
            return False
        try:
            self._checkpoint.restore(path).assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, IndexError, ValueError) as error:  # of the reader, on a damaged file
            raise InputError(
                f"cannot resume from {path}: {reason(error)}. Choose another --work_dir to start over"
            ) from error
        for name, variable in self._progress.items():
            setattr(self, name, variable.numpy().item())
        return True
