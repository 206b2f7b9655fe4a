"""The folder that downloads are kept in, and whose turn it is to write there."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import reason

HOME = "HRNET_TF_HOME"


def folder() -> Path:
    """HRNET_TF_HOME, else `hrnet_tf` in the platform's folder of caches. It need not exist."""
    if own := os.environ.get(HOME):
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hrnet_tf"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hrnet_tf"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hrnet_tf"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes the folder of `path`, and waits until no other process writes `path` (or what belongs to it).

    What a process that was killed has left of `path` is removed.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{path}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            progress.note(f"waiting for another process that is fetching {path.name}")
            lock.acquire()
    except OSError as error:
        raise InputError(
            f"cannot write to {path.parent}, where downloads are kept: {reason(error)}. {HOME} names another folder"
        ) from error
    try:
        for left in path.parent.glob(f".{path.name}.*"):  # of `files.replacing`
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()
