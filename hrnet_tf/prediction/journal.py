"""What of a run is done already, so that one that was interrupted goes on where it stopped."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, locked, reason, remove_rests

_JOURNAL, _LOCK = ".predict.jsonl", ".predict.lock"
# Of a file: what is called another one where it differs.
Identity = list[Any]


@contextlib.contextmanager
def claimed(out_dir: PathLike) -> Iterator[None]:
    """Keeps other processes out of a folder; where there is none one is made, and removed if it is empty at the end.

    What processes that were killed have left half-written there is removed.

    Raises:
        InputError: the folder is another process's, or cannot be written.
    """
    folder = Path(out_dir)
    was_there = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out_dir}: {reason(error)}") from error
    try:
        with locked(folder / _LOCK, f"another process writes to {out_dir}: end it, or give another folder"):
            remove_rests(folder)
            try:
                yield
            finally:
                (folder / _LOCK).unlink(missing_ok=True)
    finally:
        if not was_there:
            with contextlib.suppress(OSError):
                folder.rmdir()


class Journal:
    """Results of files, kept on disk as they come: a group of files is there as a whole or not at all.

    Groups are what goes through a network together. So whoever goes on after the last one has the same batches as if
    nothing had happened, and the same numbers to the last bit.

    Attributes:
        differing: names of the settings in which a run that was interrupted differed: nothing of it is taken.
    """

    def __init__(self, folder: PathLike, settings: Mapping[str, Any]):
        """Goes on with the journal in a folder if it is of the same settings, else begins one.

        Args:
            folder: where it is kept.
            settings: what results follow from, besides the files; of plain values.
        """
        self._path = Path(folder, _JOURNAL)
        self._places: dict[str, tuple[Identity, int]] = {}
        self.differing: list[str] = []
        settings = json.loads(json.dumps(settings))
        end = self._read(settings)
        self._file = open(self._path, "r+b" if end else "w+b")  # noqa: SIM115  # closed by `close`
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._file.write(json.dumps(settings).encode() + b"\n")

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, path: PathLike) -> bool:
        return os.path.realpath(path) in self._places

    def has(self, path: PathLike, identity: Identity) -> bool:
        """Whether the results of a file are there, and it is the same file still."""
        return self._places.get(os.path.realpath(path), (None, 0))[0] == identity

    def add(self, group: Iterable[tuple[PathLike, Identity, list[dict[str, Any]]]]) -> None:
        """Adds the path, identity and results of each file of a group."""
        entries = [(os.path.realpath(path), identity, results) for path, identity, results in group]
        start, lines = self._file.seek(0, os.SEEK_END), b""
        for i, (path, identity, results) in enumerate(entries, start=1):
            self._places[path] = identity, start + len(lines)
            lines += json.dumps([path, identity, results, i == len(entries)]).encode() + b"\n"
        self._file.write(lines)
        self._file.flush()

    def results(self, path: PathLike) -> list[dict[str, Any]]:
        """What was added for a file."""
        self._file.seek(self._places[os.path.realpath(path)][1])
        return json.loads(self._file.readline())[2]

    def close(self) -> None:
        """Ends the run: what is done stays for another one, unless that is nothing."""
        self._file.close()
        if not self._places:
            self._path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Ends the run for good."""
        self._places.clear()
        self.close()

    def _read(self, settings):
        """Reads the places of all whole groups; where the last of them ends, 0 if there is nothing to go on from."""
        try:
            file = open(self._path, "rb")  # noqa: SIM115  # closed below
        except FileNotFoundError:
            return 0
        with file:
            found = _parsed(file.readline())
            if found != settings:
                found = found if isinstance(found, dict) else {}
                self.differing = sorted(n for n in found.keys() | settings if found.get(n) != settings.get(n))
                return 0
            end = place = file.tell()
            group: dict[str, tuple[Identity, int]] = {}
            for line in file:
                entry = _parsed(line)
                if entry is None:
                    break
                path, identity, _, is_last = entry
                group[path] = identity, place
                place += len(line)
                if is_last:
                    self._places |= group
                    group, end = {}, place
        return end


def identity_of(path: PathLike, *more: Any) -> Identity:
    """What is called another file where it differs: size and time of the last change, and `more` of plain values."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, *more]


def fingerprint(path: PathLike) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder."""
    files = sorted(p for p in Path(path).rglob("*") if p.is_file()) if os.path.isdir(path) else [Path(path)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path)}\0".encode())
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _parsed(line: bytes) -> Any:
    """The value of a line, None of one that was not written to its end."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
