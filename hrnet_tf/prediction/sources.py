"""What is to be predicted, of paths as they are typed: images and videos, and what stands for each of them.

A path is that of an image, a folder, a video or a list of paths, a pattern such as `photos/*.jpg`, the address of a
stream or the number of a camera.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2

from hrnet_tf.data.layouts import ImageFolder
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, check_readable, reason
from hrnet_tf.inputs import load_image
from hrnet_tf.prediction.streams import Stream, stream_of
from hrnet_tf.prediction.video import is_video

LIST_SUFFIX = ".txt"


class Found(NamedTuple):
    """What there is to predict.

    Attributes:
        images: {path: number that stands for the image in detections}: its id, or without ids the number
            that its name consists of, as 785 for 000000000785.jpg, or None where it is not a number.
        videos: paths and `Stream`s.
    """

    images: dict[Path, int | None]
    videos: list[Path | Stream]


def find(
    paths: Iterable[str],
    on_bad_image: Callable[[InputError], None],
    ids: Mapping[str, int] | None = None,
    recursive: bool = False,
) -> Found:
    """What the paths name, in their order, folders and patterns in that of names; hidden files are not looked at.

    Args:
        paths: of images, folders, videos or lists (`.txt`, a path a line); patterns, addresses, numbers of cameras.
        on_bad_image: called with the InputError of each file that is neither image nor video, or not among `ids`.
        ids: {file name: id}, or None. Names may have folders: they are looked into.
        recursive: whether all folders in folders are.

    Raises:
        InputError: one of `paths` itself does not exist, or nothing of them can be read.
    """
    images: dict[Path, int | None] = {}
    videos: dict[Path | Stream, None] = {}
    for text, is_typed in _expanded(paths):
        stream = None if os.path.exists(text) else stream_of(text)
        if stream:
            videos[stream] = None
            continue
        try:
            found = _find_at(Path(text), on_bad_image, ids, recursive)
        except InputError as error:
            if is_typed:
                raise
            on_bad_image(error)
            continue
        if is_typed and os.path.isdir(text) and not any(found):
            raise InputError(f"{text}: no image can be read there")
        images |= found.images
        videos |= dict.fromkeys(found.videos)
    if not images and not videos:
        raise InputError(f"{listed(paths)}: no image can be read there")
    return Found(images, list(videos))


def find_images(
    path: PathLike,
    on_bad_image: Callable[[InputError], None],
    ids: Mapping[str, int] | None = None,
    recursive: bool = False,
) -> dict[Path, int | None]:
    """The image `path`, or those in the folder `path`: `find` for one path, without its videos.

    Raises:
        InputError: `path` does not exist, or nothing there is an image.
    """
    images, _ = _find_at(Path(path), on_bad_image, ids, recursive)
    if not images:
        raise InputError(f"{path}: no image can be read there")
    return images


def _expanded(paths):
    """(Path, whether it is one that was typed) of each, with what lists hold and what patterns match in their place."""
    for text in map(str, paths):
        if text.lower().endswith(LIST_SUFFIX) and os.path.isfile(text):
            yield from ((line, False) for line in _lines(text))
        elif glob.has_magic(text) and not os.path.exists(text) and not stream_of(text):
            matches = sorted(glob.glob(text, recursive=True))
            if not matches:
                raise InputError(f"{text}: nothing matches this pattern")
            yield from ((match, False) for match in matches)
        else:
            yield text, True


def _lines(path) -> Iterator[str]:
    """The lines of a list that are neither empty nor begin with a #."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a list of paths: {reason(error)}") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise InputError(f"{path}: a list of paths, one a line, without any")
    yield from found


def _find_at(path, on_bad_image, ids, recursive):
    """What there is at one path, `Found`; InputError if it does not exist."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    files = [path]
    if path.is_dir():
        entries = path.rglob("*") if recursive else path.iterdir()
        files = sorted(e for e in entries if not any(part.startswith(".") for part in e.relative_to(path).parts))
    known = _known(path, files, ids)
    found = Found({}, [])
    for file in dict.fromkeys([*files, *known]):
        if file.is_dir():
            continue
        try:
            check_readable(file, "image")
            if is_video(file):
                found.videos.append(file)
                continue
            if ids is not None and file not in known:
                several = sum(PurePosixPath(name).name == file.name for name in ids) > 1
                why = "is one of several in the annotations with its name" if several else "is not in the annotations"
                raise InputError(f"{file} {why}")
            if not cv2.haveImageReader(str(file)):  # looks at the first bytes only
                load_image(file)  # says why
        except InputError as error:
            on_bad_image(error)
            continue
        number = int(file.stem) if file.stem.isdecimal() else None
        found.images[file] = number if ids is None else known[file]
    return found


def _known(path, files, ids):
    """{path: id} of the files that `ids` names: with their folders, under `path` or as `path` goes on, else by name."""
    if not ids:
        return {}
    found = {}
    if path.is_dir():
        there = ImageFolder(path).paths(list(ids))
        pairs = zip(there, ids.values(), strict=True)
        found = {Path(file): number for file, number in pairs if os.path.isfile(file)}
    by_name: dict[str, list[str]] = {}
    for name in ids:
        by_name.setdefault(PurePosixPath(name.replace("\\", "/")).name, []).append(name)
    taken = set(found.values())
    for file in files:
        names = by_name.get(file.name, [])
        if file in found:
            continue
        ending = [name for name in names if file.absolute().as_posix().endswith("/" + name)]
        chosen = ending if ending else names
        if len(chosen) == 1 and ids[chosen[0]] not in taken:
            found[file] = ids[chosen[0]]
    return found


def root_of(paths: Iterable[Path]) -> Path:
    """The folder that all of these files are in, in it or in folders of it."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def picture_names(paths: Iterable[Path]) -> list[str]:
    """What to call image files: their names, with folders where they are in several."""
    paths = list(paths)
    root = root_of(paths)
    return [path.relative_to(root).as_posix() for path in paths]


def result_ids(numbers: dict[Path, int | None]) -> dict[Path, int]:
    """Ids for results of `find_images`' files: the numbers where each has one of its own, else 1, 2, 3 in order."""
    known = {path: number for path, number in numbers.items() if number is not None}
    if len(set(known.values())) == len(numbers):
        return known
    return {path: i for i, path in enumerate(numbers, start=1)}
