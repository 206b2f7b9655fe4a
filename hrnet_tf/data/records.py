"""People to crop: what every dataset format is read into, and reading the images that they are in."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Self

import cv2
import numpy as np

from hrnet_tf import geometry
from hrnet_tf.data.shards import file_of, read_bytes
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.skeletons import Skeleton

# How many names an error lists before it counts the rest.
_MAX_NAMES = 5


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
    """

    skeleton: Skeleton
    image_paths: list[str]
    image_ids: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        return len(self.image_index)

    def take(self, people: np.ndarray | Sequence[int] | slice) -> Self:
        """The records of the people with the given indices or slice."""
        fields = ("image_index", "boxes", "box_scores", "keypoints", "visible")
        return dataclasses.replace(self, **{name: getattr(self, name)[people] for name in fields})

    def crops(self, input_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Centres [N,2] and sizes [N,2] (width, height) of everybody's crop, in image pixels, for crops of (H, W)."""
        return geometry.box_to_center_size(self.boxes, input_size[1] / input_size[0])

    def path(self, person: int) -> str:
        """Path of the image that person number `person` is in."""
        return self.image_paths[self.image_index[person]]


def check_images_exist(records: PersonRecords) -> None:
    """Raises InputError, counting them and naming the first ones, if images with people in them are absent."""
    used = np.unique(records.image_index)
    absent = [path for path in (records.image_paths[i] for i in used) if not os.path.isfile(file_of(path))]
    if absent:
        more = f" and {len(absent) - _MAX_NAMES} more" if len(absent) > _MAX_NAMES else ""
        raise InputError(
            f"{len(absent)} of {len(used)} images listed in the annotations are absent: "
            f"{', '.join(absent[:_MAX_NAMES])}{more}. Complete the images or correct the data directory."
        )


def read_image(path: PathLike, turn: bool = False) -> np.ndarray:
    """Reads an image as RGB [H,W,3] uint8: grey is repeated, alpha dropped, 16 bits are cut to 8.

    Args:
        path: of the file, or a place in `shards`.
        turn: turn the picture as its EXIF orientation says. Annotations are of the pixels as stored,
            as in the reference.

    Raises:
        InputError: the file is absent, truncated or no image.
    """
    data = read_bytes(path)
    flags = cv2.IMREAD_COLOR_RGB if turn else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # such as a header that claims more pixels than OpenCV takes
        image = None
    if image is None:
        raise InputError(f"cannot decode image {path}: truncated or not an image ({len(data)} bytes)")
    return image
