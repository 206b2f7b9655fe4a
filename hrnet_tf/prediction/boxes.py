"""Where to look for people in which picture: where a detector finds them, in the whole of it, in boxes given by hand,
or in a detector's of a file.

Each source is called with a picture's file name, its number and its pixels [H,W,3], and gives boxes [N,4] (None for the
whole picture) and their scores [N].
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from hrnet_tf.data.annotations import make_table
from hrnet_tf.data.detections import Box, read_detections
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.data.omissions import Omission, whole_number
from hrnet_tf.detection.calls import Detector, find_people
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, read_json
from hrnet_tf.inputs import checked_boxes
from hrnet_tf.pretrained.table import find, names
from hrnet_tf.skeletons import Skeleton
from hrnet_tf.skeletons.sets import facts
from hrnet_tf.timing import timed

# What people are found with unless it is said: it takes about as long as a person of HRNet-W32 with the flip test.
DEFAULT_DETECTOR = "yolox_s"

# File name, number and pixels of a picture -> boxes and scores.
BoxSource = Callable[[str | None, int | None, np.ndarray], tuple[np.ndarray | None, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Detected:
    """What a detector finds in the picture."""

    detector: Detector

    def __call__(self, name: str | None, number: int | None, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with timed("detection"):
            return find_people(self.detector, image)


def whole_image(name: str | None, number: int | None, image: np.ndarray) -> tuple[None, np.ndarray]:
    """Boxes and scores for a picture that is one box: what `Detections` gives for another."""
    return None, np.ones(1, np.float32)


def everybody(name: str | None, number: int | None, image: np.ndarray) -> tuple[None, np.ndarray]:
    """For a network of whole images, which needs no boxes."""
    return None, np.zeros(0, np.float32)


def is_of_people(model: str, skeleton: Skeleton) -> bool:
    """Whether a detector of people finds who has the keypoints of a network.

    Args:
        model: what it is called: of a published name its set counts, as macaques' keypoints are called as people's.
        skeleton: its keypoints.
    """
    if model in names():
        return facts(find(model).keypoint_set).get("of_people", False)
    return skeleton.is_of_people


class GivenBoxes:
    """The same boxes in every picture, from text such as "10,20,50,120; 80,20,50,120" (x, y, width, height)."""

    def __init__(self, text: str):
        """Raises InputError where the text is anything else."""
        try:
            boxes = [[float(number) for number in box.split(",")] for box in text.split(";")]
            self.boxes = checked_boxes(boxes, None)
        except ValueError as error:
            raise InputError(
                f"boxes must be like 10,20,50,120;80,20,50,120 (x, y, width, height; positive sizes). Received: {text}"
            ) from error

    def __call__(self, name: str | None, number: int | None, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.boxes, np.ones(len(self.boxes), np.float32)


class Detections:
    """A detector's boxes of a COCO results file: of the keypoint set's categories, of an area, of at least a score.

    A detection is of the picture whose file name it gives as `file_name`, or as a text in `image_id`, else of the one
    whose number is its `image_id`. Names may go without folders and without the ending.

    Attributes:
        category_id: the category to write results with.
        omissions: what was left out or assumed in reading.
    """

    def __init__(self, path: PathLike, threshold: float = 0.0, category_ids: Sequence[int] | None = None):
        """Reads the boxes of the categories `category_ids` (COCO's person by default).

        Raises:
            InputError: the file is absent or malformed, or has no box of these categories.
        """
        found, self.omissions = read_detections(path, category_ids or (1,))
        self.path = path
        categories = {box.category for box in found}
        self.category_id = (category_ids or (1,))[0]
        if category_ids is None and len(categories) == 1:
            (self.category_id,) = categories
        kept = [box for box in found if box.score >= threshold]
        if len(kept) < len(found):
            what = f"boxes that score less than {threshold:g}"
            self.omissions.append(Omission("left out", what, len(found) - len(kept), len(found)))
        self._numbered: dict[int, list[Box]] = {}
        self._named: dict[str, dict[str, list[Box]]] = {}  # by name without folders and ending, then by whole name
        for box in kept:
            number = whole_number(box.image_id)
            name = box.file_name if box.file_name is not None else box.image_id if number is None else None
            if name is not None:
                name = str(name).replace("\\", "/")
                self._named.setdefault(PurePosixPath(name).stem, {}).setdefault(name, []).append(box)
            elif number is not None:
                self._numbered.setdefault(number, []).append(box)
        self.count = len(kept)

    def __call__(
        self, name: str | None, number: int | None, image: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [N,4] and scores [N] of the picture of this file name and number (None if it has none)."""
        of_name = [] if name is None else self._of_name(name)
        boxes = of_name + ([] if number is None else self._numbered.get(number, []))
        rows = np.array([(*box.box, box.score) for box in boxes], np.float32).reshape(-1, 5)
        return rows[:, :4], rows[:, 4]

    def _of_name(self, name):
        """Boxes of the name that this one ends as, or that ends as this one; none where these are several."""
        picture = PurePosixPath(name)
        alike = self._named.get(picture.stem, {})
        if name in alike:
            return alike[name]
        found = [boxes for other, boxes in alike.items() if _is_end(PurePosixPath(other), picture)]
        return found[0] if len(found) == 1 else []

    def check_match(self, numbers: Mapping[str, int | None]) -> None:
        """Compares the detections with pictures, {name: number or None}; what is of none of them goes to `omissions`.

        Raises:
            InputError: no detection is of any of them.
        """
        matched = sum(len(self(name, number)[1]) for name, number in numbers.items())
        names = [name for group in self._named.values() for name in group]
        keys = listed([*map(str, self._numbered), *names], 80)
        if not matched:
            raise InputError(
                f"{self.path}: no person box is of these images, by 'file_name' or by 'image_id' (785 for "
                f"000000000785.jpg, or as in the annotations). Received: files such as {next(iter(numbers))}, "
                f"{self.count} detections of {keys or 'nothing'}"
            )
        if matched < self.count:
            what = "detections that are of none of these images"
            self.omissions.append(Omission("left out", what, self.count - matched, self.count, f"detections of {keys}"))


def _is_end(path, other):
    """Whether one of two paths of the same stem ends as the other; either may go without the name's ending."""
    if path.suffix and other.suffix and path.name != other.name:
        return False
    return all(one == two for one, two in zip(path.parts[-2::-1], other.parts[-2::-1], strict=False))


@dataclasses.dataclass(frozen=True)
class AnnotatedImages:
    """What an annotation file says about images and keypoints.

    Attributes:
        ids: {file name, with its folders: image id}.
        skeleton: the keypoints of its set, None where no category lists keypoints.
        category_ids: ids of the categories of the set, None where there is none.
        omissions: what was left out, read in another way or assumed.
    """

    ids: dict[str, int]
    skeleton: Skeleton | None
    category_ids: tuple[int, ...] | None
    omissions: list[Omission]


def read_annotations(path: PathLike, form: Format = COCO_FORMAT) -> AnnotatedImages:
    """The images and keypoints of a COCO-format file, or of another form of it, in which nobody needs to be annotated.

    Raises:
        InputError: the file is absent or not in COCO's format, or its keypoint set cannot be used.
    """
    content = read_json(path)
    table = make_table({"annotations": [], **content} if isinstance(content, dict) else content, str(path), form=form)
    table.check_all_but("nobody", "category", "people")
    ids = {table.images[i]["file_name"]: int(table.image_ids[i]) for i in np.flatnonzero(table.listed)}
    said = [o for o in table.omissions if not o.what.startswith("people")]  # who is annotated does not matter here
    return AnnotatedImages(ids, table.skeleton, table.category_ids or None, said)
