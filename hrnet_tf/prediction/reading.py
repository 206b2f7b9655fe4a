"""Image files as pictures to predict people in, of whatever size they are."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import numpy as np

from hrnet_tf.ahead import ahead
from hrnet_tf.data.pixels import stored_size
from hrnet_tf.data.records import read_reduced
from hrnet_tf.errors import InputError
from hrnet_tf.prediction.boxes import BoxSource, Detected
from hrnet_tf.prediction.flow import LARGE, MAX_PIXELS
from hrnet_tf.prediction.results import Picture
from hrnet_tf.timing import timed

_HEADER = 1 << 16  # bytes of a file that its size is looked for in


def read_pictures(
    names: Mapping[Path, str],
    numbers: Mapping[Path, int | None],
    ids: Mapping[Path, int],
    boxes_of: BoxSource,
    check_size: Callable[[tuple[int, int], Path], None],
    on_bad_image: Callable[[InputError], None],
) -> Generator[Picture, None, None]:
    """A `Picture` for each of some files that can be read. They are read in threads, but large ones one at a time.

    JPEG files of more than `MAX_PIXELS` are read at half of their sides, or less, so that they have no more.

    Args:
        names: {path: name}.
        numbers: {path: what stands for it in detections}.
        ids: {path: what stands for it in results}.
        boxes_of: where to look for people.
        check_size: raises InputError for a picture of (H, W) and its path that cannot be predicted in.
        on_bad_image: called with the InputError of a file that cannot be read, or of such a picture.
    """
    with contextlib.closing(ahead(_read_ahead, names)) as found:
        for path, read_ahead in zip(names, found, strict=True):
            result = _read(path) if read_ahead is None else read_ahead
            try:
                if isinstance(result, InputError):
                    raise result
                image, factor = result
                check_size(image.shape[:2], path)
            except InputError as error:
                on_bad_image(error)
                continue
            boxes, scores = boxes_of(names[path], numbers[path], image)
            if factor > 1 and boxes is not None and not isinstance(boxes_of, Detected):
                boxes = boxes / np.float32(factor)  # they are in pixels of the file
            yield Picture(names[path], image, ids[path], boxes, scores, factor=factor)


def _read_ahead(path: Path) -> tuple[np.ndarray, int] | InputError | None:
    """What `_read` gives, None of a large picture."""
    try:
        with open(path, "rb") as file:
            size = stored_size(file.read(_HEADER))
    except OSError:
        size = None
    return None if size is not None and size[0] * size[1] > LARGE else _read(path)


def _read(path: Path) -> tuple[np.ndarray, int] | InputError:
    """The picture and by how much its sides are shorter than in the file; or why it cannot be read."""
    try:
        with timed("reading"):
            return read_reduced(path, MAX_PIXELS)
    except InputError as error:
        return error
