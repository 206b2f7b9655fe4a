"""Reading JSON files, and writing files and folders so that a reader never meets half of one."""

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from hrnet_tf.errors import InputError, shown
from hrnet_tf.first_bytes import LOOKED_AT, what_it_is

# What names a file or folder.
PathLike = str | os.PathLike[str]

# What numbers of a file may be at most: coordinates in pixels, areas in square pixels. More is a damaged file.
MAX_COORDINATE = 1e6
MAX_AREA = 1e12
# Of a JSON file, which is in memory as a whole: the largest published annotations of people have half of it.
MAX_JSON_BYTES = 2 << 30

# What `replacing` calls its temporary folders: as `tempfile` does.
_WORKSPACE = re.compile(r"\..+\.[a-z0-9_]{8}")

# What is neither file nor folder, by `stat.S_IFMT`.
_SPECIAL = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a disk device",
}
# An output of the process itself, by the number of its descriptor.
_OWN_OUTPUT = re.compile(r"(?:/dev|/proc/self)/fd/(\d{1,6})")
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


def special_kind(path: PathLike) -> str:
    """What `path` is where that is neither file nor folder, such as "a pipe (FIFO)"; "" where it is, or is absent.

    Opening a pipe waits for ever, and devices have no end: what reads files asks here first.

    Raises:
        OSError: `path` is too long, or a circle of links.
        ValueError: there is a null in it.
    """
    try:
        return _SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        return ""


def check_readable(path: PathLike, what: str = "") -> None:
    """Raises InputError if `path` can be none, or is there but neither a file nor a folder.

    The line says `what`, such as "image", and the path.
    """
    try:
        kind = special_kind(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {f'{what} ' if what else ''}{path}: {reason(error)}") from error
    if kind:
        raise InputError(f"cannot read {f'{what} ' if what else ''}{path}: it is {kind}. Give a file")


def read_json(path: PathLike, with_segments: bool = False) -> Any:
    """Parses a JSON file.

    Args:
        path: of the file.
        with_segments: keep "segmentation", which is most of a COCO file and seldom used.

    Raises:
        InputError: the file cannot be read, is not JSON or has more than `MAX_JSON_BYTES`.
    """

    def without_segmentation(item: dict[str, Any]) -> dict[str, Any]:
        item.pop("segmentation", None)
        return item

    check_readable(path)
    if kind := kind_unlike(path, "text in JSON"):  # before all of it is in memory
        raise InputError(f"{path} is not valid JSON: {kind}")
    if os.path.isfile(path) and (size := os.path.getsize(path)) > MAX_JSON_BYTES:
        raise InputError(f"{path} has {size} bytes, of at most {MAX_JSON_BYTES}. Leave out what is not needed of it")
    try:
        with open(path, encoding="utf-8-sig") as file:  # editors on Windows put a mark in front
            return json.load(file, object_hook=None if with_segments else without_segmentation)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise InputError(f"{path} is not valid JSON: {error}") from error


def kind_unlike(path: PathLike, wanted: str) -> str:
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
            folder, with all that is in it, and a file only a file. Of a symbolic link what it points
            to is written, and the link stays. A device such as /dev/null, /dev/stdout or a pipe that
            somebody reads is written to once the block has ended.

    Raises:
        InputError: `path` cannot be written, such as no such folder, no permission or a full disk, or
            is a disk, a socket or a pipe that nobody reads.
    """
    path = Path(path)
    try:
        stream = _stream(path)
        target = path if stream is not None else Path(os.path.realpath(path)) if path.is_symlink() else path
        with (
            tempfile.TemporaryDirectory(
                prefix=f".{path.name}.", dir=None if stream is not None else target.parent, ignore_cleanup_errors=True
            ) as workspace,
            contextlib.ExitStack() as opened,
        ):
            output = opened.enter_context(os.fdopen(stream, "wb")) if stream is not None else None
            temporary = Path(workspace, path.name)
            yield temporary
            if output is None:
                _move(temporary, target, workspace)
            else:
                with open(temporary, "rb") as written:
                    shutil.copyfileobj(written, output)
    except Exception as error:
        if not _is_failure_to_write(error):
            raise
        raise InputError(f"cannot write {path}: {reason(error)}") from error


def _stream(path: Path) -> int | None:
    """A descriptor to write to what is no file: a device, a pipe, an output of this process; None of all others."""
    own = _OWN_OUTPUT.fullmatch(os.fspath(path))
    number = int(own[1]) if own else _STANDARD.get(os.fspath(path))
    if number is not None:
        sys.stdout.flush()
        return os.dup(number)
    kind = special_kind(path)
    if not kind:
        return None
    if kind not in (_SPECIAL[stat.S_IFCHR], _SPECIAL[stat.S_IFIFO]):
        raise InputError(f"cannot write {path}: it is {kind}. Give a file")
    try:
        stream = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what waits for a reader otherwise
            raise InputError(f"cannot write {path}: it is {kind} that nobody reads. Give a file") from error
        raise
    os.set_blocking(stream, True)
    return stream


def refuse_overwriting(outputs: Mapping[str, PathLike | None], inputs: Mapping[str, PathLike | None]) -> None:
    """Refuses to write over what is read; to be called before anything is written.

    Args:
        outputs: {what it is, such as "--json": path of a file, or None}.
        inputs: {what it is: path of a file, or of a folder whose files are inputs too, or None}.

    Raises:
        InputError: an output is one of the inputs, by whatever path, or a file in one of them.
    """
    read = [(name, os.path.realpath(path)) for name, path in inputs.items() if path and os.path.exists(path)]
    for output, path in outputs.items():
        if not path or not os.path.isfile(path):
            continue
        real = os.path.realpath(path)
        for name, source in read:
            inside = os.path.isdir(source) and Path(real).is_relative_to(source)
            if inside or os.path.samefile(real, source):
                what = f"is a file in the folder of {name}" if inside else f"would replace {name}"
                raise InputError(f"{output} {what} ({path}), which is read: give another path")


def rests(folder: PathLike) -> list[Path]:
    """What processes that were killed within `replacing` have left in a folder that nobody writes to now."""
    found = Path(folder).iterdir() if os.path.isdir(folder) else ()
    return [path for path in found if _WORKSPACE.fullmatch(path.name) and path.is_dir()]


def remove_rests(folder: PathLike) -> None:
    """Removes `rests`."""
    for path in rests(folder):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(path: PathLike, refusal: str) -> Iterator[None]:
    """Keeps other processes out of what a file stands for; the system takes the lock back from one that ends.

    Args:
        path: of the file, which is made if need be and stays.
        refusal: what to say where it is another process's.

    Raises:
        InputError: it is, with `filelock.Timeout` as its cause, or the file cannot be written.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(refusal) from error
    except OSError as error:
        raise InputError(f"cannot write {Path(path).parent}: {reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


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
