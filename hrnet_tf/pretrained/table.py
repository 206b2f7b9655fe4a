"""The list of published networks: that of the package, and one of one's own beside it.

Both are tables of text, columns separated by tabs, with a line of their names in front:

    name           what the network is asked for by
    network        of `build_model`, or "detector" for one of people (`hrnet_tf.detection`)
    input_size     height x width of the crops in pixels, such as 256x192; of the training images for a network of
                   whole images
    keypoint_set   a name of `hrnet_tf.skeletons.NAMES`, or "imagenet" for a classifier to start training from;
                   empty for a detector
    codec          a name of `hrnet_tf.codecs.CODECS`; msra where it is left out
    sha256         of the file: all of its 64 hexadecimal digits or the first 8 and more; empty where none is known
    urls           addresses of the same file, in the order in which they are tried, separated by spaces: weights of
                   PyTorch, or a `.keras` file; of a detector an `.onnx` file, or a `.zip` file with one in it
    metrics        accuracy as published: where and in which boxes, then the figures
    licence        of the repository that the weights are from, and which data they were trained on
    source         where the network is described
    note           what its user has to know

The environment variable HRNET_TF_PRETRAINED names a list of one's own, a file or an address, whose rows are added or
replace those of the same name; it needs the columns `_NEEDED` alone.
"""

import contextlib
import dataclasses
import difflib
import fnmatch
import functools
import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterator
from importlib import resources

from hrnet_tf import progress
from hrnet_tf.codecs import CODECS
from hrnet_tf.errors import InputError, listed, shown
from hrnet_tf.files import check_readable, reason, replacing
from hrnet_tf.models.variants import MODEL_NAMES, check_input_size, kind_of, size_divisor
from hrnet_tf.pretrained import cache
from hrnet_tf.pretrained.download import fetch_text
from hrnet_tf.skeletons import NAMES as KEYPOINT_SETS

OWN_LIST = "HRNET_TF_PRETRAINED"
CLASSIFIER = "imagenet"
DETECTOR = "detector"
_NEEDED = ("name", "network", "input_size", "keypoint_set", "sha256", "urls")
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}", re.ASCII)
HASH = re.compile(r"[0-9a-f]{8,64}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the list; `hrnet_tf.pretrained.table` tells what its columns are."""

    name: str
    network: str
    input_size: tuple[int, int]
    keypoint_set: str
    sha256: str
    urls: tuple[str, ...]
    codec: str = "msra"
    metrics: str = ""
    licence: str = ""
    source: str = ""
    note: str = ""

    @property
    def is_classifier(self) -> bool:
        """Whether it has no keypoints: something to start training from."""
        return self.keypoint_set == CLASSIFIER

    @property
    def kind(self) -> str:
        """Of the network: "top_down" or "bottom_up"."""
        return kind_of(self.network)

    @property
    def is_detector(self) -> bool:
        """Whether it finds people, for networks to predict the keypoints of."""
        return self.network == DETECTOR


def names(pattern: str = "*") -> tuple[str, ...]:
    """The names of the list, in its order.

    Args:
        pattern: a part of the names, or with `*` and `?` all of them.

    Raises:
        InputError: the list of HRNET_TF_PRETRAINED cannot be used.
    """
    whole = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return tuple(name for name in entries() if fnmatch.fnmatchcase(name, whole))


def find(name: str) -> Entry:
    """The row of a name.

    Raises:
        InputError: there is none, or the list of HRNET_TF_PRETRAINED cannot be used.
    """
    there = entries()
    if name not in there:
        nearest = difflib.get_close_matches(name, there, n=3, cutoff=0)
        raise InputError(
            f"no network is called {shown(name)}. The nearest are {', '.join(nearest)}; `hrnet-tf models` lists all"
        )
    return there[name]


def entries() -> dict[str, Entry]:
    """{name: row} of the package's list, and of that which HRNET_TF_PRETRAINED names.

    Raises:
        InputError: that list cannot be used.
    """
    own = os.environ.get(OWN_LIST)
    if not own:
        return _published()
    if own.startswith(("http://", "https://")):
        text = _text_at(own)
    else:
        check_readable(own)
        try:
            with open(own, encoding="utf-8-sig") as file:
                text = file.read()
        except (OSError, UnicodeError) as error:
            raise InputError(f"cannot read {own}, the list that {OWN_LIST} names: {reason(error)}") from error
    return _published() | read_list(text, own)


@functools.cache
def _published():
    text = resources.files(__package__).joinpath("networks.tsv").read_text(encoding="utf-8")
    return read_list(text, "networks.tsv")


@functools.cache  # asked for once by a process
def _text_at(url: str) -> str:
    """The list at an address, or where that cannot be had what it was when it was read last."""
    copy = cache.folder() / f"list-{hashlib.sha256(url.encode()).hexdigest()[:8]}.tsv"
    try:
        text = fetch_text(url)
    except InputError as error:
        if not copy.is_file():
            raise
        progress.note(f"note: {error}; the copy of it in {copy.parent} is taken")
        return copy.read_text(encoding="utf-8")
    read_list(text, url)
    with contextlib.suppress(OSError, InputError):  # a folder that cannot be written to
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text


def read_list(text: str, source: str) -> dict[str, Entry]:
    """{name: row} of a list.

    Args:
        text: of the file.
        source: what to name in errors.

    Raises:
        InputError: columns are missing, or a row cannot be used; its line and column are named.
    """
    rows = [(number, line.split("\t")) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    header = [column.strip() for column in rows[0][1]] if rows else []
    missing = [column for column in _NEEDED if column not in header]
    if missing:
        raise InputError(
            f"{source}: its first line must name the columns {', '.join(_NEEDED)}, with tabs between them. "
            f"Missing: {', '.join(missing)}. Received: {shown(text.partition(chr(10))[0])}"
        )
    found: dict[str, Entry] = {}
    for number, cells in rows[1:]:
        place = f"{source} line {number}"
        if len(cells) > len(header):
            raise InputError(f"{place} has {len(cells)} columns, and the first line names {len(header)}")
        row = dict(zip(header, map(str.strip, cells), strict=False))
        entry = _entry({column: row.get(column, "") for column in header}, place)
        if entry.name in found:
            raise InputError(f"{place}, column name: {entry.name} is there twice")
        found[entry.name] = entry
    return found


def _entry(row, place):
    """The `Entry` of {column: text}, or InputError with the column that cannot be used."""
    for column, rule in _problems(row):
        raise InputError(f"{place}, column {column}: must be {rule}. Received: {shown(row.get(column, ''))}")
    fields = {field.name: row[field.name] for field in dataclasses.fields(Entry) if row.get(field.name)}
    fields |= {column: row[column] for column in _NEEDED}
    size = _size(row)
    return Entry(**fields | {"input_size": size, "sha256": row["sha256"].lower(), "urls": tuple(row["urls"].split())})


def _problems(row) -> Iterator[tuple[str, str]]:
    """What is wrong with {column: text}: the column and what it must be."""
    if not _NAME.fullmatch(row["name"]):
        yield "name", "up to 100 letters, digits, '_', '-', '.' and '+'"
    if row["network"] not in (*MODEL_NAMES, DETECTOR):
        yield "network", f"one of {', '.join(MODEL_NAMES)}, or {DETECTOR}"
    if _size(row) is None:
        yield "input_size", f"height x width in multiples of {size_divisor(row['network'])}, as 256x192"
    if row["network"] == DETECTOR:
        if row["keypoint_set"]:
            yield "keypoint_set", "empty for a detector"
    elif row["keypoint_set"] not in (*KEYPOINT_SETS, CLASSIFIER):
        near = difflib.get_close_matches(row["keypoint_set"], KEYPOINT_SETS, n=3, cutoff=0)
        yield "keypoint_set", f"a keypoint set of hrnet_tf.skeletons.NAMES, the nearest being {listed(near)}"
    if row.get("codec") and row["codec"] not in CODECS:
        yield "codec", f"one of {', '.join(CODECS)}"
    if row["sha256"] and not HASH.fullmatch(row["sha256"].lower()):
        yield "sha256", "8 to 64 hexadecimal digits, or empty"
    if not row["urls"] or not all(map(is_address, row["urls"].split())):
        yield "urls", "addresses as https://host/file.pth, with spaces between them"


def is_address(text: str) -> bool:
    """Whether a text is an address that can be downloaded from."""
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path not in ("", "/")


def _size(row):
    try:
        return check_input_size([int(side) for side in row["input_size"].split("x")], row["network"])
    except ValueError:
        return None
