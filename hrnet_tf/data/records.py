"""People to crop: what every dataset format is read into, and reading the images that they are in."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from hrnet_tf import geometry
from hrnet_tf.data.decoding import decode, decode_reduced
from hrnet_tf.data.pixels import check_pixels, stored_size
from hrnet_tf.data.shards import file_of, read_bytes
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike
from hrnet_tf.first_bytes import LOOKED_AT, is_image, is_video, what_it_is
from hrnet_tf.skeletons import Skeleton

# An error has so many characters of names before it counts the rest.
_NAMES_LENGTH = 300


@dataclasses.dataclass(frozen=True)
class PersonRecords:
    """N people in M images, as arrays: 150,000 people take some 30 MB.

    Attributes:
        skeleton: the keypoint set, K keypoints.
        image_paths: M paths, or places in `shards`.
        image_ids: [M] int64, the ids of the annotation file.
        image_index: [N] int32 into the two above.
        boxes: [N,4] float32 (x, y, width, height) in pixels.
        box_scores: [N] float32, 1 for annotated boxes.
        keypoints: [N,K,2] float32 (x, y) in image pixels; zeros for detector boxes.
        visible: [N,K] float32, 1 for annotated keypoints, occluded ones included.
        category_ids: ids of the categories that the keypoint set is of; COCO's person by default.
        categories: [N] int64, everybody's category, None where all are of the first.
        omissions: what was left out, read in another way or assumed in reading, a sentence each.
    """

    skeleton: Skeleton
    image_paths: list[str]
    image_ids: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    category_ids: tuple[int, ...] = (1,)
    categories: np.ndarray | None = None
    omissions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_index)

    def take(self, people: np.ndarray | Sequence[int] | slice) -> Self:
        """The records of the people with the given indices or slice."""
        fields = ("image_index", "boxes", "box_scores", "keypoints", "visible")
        categories = None if self.categories is None else self.categories[people]
        taken = {name: getattr(self, name)[people] for name in fields}
        return dataclasses.replace(self, categories=categories, **taken)

    def crops(self, input_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Centres [N,2] and sizes [N,2] (width, height) of everybody's crop, in image pixels, for crops of (H, W)."""
        return geometry.box_to_center_size(self.boxes, input_size[1] / input_size[0])

    def path(self, person: int) -> str:
        """Path of the image that person number `person` is in."""
        return self.image_paths[self.image_index[person]]


def check_images_exist(records: PersonRecords) -> None:
    """Raises InputError, counting them and naming the first ones, if images with people in them are absent."""
    check_paths_exist([records.image_paths[i] for i in np.unique(records.image_index)])


def check_paths_exist(paths: Sequence[str]) -> None:
    """Raises InputError, counting them and naming the first ones, if images are absent."""
    absent = [path for path in paths if not os.path.isfile(file_of(path))]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(paths)} images listed in the annotations are absent: "
            f"{listed(absent, _NAMES_LENGTH)}. Complete the images or correct the data directory."
        )


def read_image(path: PathLike, turn: bool = False, note: Callable[[str], None] = warnings.warn) -> np.ndarray:
    """Reads an image as RGB [H,W,3] uint8: grey is repeated, alpha dropped, 16 bits are cut to 8.

    Of 16 bits that hold 12 or 8, all below 4096 or 256, these are taken, which is noted.

    Args:
        path: of the file, or a place in `shards`.
        turn: turn the picture as its EXIF orientation says. Annotations are of the pixels as stored,
            as in the reference.
        note: called with a line that names the file if it can be read but is damaged, or not taken as it is.

    Raises:
        InputError: the file is absent, truncated or no image; `pixels.TooManyPixelsError` if it is too large.
    """
    return decode_image(read_bytes(path), path, turn, note)


def decode_image(
    data: bytes, name: object, turn: bool = False, note: Callable[[str], None] = warnings.warn
) -> np.ndarray:
    """The same of the bytes of an image file, of which errors and notes say `name`."""
    check_pixels(stored_size(data), f"image {name}")
    image, said = decode(data, turn)
    if image is None:
        raise InputError(f"cannot decode image {name}: {_why_not(data)}")
    check_pixels(image.shape[1::-1], f"image {name}")
    if said:
        note(f"image {name}: {said}")
    return image


def read_reduced(path: PathLike, most_pixels: int) -> tuple[np.ndarray, int]:
    """Reads an image, turned upright, at as much of its size as has at most so many pixels, where that is a JPEG file.

    Args:
        path: of the file.
        most_pixels: from which on sides are halved, up to three times.

    Returns:
        RGB [H,W,3] uint8, and by how much its sides are shorter: 1, 2, 4 or 8.

    Raises:
        InputError: as `read_image`, by the size in the file.
    """
    data = read_bytes(path)
    size = stored_size(data)
    check_pixels(size, f"image {path}")
    pixels = size[0] * size[1] if size else 0
    factor = next((f for f in (1, 2, 4) if pixels <= most_pixels * f * f), 8)
    image = decode_reduced(data, factor, turn=True) if factor > 1 else None
    return (read_image(path, turn=True), 1) if image is None else (image, factor)


def read_shrunk(path: PathLike, factor: int) -> tuple[np.ndarray, int]:
    """Reads an image as stored with sides that are shorter by `factor`, 1, 2, 4 or 8, where that is a JPEG file.

    Returns:
        RGB [H,W,3] uint8, and by how much its sides are shorter: `factor` or 1.

    Raises:
        InputError: as `read_image`, by the size in the file.
    """
    data = read_bytes(path)
    check_pixels(stored_size(data), f"image {path}")
    image = decode_reduced(data, factor, turn=False) if factor > 1 else None
    return (decode_image(data, path), 1) if image is None else (image, factor)


def _why_not(data):
    """Why the bytes of a file cannot be decoded as an image."""
    kind = what_it_is(data[:LOOKED_AT])
    if is_image(data[:LOOKED_AT]):
        return f"truncated or damaged, though it begins as {kind} ({len(data)} bytes). Fetch or export it again"
    if is_video(data[:LOOKED_AT]):
        return f"it is {kind}, whatever its name ends in: `hrnet-tf predict` takes videos"
    return f"it is {kind}" if kind else f"truncated or not an image ({len(data)} bytes)"
