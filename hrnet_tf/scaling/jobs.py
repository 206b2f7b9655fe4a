"""What the parts in a folder are made with: kept beside them, so that those of two jobs do not come together."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import reason
from hrnet_tf.scaling.parts import Part
from hrnet_tf.scaling.stores import HIDDEN, listing, open_store, writing

_JOB = "job.json"
SUFFIX = ".parquet"


@dataclasses.dataclass(frozen=True)
class Packed:
    """A file, or a folder of files, that is sent to other machines: {path in it: content}, "" of a file itself."""

    name: str
    contents: dict[str, bytes]

    @classmethod
    def of(cls, path: Path) -> "Packed":
        """What lies at a path of this machine."""
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        # Beside a LiteRT file its card.
        beside = path.with_suffix(".json")
        if path.suffix == ".tflite" and beside.is_file():
            files.append(beside)
        root = path if path.is_dir() else path.parent
        return cls(path.name, {file.relative_to(root).as_posix(): file.read_bytes() for file in files})

    def unpack(self, folder: Path) -> Path:
        """Writes it into an empty folder, and gives its path there."""
        is_file = self.name in self.contents
        for name, content in self.contents.items():
            path = folder / name if is_file else folder / self.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / self.name

    def digest(self) -> str:
        """SHA-256 of the contents."""
        found = hashlib.sha256()
        for name, content in sorted(self.contents.items()):
            found.update(f"{name}\0{len(content)}\0".encode() + content)
        return found.hexdigest()


@dataclasses.dataclass(frozen=True)
class Settings:
    """How parts are predicted; goes to other processes.

    Attributes:
        out_dir: path or URL of the folder of results.
        model: the network's file.
        detector: that of what finds people, None where a picture is one person's or the network does so itself.
        detector_size: (h, w) of what it looks at, None for its file's or the default.
        box_threshold: least score of a box.
        image_column, max_pixels, flip_test, batch_size, precision, jit_compile, tf32: of the flags.
        trusted: whether a SavedModel may do more than compute.
    """

    out_dir: str
    model: Packed
    detector: Packed | None
    detector_size: tuple[int, int] | None
    box_threshold: float
    image_column: str
    max_pixels: int
    flip_test: bool
    batch_size: int
    precision: str
    jit_compile: bool | None
    tf32: bool
    trusted: bool


class Outcome(NamedTuple):
    """What came of a part: its name, counts, and why there are no results of it, "" where there are."""

    part: str
    pictures: int
    unreadable: int
    people: int
    error: str = ""


def open_job(out_dir: str, job: dict[str, object], source: str) -> set[str]:
    """Begins or continues a job.

    Args:
        out_dir: folder of its parts, path or URL; created.
        job: {flag or what else its results follow from: value}, of JSON.
        source: what is read, which must not be there.

    Returns:
        names of the parts that are there.

    Raises:
        InputError: the folder has parts of another job, or is in what is read, or cannot be written.
    """
    store, folder = open_store(out_dir)
    read_from, read = open_store(source)
    if type(store) is type(read_from) and f"{folder.rstrip('/')}/".startswith(f"{read.rstrip('/')}/"):
        raise InputError(f"--out_dir={out_dir} is in {source}, which is read: give another folder")
    path = f"{folder.rstrip('/')}/{_JOB}"
    there = {name.removesuffix(SUFFIX) for name in _listing(store, folder) if name.endswith(SUFFIX)}
    if there:
        _check_same(store, path, job, out_dir)
    else:
        with writing(store, path) as file:
            file.write(json.dumps(job, indent=1).encode())
    _remove_rests(store, folder)
    return there


def _check_same(store, path, job, out_dir):
    """Raises InputError where the parts of a folder are not of this job."""
    if not store.exists(path):
        raise InputError(f"{out_dir} has Parquet files and no {_JOB}, so they are of no job: give another folder")
    try:
        before = json.loads(store.cat_file(path))
        different = [name for name in {**before, **job} if before.get(name) != job.get(name)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{out_dir}: {_JOB} cannot be read: {reason(error)}. Give another folder") from error
    if different:
        said = "; ".join(f"{n} was {shown(before.get(n))}, is {shown(job.get(n))}" for n in different)
        raise InputError(f"{out_dir} has parts of another job: {said}. Give another folder, or what was given then")


def part_path(folder: str, part: Part) -> str:
    """Where in a folder the results of a part go."""
    return f"{folder.rstrip('/')}/{part.name}{SUFFIX}"


def _listing(store, folder):
    return listing(store, folder) if store.exists(folder) else []


def _remove_rests(store, folder):
    """Removes what killed processes had not written to its end."""
    for path in store.find(folder):
        name = path.rpartition("/")[2]
        if name.startswith(HIDDEN) and f"{SUFFIX}." in name:
            store.rm(path)
