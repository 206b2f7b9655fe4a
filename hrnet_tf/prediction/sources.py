"""Which files are to be predicted, and what stands for each of them in detections and results."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

import cv2

from hrnet_tf.data.layouts import ImageFolder
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable
from hrnet_tf.inputs import load_image


def find_images(
    path: PathLike,
    on_bad_image: Callable[[InputError], None],
    ids: Mapping[str, int] | None = None,
    recursive: bool = False,
) -> dict[Path, int | None]:
    """The image `path`, or the images in the folder `path` in order of their names; hidden files are not looked at.

    Args:
        path: of a file or folder.
        on_bad_image: called with the InputError of each file that is no image, or not among `ids`.
        ids: {file name: id}, or None. Names may have folders: they are looked into.
        recursive: whether all folders in the folder are.

    Returns:
        {path: number that stands for the image in detections}: its id, or without `ids` the number
        that its name consists of, as 785 for 000000000785.jpg, or None where it is not a number.

    Raises:
        InputError: `path` does not exist, or nothing there is an image.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    files = [path]
    if path.is_dir():
        entries = path.rglob("*") if recursive else path.iterdir()
        files = sorted(e for e in entries if not any(part.startswith(".") for part in e.relative_to(path).parts))
    known = _known(path, files, ids)
    numbers = {}
    for file in dict.fromkeys([*files, *known]):
        if file.is_dir():
            continue
        try:
            if ids is not None and file not in known:
                several = sum(PurePosixPath(name).name == file.name for name in ids) > 1
                why = "is one of several in the annotations with its name" if several else "is not in the annotations"
                raise InputError(f"{file} {why}")
            check_readable(file, "image")
            if not cv2.haveImageReader(str(file)):  # looks at the first bytes only
                load_image(file)  # says why
        except InputError as error:
            on_bad_image(error)
            continue
        number = int(file.stem) if file.stem.isdecimal() else None
        numbers[file] = number if ids is None else known[file]
    if not numbers:
        raise InputError(f"{path}: no image can be read there")
    return numbers


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
