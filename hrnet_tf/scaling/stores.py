"""Files of this machine and of object stores alike, by fsspec: photos/, /data/a.tar, s3://bucket/shards."""

import contextlib
import importlib.util
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from hrnet_tf.errors import InputError
from hrnet_tf.files import reason

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What no file begins with: those are left out of folders, and half-written ones are called so.
HIDDEN = "."


def check_installed(*names: str) -> None:
    """Raises InputError where a package of the extra `ray` is absent."""
    absent = [name for name in names if not is_installed(name)]
    if absent:
        raise InputError(
            f"predict-dataset needs {' and '.join(absent)}, which is not installed: pip install 'hrnet_tf[ray]'"
        )


def is_installed(name: str) -> bool:
    """Whether a package is there; it is not imported."""
    return importlib.util.find_spec(name) is not None


def open_store(url: str) -> "tuple[AbstractFileSystem, str]":
    """The file system of a path or URL, and the path in it.

    Raises:
        InputError: there is no such kind of store, or its package is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except Exception as error:  # each store raises its own
        raise InputError(f"cannot open {url}: {reason(error)}") from error


def url_of(store: "AbstractFileSystem", path: str) -> str:
    """What `open_store` finds a path in a store by: the path itself on this machine."""
    return path if is_local(store) else store.unstrip_protocol(path)


def is_local(store: "AbstractFileSystem") -> bool:
    """Whether its files are those of this machine."""
    protocol = store.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


@contextlib.contextmanager
def writing(store: "AbstractFileSystem", path: str) -> Iterator[BinaryIO]:
    """Yields a file to write to, which takes the place of `path` once the block has ended well.

    It lies beside it under a hidden name of its own, so that a process that is killed leaves no half of a file, and two
    that write the same do not meet.

    Raises:
        InputError: it cannot be written.
    """
    parent, _, name = path.rpartition("/")
    temporary = f"{parent}/{HIDDEN}{name}.{uuid.uuid4().hex[:8]}"
    try:
        store.makedirs(parent, exist_ok=True)
        with store.open(temporary, "wb") as file:
            yield file
        store.mv(temporary, path)
    except BaseException as error:
        with contextlib.suppress(Exception):
            store.rm(temporary)
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path}: {reason(error)}") from error
        raise


def listing(store: "AbstractFileSystem", folder: str) -> list[str]:
    """Paths of all files in a folder and its folders, relative to it and in order; hidden ones are left out.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found: Any = store.find(folder)
    except Exception as error:
        raise InputError(f"cannot read folder {folder}: {reason(error)}") from error
    start = folder.rstrip("/") + "/"
    names = sorted(path.removeprefix(start) for path in found)
    return [name for name in names if not any(part.startswith(HIDDEN) for part in name.split("/"))]
