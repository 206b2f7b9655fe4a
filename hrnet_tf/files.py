"""Reading JSON and MATLAB files, and writing files and folders so that a reader never meets half of one."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from hrnet_tf.errors import InputError, shown
from hrnet_tf.first_bytes import LOOKED_AT, what_it_is

# What names a file or folder.
PathLike = str | os.PathLike[str]

# What numbers of a file may be at most: coordinates in pixels, areas in square pixels. More is a damaged file.
MAX_COORDINATE = 1e6
MAX_AREA = 1e12


def read_json(path: PathLike) -> Any:
    """Parses a JSON file, leaving out "segmentation", which is most of a COCO file and never used.

    Raises:
        InputError: the file cannot be read or is not JSON.
    """

    def without_segmentation(item: dict[str, Any]) -> dict[str, Any]:
        item.pop("segmentation", None)
        return item

    try:
        with open(path, encoding="utf-8-sig") as file:  # editors on Windows put a mark in front
            return json.load(file, object_hook=without_segmentation)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise InputError(f"{path} is not valid JSON: {_kind(path, 'text in JSON') or error}") from error


def read_mat(path: PathLike, names: Iterable[str], **options: Any) -> dict[str, Any]:
    """The variables `names`, as far as there are any, of a MATLAB file, by name; `options` are `scipy.io.loadmat`'s.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return scipy.io.loadmat(os.fspath(path), variable_names=list(names), appendmat=False, **options)
    except Exception as error:  # scipy raises many types on a damaged file
        why = _kind(path, "a MATLAB file") or reason(error)
        raise InputError(f"cannot read {os.fspath(path)} as a MATLAB file: {why}") from error


def _kind(path: PathLike, wanted: str) -> str:
    """ "it is ..." for a file that is not damaged but something else than `wanted`, else ""."""
    try:
        with open(path, "rb") as file:
            kind = what_it_is(file.read(LOOKED_AT))
    except OSError:
        return ""
    return f"it is {kind}" if kind and kind != wanted else ""


def json_numbers(values: object, count: int, limit: float = MAX_COORDINATE) -> np.ndarray:
    """An array [count] float64 of a list of numbers that a JSON file held.

    Raises:
        ValueError: it is anything else; neither text nor what is beyond ±`limit` is a number.
    """
    array = np.array(values)
    numbers = array.astype(np.float64) if array.dtype.kind in "biuf" else np.full(1, np.nan)
    if array.shape != (count,) or not (np.abs(numbers) <= limit).all():
        raise ValueError(f"{count} finite numbers up to {limit:g} are wanted. Received: {shown(values)}")
    return numbers


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Yields a path to write to, which takes the place of `path` once the block has ended well.

    The yielded path has the name of `path` and lies in a temporary folder beside it, so on the same
    file system. Whatever ends the block early (an error, Ctrl-C), `path` stays as it was and the
    temporary folder is removed. Only the writing belongs in the block: an OSError or TensorFlow
    error is taken for a failure to write.

    Args:
        path: the file or folder to write. One that exists is replaced; a folder replaces only a
            folder, with all that is in it, and a file only a file.

    Raises:
        InputError: `path` cannot be written, such as no such folder, no permission or a full disk.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True
        ) as workspace:
            temporary = Path(workspace, path.name)
            yield temporary
            _move(temporary, path, workspace)
    except Exception as error:
        if not _is_failure_to_write(error):
            raise
        raise InputError(f"cannot write {path}: {reason(error)}") from error


def _move(temporary: Path, path: Path, workspace: str) -> None:
    """Renames `temporary` to `path`.

    Only an empty folder can be renamed over, so an old folder first steps aside into `workspace`,
    and back should the new one not get its place.
    """
    if not (temporary.is_dir() and path.is_dir()):
        os.replace(temporary, path)
        return
    old = Path(tempfile.mkdtemp(dir=workspace), path.name)
    os.replace(path, old)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(old, path)
        raise


def _is_failure_to_write(error: Exception) -> bool:
    # TensorFlow's errors can only come from a TensorFlow that is imported already.
    tensorflow = sys.modules.get("tensorflow")
    return isinstance(error, OSError) or (tensorflow is not None and isinstance(error, tensorflow.errors.OpError))


def reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
