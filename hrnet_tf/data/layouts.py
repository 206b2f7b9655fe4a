"""Where a split's annotations and images are: folders of COCO and of annotation tools, and spellings of names."""

import dataclasses
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike

# Of a split's annotations in its data directory: COCO and CVAT, then Roboflow, Label Studio and COCO-Annotator.
_ANNOTATIONS = (
    "annotations/person_keypoints_{split}.json",
    "{split}/_annotations.coco.json",
    "annotations/{split}.json",
    "{split}/annotations.json",
    "{split}/result.json",
    "{split}.json",
)
_IMAGES = ("images/{split}", "{split}", "{split}/images", "images", ".")


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """Where a split is: its annotation file, and the folders in which its images may be, the likeliest first."""

    annotations: str
    folders: tuple[str, ...]


def find_split(
    data_dir: PathLike | None,
    split: str,
    annotations: PathLike | None = None,
    images: PathLike | None = None,
    form: Format = COCO_FORMAT,
) -> SplitFiles:
    """Looks for the files of a split.

    Args:
        data_dir: folder of the data set; may be None where `annotations` are given.
        split: name of the split.
        annotations: the annotation file, where that is known.
        images: the folder of the images, where that is known.
        form: whose places are looked into first.

    Raises:
        InputError: a folder or file does not exist.
    """
    if images is not None and not os.path.isdir(images):
        raise InputError(f"image folder {images} does not exist")
    if annotations is not None:
        if not os.path.isfile(annotations):
            raise InputError(f"annotation file {annotations} does not exist")
        beside = os.path.dirname(annotations)
        folders = [os.path.join(beside, "images"), beside or ".", os.path.join(beside, os.pardir, "images")]
        return SplitFiles(os.fspath(annotations), tuple(folders) if images is None else (os.fspath(images),))
    if data_dir is None or not os.path.isdir(data_dir):
        raise InputError(f"data directory {data_dir} does not exist")
    short = split.removesuffix("2017")
    patterns = [pattern.format(split=short) for pattern in form.annotations]
    paths = [os.path.join(data_dir, p) for p in patterns + [p.format(split=split) for p in _ANNOTATIONS]]
    image_patterns = [pattern.format(split=short) for pattern in form.images]
    image_patterns += [pattern.format(split=split) for pattern in _IMAGES]
    for path in paths:
        if os.path.isfile(path):
            folders = [os.path.normpath(os.path.join(data_dir, pattern)) for pattern in image_patterns]
            return SplitFiles(path, tuple(folders) if images is None else (os.fspath(images),))
    raise InputError(
        f"annotation file {paths[0]} does not exist, nor one of another known layout. Check the data directory and the "
        f"split's name{_there_is(data_dir)}"
    )


def _there_is(data_dir):
    """The JSON files that are in a data directory, for an error."""
    found = []
    for folder in ("", "annotations", *sorted(_entries(data_dir))):
        names = sorted(name for name in _entries(os.path.join(data_dir, folder)) if name.endswith(".json"))
        found += [os.path.join(folder, name) for name in names]
    found = list(dict.fromkeys(found))
    if not found:
        return ""
    return f", or give --annotations=FILE --images=FOLDER. JSON files there: {listed(found)}"


def _entries(folder):
    """Names in a folder, none where it cannot be read or its name is none."""
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []


class ImageFolder:
    """Finds files in a folder under other spellings than theirs: backslashes, case, Unicode forms, other folders."""

    def __init__(self, folder: PathLike):
        self.folder = os.fspath(folder)
        self._names: dict[str, set[str]] = {}  # of each folder that was looked into
        self._by_key: dict[str, dict[str, list[str]]] = {}

    def paths(self, names: Sequence[str]) -> list[str]:
        """Paths of the files `names`; where none can be found, what the name says. No two names share a found file."""
        plain = [os.path.join(self.folder, name) for name in names]
        found = [
            path if self._is_there(path) else self._under_another_spelling(name)
            for name, path in zip(names, plain, strict=True)
        ]
        counts = Counter(found)
        return [
            other if other is not None and (other == path or counts[other] == 1) else path
            for other, path in zip(found, plain, strict=True)
        ]

    def _is_there(self, path):
        folder, name = os.path.split(path)
        return name in self._listed(folder)

    def _listed(self, folder):
        if folder not in self._names:
            self._names[folder] = set(_entries(folder or "."))
        return self._names[folder]

    def _under_another_spelling(self, name):
        """The path of a file, None where there is none or more than one."""
        for spelled in dict.fromkeys((name.replace("\\", "/"), unquote(name).replace("\\", "/"))):
            parts = [part for part in spelled.split("/") if part not in ("", ".")]
            for tail in (parts, parts[-1:]):
                path = self._walk(tail)
                if path and os.path.isfile(path):
                    return path
        return None

    def _walk(self, parts):
        path = self.folder
        for part in parts:
            if part in self._listed(path) or part == os.pardir:
                path = os.path.join(path, part)
                continue
            if path not in self._by_key:
                self._by_key[path] = {}
                for entry in self._listed(path):
                    self._by_key[path].setdefault(_key(entry), []).append(entry)
            alike = self._by_key[path].get(_key(part), [])
            if len(alike) != 1:
                return None
            path = os.path.join(path, alike[0])
        return path if parts else None


def _key(name):
    """What names that differ only in case and Unicode form have in common."""
    return unicodedata.normalize("NFC", name).casefold()
