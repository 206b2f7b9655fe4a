"""Where to look for people in which picture: the whole of it, boxes given by hand, or a detector's.

Each source is called with a picture's file name and number, and gives boxes [N,4] (None for the whole
picture) and their scores [N].
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_tf.data.coco import check_image
from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import PathLike, json_numbers, read_json
from hrnet_tf.prediction.predictor import checked_boxes
from hrnet_tf.skeletons import Skeleton, keypoint_category, skeleton_from_category

# File name and number of a picture -> boxes and scores.
BoxSource = Callable[[str | None, int | None], tuple[np.ndarray | None, np.ndarray]]


def whole_image(name: str | None, number: int | None) -> tuple[None, np.ndarray]:
    """Boxes and scores for a picture that is one box: what `Detections` gives for another."""
    return None, np.ones(1, np.float32)


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

    def __call__(self, name: str | None, number: int | None) -> tuple[np.ndarray, np.ndarray]:
        return self.boxes, np.ones(len(self.boxes), np.float32)


class Detections:
    """A detector's boxes of a COCO results file: of persons (category 1), of an area, with at least a given score.

    A detection is of the picture whose file name it gives as `file_name`, else of the one whose
    number is its `image_id`.
    """

    def __init__(self, path: PathLike, threshold: float = 0.0):
        """Raises InputError where the file is absent or malformed."""
        content = read_json(path)
        if not isinstance(content, list):
            raise InputError(f"{path} must hold a list of detections. Received: a {type(content).__name__}")
        self.path = path
        self.rows: dict[str | int | None, list[tuple[float, ...]]] = {}  # [box, score] by file name or number
        for number, detection in enumerate(content):
            try:
                if detection.get("category_id", 1) != 1:
                    continue
                box, (score,) = json_numbers(detection["bbox"], 4), json_numbers([detection["score"]], 1)
                name = detection.get("file_name")
                key = detection["image_id"] if name is None else os.path.basename(name)
                if np.float32(box[2]) > 0 and np.float32(box[3]) > 0 and score >= threshold:
                    self.rows.setdefault(key, []).append((*box, score))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(f"{path}: detection {number} is malformed. Received: {shown(detection)}") from error

    def __call__(self, name: str | None, number: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [N,4] and scores [N] of the picture of this file name and number (None if it has none)."""
        rows = np.array(self.rows.get(name, []) + self.rows.get(number, []), np.float32).reshape(-1, 5)
        return rows[:, :4], rows[:, 4]

    def check_match(self, numbers: Mapping[Path, int | None]) -> None:
        """Raises InputError if no detection is of any of the files, {path: number or None}."""
        if not any(len(self(path.name, number)[1]) for path, number in numbers.items()):
            name = next(iter(numbers)).name
            raise InputError(
                f"{self.path}: no person box is of these images, by 'file_name' or by 'image_id' (785 for "
                f"000000000785.jpg, or as in the annotations). Received: files such as {name}, detections of "
                f"{shown(list(self.rows)[:3])}"
            )


def read_annotations(path: PathLike) -> tuple[dict[str, int], Skeleton | None]:
    """What a COCO-format file says about images and keypoints.

    Returns:
        {file name: image id}, and the `Skeleton` of the first category with keypoints, or None.

    Raises:
        InputError: the file is absent or not in COCO's format.
    """
    content = read_json(path)
    sections: list[Any] = (
        [content.get(name, []) for name in ("images", "categories")] if isinstance(content, dict) else [None]
    )
    if not all(isinstance(part, list) and all(isinstance(item, dict) for item in part) for part in sections):
        raise InputError(f"{path} is not in COCO format: it must hold lists 'images' and 'categories' of objects")
    images, categories = sections
    for image in images:
        check_image(image, path)
    skeleton = None
    if any(category.get("keypoints") for category in categories):
        skeleton = skeleton_from_category(keypoint_category(categories, path), path)
    return {os.path.basename(image["file_name"]): image["id"] for image in images}, skeleton
