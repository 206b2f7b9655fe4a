"""Sizes and EXIF orientation of images, from their headers alone: decoding takes a hundred times longer."""

import dataclasses
import io
import os
import struct
from collections.abc import Sequence

import numpy as np

from hrnet_tf.data.decoding import exif_orientation
from hrnet_tf.data.omissions import Omission
from hrnet_tf.data.pixels import jpeg_frame
from hrnet_tf.data.shards import file_of, read_bytes
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable

_PNG_HEADER = 24
# Of so many images the sizes are compared before training: of all would take as long as reading them.
_NUM_COMPARED = 32


@dataclasses.dataclass(frozen=True)
class Header:
    """What a header says: `size` (width, height) as stored, EXIF `orientation` 1 to 8, whether the file `ends_well`."""

    size: tuple[int, int]
    orientation: int
    ends_well: bool


def read_header(path: PathLike) -> Header | None:
    """The `Header` of a JPEG or PNG file, or of one in a shard; None where there is none or the format is another."""
    try:
        check_readable(file_of(path))
        with open(path, "rb") if file_of(path) == path else io.BytesIO(read_bytes(path)) as file:
            data = file.read(_PNG_HEADER)
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64))
            tail = file.read()
            if data.startswith(b"\xff\xd8"):
                size, exif = jpeg_frame(file)
                return size and Header(size, exif_orientation(exif), b"\xff\xd9" in tail)
    except (OSError, InputError):
        return None
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) == _PNG_HEADER:
        return Header(struct.unpack(">II", data[16:24]), 1, b"IEND" in tail)
    return None


def is_turned(header: Header, size: Sequence[float]) -> bool:
    """Whether a size (width, height) is that of the image as EXIF turns it: orientations 5 to 8 exchange them."""
    return header.orientation >= 5 and tuple(size) == header.size[::-1] != header.size


def say_other_sizes(paths: Sequence[str], sizes: np.ndarray) -> Omission | None:
    """Compares the sizes of a few images with those of the annotations.

    Args:
        paths: of images, or places in shards; those that are absent are not looked at.
        sizes: [M,2] (width, height) as annotated.

    Returns:
        what is to be said of images of another size, None where there is none.

    Raises:
        InputError: most were annotated as EXIF turns them, so that boxes and keypoints are not where the pixels are.
    """
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _NUM_COMPARED)).astype(int)) if paths else ()
    headers = {i: header for i in chosen if (header := read_header(paths[i])) is not None}
    other = [i for i, header in headers.items() if tuple(sizes[i]) != header.size]
    turned = [i for i in other if is_turned(headers[i], sizes[i])]
    if not other:
        return None
    width, height = headers[other[0]].size
    wanted_width, wanted_height = sizes[other[0]].astype(int)
    example = f"{paths[other[0]]} has {width} x {height} pixels, annotated are {wanted_width} x {wanted_height}"
    if 2 * len(turned) > len(headers):
        raise InputError(
            f"{len(turned)} of {len(headers)} images looked at were annotated as EXIF turns them, but pixels are taken "
            f"as stored: {example}. Store them upright and without EXIF orientation (mogrify -auto-orient)"
        )
    what = f"of {len(headers)} images looked at have another size than annotated, so boxes and keypoints may not fit"
    return Omission("read as they are", what, len(other), 0, example)
