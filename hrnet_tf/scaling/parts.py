"""What a set of pictures consists of: its parts, each of which becomes one of the results.

A file of many pictures (Parquet, WebDataset's tar, TFRecord) is a part; of folders and lists so many pictures are.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import reason
from hrnet_tf.scaling.stores import listing, open_store, url_of

# By how the name of a file ends, which is all that a store tells without reading.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".avif", ".ppm")
KINDS = {
    "parquet": (".parquet",),
    "tar": (".tar", ".tar.gz", ".tgz"),
    "tfrecord": (".tfrecord", ".tfrecords", ".tfrecord.gz"),
}
_LIST = ".txt"


@dataclasses.dataclass(frozen=True)
class Part:
    """Pictures that are predicted, written and counted as done together.

    Attributes:
        name: of its results, without their ending: unique in its set.
        kind: "files", or one of `KINDS`.
        paths: of the pictures, or of the one file that has them.
        names: of the pictures of "files".
    """

    name: str
    kind: str
    paths: tuple[str, ...]
    names: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As text, as which it goes to other processes."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Part":
        """The part that `to_json` made the text of."""
        content = json.loads(text)
        return cls(content["name"], content["kind"], tuple(content["paths"]), tuple(content["names"]))


def find_parts(source: str, part_pictures: int) -> list[Part]:
    """The parts of a set, in order.

    Args:
        source: path or URL of a folder of images, of a folder of shards, of a shard, or of a text file with a path or
            URL in each line; relative ones are to the folder that the list is in.
        part_pictures: how many pictures of a folder or list are a part.

    Raises:
        InputError: there is nothing there, no picture or shard in it, shards of several kinds, or two of the same name.
    """
    store, path = open_store(source)
    try:
        is_folder, is_file = store.isdir(path), store.isfile(path)
    except Exception as error:  # each store raises its own
        raise InputError(f"cannot read {source}: {reason(error)}") from error
    if not is_folder and not is_file:
        raise InputError(f"{source} does not exist: give a folder, a list (.txt) or a shard")
    if is_file:
        return _of_file(source, store, path, part_pictures)
    names = listing(store, path)
    start = path.rstrip("/") + "/"
    shards = {name: kind for name in names if (kind := _kind(name))}
    if shards:
        return _shards(source, {name: url_of(store, start + name) for name in shards}, shards)
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        seen = f"files such as {listed(names, 80)}" if names else "nothing"
        raise InputError(
            f"{source}: no image ({', '.join(IMAGE_SUFFIXES[:3])}, ...) or shard (.parquet, .tar, .tfrecord) is in it. "
            f"Received: {seen}"
        )
    return _of_pictures(images, [url_of(store, start + name) for name in images], part_pictures)


def pictures_digest(parts: Sequence[Part]) -> str:
    """SHA-256 of the names of the pictures of a folder or list, by which it is told from another; "" of shards."""
    if parts[0].kind != "files":
        return ""
    return hashlib.sha256(
        "\n".join(name for part in parts for name in part.names).encode(errors="backslashreplace")
    ).hexdigest()


def _kind(name):
    """Which of `KINDS` a file is by its name, "" for none."""
    return next((kind for kind, suffixes in KINDS.items() if name.lower().endswith(suffixes)), "")


def _of_file(source, store, path, part_pictures):
    name = path.rpartition("/")[2]
    if kind := _kind(name):
        return _shards(source, {name: url_of(store, path)}, {name: kind})
    if not name.lower().endswith(_LIST):
        raise InputError(
            f"{source} is none of what is read: a folder, a list (.txt) of pictures, or a shard (.parquet, .tar, "
            ".tfrecord). `hrnet-tf predict` takes single images and videos"
        )
    try:
        lines = [line.strip() for line in store.cat_file(path).decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {source}: {reason(error)}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"the list {source} is empty: a path or URL of a picture in each line is wanted")
    folder = path.rpartition("/")[0]
    return _of_pictures(lines, [beside(url_of(store, folder), line) for line in lines], part_pictures)


def beside(folder: str, path: str) -> str:
    """A path or URL as it is where it is whole, else in `folder`."""
    return path if "://" in path or path.startswith("/") else f"{folder.rstrip('/')}/{path}"


def _of_pictures(names, paths, part_pictures):
    starts = range(0, len(names), part_pictures)
    return [
        Part(f"part-{i:06}", "files", tuple(paths[s : s + part_pictures]), tuple(names[s : s + part_pictures]))
        for i, s in enumerate(starts)
    ]


def _shards(source, paths, kinds):
    """A part of each shard, {name: path} of these kinds."""
    if len(set(kinds.values())) > 1:
        examples = [next(name for name in kinds if kinds[name] == kind) for kind in sorted(set(kinds.values()))]
        raise InputError(f"{source} has shards of several kinds, {listed(examples)}: give a folder of one kind")
    parts = {}
    for name, path in paths.items():
        suffix = max((s for s in KINDS[kinds[name]] if name.lower().endswith(s)), key=len)
        stem = name[: -len(suffix)]
        if stem in parts:
            raise InputError(f"{source}: results of {parts[stem].paths[0]} and {path} would have one name: rename one")
        parts[stem] = Part(stem, kinds[name], (path,))
    return list(parts.values())
