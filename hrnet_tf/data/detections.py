"""A detector's boxes, in COCO's results format: which are taken, and what is said of the others."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from hrnet_tf.data.omissions import FEW, Omission, short, whole_number
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, json_numbers, read_json


@dataclasses.dataclass(frozen=True)
class Box:
    """A detection: of an image by `image_id` or `file_name`, as the file has them; (x, y, width, height) in pixels."""

    image_id: Any
    file_name: str | None
    category: int
    box: tuple[float, float, float, float]
    score: float


def read_detections(path: PathLike, category_ids: Sequence[int]) -> tuple[list[Box], list[Omission]]:
    """The boxes of a COCO results file that have an area, of some categories.

    Boxes of a file all of whose boxes are of one other category are taken for the first of `category_ids`.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox", "score"}; a box may have a "file_name", and no category.
        category_ids: of the keypoint set.

    Returns:
        the boxes, and what was left out or assumed.

    Raises:
        InputError: the file is absent or no such list, many detections are malformed, or none is of these categories.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path} must hold a list of detections. Received: a {type(content).__name__}")
    boxes, bad = [], []
    for number, detection in enumerate(content):
        try:
            boxes.append(_box(detection, category_ids[0]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            bad.append(f"detection {number} is malformed ({reason})")
    omissions = []
    if len(bad) > FEW * len(content):
        raise InputError(f"{path}: {bad[0]}; such are {len(bad)} of {len(content)} detections")
    if bad:
        omissions.append(Omission("left out", "malformed detections", len(bad), len(content), bad[0]))
    boxes = _of_categories(boxes, category_ids, path, omissions)
    sized = [box for box in boxes if min(box.box[2:]) > 0]
    if len(sized) < len(boxes):
        what = "detections whose box has no width or no height"
        omissions.append(Omission("left out", what, len(boxes) - len(sized), len(boxes)))
    return sized, omissions


def _box(detection, category):
    """A `Box` of an object of the file; KeyError, TypeError or ValueError where it is malformed."""
    if not isinstance(detection, dict):
        raise TypeError(f"an object is wanted. Received: {short(detection)}")
    numbers = json_numbers(detection["bbox"], 4).astype("float32").tolist()
    (score,) = json_numbers([detection["score"]], 1)
    name = detection.get("file_name")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"'file_name' must be text. Received: {short(name)}")
    image_id = detection.get("image_id") if name is not None else detection["image_id"]
    if isinstance(image_id, list | dict):
        raise TypeError(f"'image_id' must be a number. Received: {short(image_id)}")
    if "category_id" in detection:
        category = whole_number(detection["category_id"])
        if category is None:
            raise ValueError(f"'category_id' must be an integer. Received: {short(detection['category_id'])}")
    return Box(image_id, name, category, tuple(numbers), float(score))


def _of_categories(boxes, category_ids, path, omissions):
    """The boxes of the keypoint set's categories, and what is said of others."""
    counts = collections.Counter(box.category for box in boxes)
    others = {category: count for category, count in counts.items() if category not in category_ids}
    if not others:
        return boxes
    wanted = short(list(category_ids[:4]))
    if len(others) == len(counts) == 1:
        (category,) = others
        what = f"detections of category {category} to be of the keypoint set's, {wanted}"
        omissions.append(Omission("assumed", what, len(boxes)))
        return boxes
    found = ", ".join(f"{count} of category {category}" for category, count in list(others.items())[:5])
    if len(others) == len(counts):
        raise InputError(
            f"{path}: no person box: no detection is of category {wanted}, the keypoint set's. Read: {len(boxes)} "
            f"detections, {found}. Give people that category_id"
        )
    count = sum(others.values())
    omissions.append(Omission("left out", f"detections of other categories than {wanted}", count, len(boxes), found))
    return [box for box in boxes if box.category in category_ids]
