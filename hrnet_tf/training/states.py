"""The states of a run: folders of files with checksums, of which the last two good ones are kept.

    checkpoints/000012/state.index, state.data-00000-of-00001, manifest.json

A state is written beside, flushed to the disk and then renamed, so that a folder with a number is whole, whenever the
process is killed; what the disk itself damages is told by the checksums.
"""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, reason

# Errors of reading a state's own files.
_UNREADABLE = (OSError, LookupError, TypeError, ValueError, AttributeError)
_STATE, _MANIFEST = "state", "manifest.json"
_BLOCK = 1 << 22  # bytes that are hashed at a time


class States:
    """The numbered states in a folder.

    Attributes:
        folder: theirs.
        latest: folder of the one that was saved or read last; None before.
    """

    def __init__(self, folder: PathLike):
        self.folder = Path(folder)
        self.latest: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.numbers())

    def save(self, checkpoint: tf.train.Checkpoint, progress: dict[str, Any]) -> int:
        """Writes a state, and removes all others but the one that was saved or read before it.

        Args:
            checkpoint: variables.
            progress: {name: what JSON can hold} to be had again from `load`.

        Returns:
            its bytes.

        Raises:
            InputError: the disk is full, the folder is gone or cannot be written to.
        """
        numbers = self.numbers()
        number = max(numbers, default=0) + 1
        staging = self.folder / f".{number:06}"
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            checkpoint.write(str(staging / _STATE))
            (staging / "checkpoint").unlink(missing_ok=True)  # TensorFlow's own note of the latest
            files = {path.name: _sha256(path) for path in sorted(staging.iterdir())}
            manifest = staging / _MANIFEST
            content = {"progress": progress, "sha256": files, "sha256 of progress": _sha256_of(progress)}
            manifest.write_text(json.dumps(content), encoding="utf-8")
            size = sum(path.stat().st_size for path in staging.iterdir())
            for path in (*staging.iterdir(), staging):
                _flush(path)
            staging.rename(self.path(number))
            _flush(self.folder)
        except (tf.errors.OpError, OSError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise InputError(f"cannot write a checkpoint to {self.folder}: {reason(error)}") from error
        before, self.latest = self.latest, self.path(number)
        for path in map(self.path, numbers):
            if path != before:  # also newer ones, which were found to be damaged
                _remove(path)
        return size

    def load(self, checkpoint: tf.train.Checkpoint, whole: bool = True) -> dict[str, Any] | None:
        """Reads the newest state that is good, and says which were not.

        Args:
            checkpoint: the variables to set.
            whole: all that is in the state is wanted, not some variables alone.

        Returns:
            the `progress` that it was saved with, None where there is no state.

        Raises:
            InputError: there are states, none of which is good.
        """
        damage = ""
        for number in reversed(self.numbers()):
            path = self.path(number)
            try:
                progress_then = self._verified(path)
                status = checkpoint.read(str(path / _STATE))
                status.assert_existing_objects_matched()
                if not whole:
                    status.expect_partial()
                self.latest = path
                return progress_then
            # Of the reader, on what was never a state of these variables; IndexError on a damaged file.
            except (tf.errors.OpError, AssertionError, *_UNREADABLE) as error:
                damage = damage or f"{path}: {reason(error)}"
                progress.note(f"state {path} cannot be used: {reason(error)}")
        if damage:
            raise InputError(
                f"cannot resume from {damage}. No state before it is good: choose another --work_dir to start over"
            )
        return None

    def damage(self, number: int) -> str:
        """What is wrong with the files of a state, "" where they are as they were written."""
        try:
            self._verified(self.path(number))
        except _UNREADABLE as error:
            return reason(error)
        return ""

    def progress(self, number: int) -> dict[str, Any]:
        """What a state without `damage` was saved with."""
        return self._verified(self.path(number))

    def rests(self) -> list[Path]:
        """What processes that were killed have left while they wrote."""
        return list(self.folder.glob(".[0-9]*"))

    def path(self, number: int) -> Path:
        """The folder of a state."""
        return self.folder / f"{number:06}"

    def _verified(self, path: Path) -> dict[str, Any]:
        """The `progress` of a state whose files are as they were written; of `_UNREADABLE` where not."""
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        changed = [name for name, digest in manifest["sha256"].items() if _sha256(path / name) != digest]
        if manifest["sha256 of progress"] != _sha256_of(manifest["progress"]):
            changed.append(_MANIFEST)
        if changed:
            raise ValueError(f"{', '.join(changed)} is not as it was written")
        return manifest["progress"]

    def numbers(self) -> list[int]:
        """Of the states that there are, the oldest first."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())


def _sha256_of(progress: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(progress).encode()).hexdigest()


def _remove(path: Path) -> None:
    """Removes a state, of which a process that is killed meanwhile leaves nothing under its number."""
    aside = path.with_name(f".{path.name}.old")
    with contextlib.suppress(OSError):
        path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Makes sure that a file, or what is in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
