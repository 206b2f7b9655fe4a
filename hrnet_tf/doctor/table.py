"""A COCO-format file as arrays, however broken it is: what cannot be used is NaN.

Shapes: N annotations of the keypoint category ("people"), M images, K keypoints.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hrnet_tf.data.coco import check_image
from hrnet_tf.doctor.findings import NUM_EXAMPLES, Finding, by_share, example_id, first, printable
from hrnet_tf.errors import InputError
from hrnet_tf.files import MAX_AREA, MAX_COORDINATE, PathLike, json_numbers
from hrnet_tf.skeletons import Skeleton, keypoint_category, skeleton_from_category

# How many people a finding remembers for its pictures.
_MAX_ROWS = 100
# Rows that are read at once: one by one, 150,000 would take several seconds.
_BLOCK = 1000


@dataclasses.dataclass(frozen=True)
class Table:
    """The parsed file and its people as arrays.

    Attributes:
        images: M dicts of the file.
        sizes: [M,2] float64 (width, height), NaN where the entry of the image cannot be used.
        annotations: all dicts of the file.
        category: the keypoint category, None where there is none.
        skeleton: its `Skeleton`, None where it has none that can be used.
        people: N dicts, the annotations of that category.
        image_index: [N] into `images`, -1 where the image is not listed.
        boxes: [N,4] float64 xywh, area [N], crowd [N] bool.
        keypoints: [N,K,3] float64 x, y, visibility.
        labelled: [N,K] bool, visibility above 0.
        problems: what kept a category or skeleton from being used, texts.
    """

    images: list[dict[str, Any]]
    sizes: np.ndarray
    annotations: list[dict[str, Any]]
    category: dict[str, Any] | None
    skeleton: Skeleton | None
    people: list[dict[str, Any]]
    image_index: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    keypoints: np.ndarray
    labelled: np.ndarray
    problems: list[str]

    def __len__(self) -> int:
        return len(self.people)

    @property
    def person_sizes(self) -> np.ndarray:
        """[N,2] (width, height) of everybody's image, NaN where it is unknown."""
        return np.concatenate([self.sizes, np.full((1, 2), np.nan)])[self.image_index]

    def people_example(self, row: int) -> dict[str, int | str]:
        image = self.people[row].get("image_id")
        if self.image_index[row] >= 0:
            image = self.images[self.image_index[row]].get("file_name", image)
        return {"annotation": example_id(self.people[row].get("id")), "image": example_id(image)}

    def of_people(
        self,
        code: str,
        where: np.ndarray,
        message: str,
        advice: str,
        severity: str | None = None,
        among: np.ndarray | None = None,
    ) -> list[Finding]:
        """At most one finding, in a list: the people `where` [N] holds, among those `among` [N] (all) holds.

        Without a severity it is an error from half of the people on, else a warning.
        """
        count = int(where.sum())
        if not count:
            return []
        total = len(self) if among is None else int(among.sum())
        rows = first(where, _MAX_ROWS)
        examples = tuple(self.people_example(row) for row in rows[:NUM_EXAMPLES])
        severity = severity or by_share(count / total)
        return [Finding(code, severity, message, advice, count, total, examples, rows)]

    def of_images(
        self,
        code: str,
        indices: Sequence[int],
        message: str,
        advice: str,
        severity: str | None = None,
        total: int | None = None,
    ) -> list[Finding]:
        """At most one finding, in a list: the images with the given indices."""
        if not len(indices):
            return []
        total = len(self.images) if total is None else total
        examples = tuple({"image": image_name(self.images[i])} for i in indices[:NUM_EXAMPLES])
        rows = first(np.isin(self.image_index, indices), _MAX_ROWS)
        severity = severity or by_share(len(indices) / total)
        return [Finding(code, severity, message, advice, len(indices), total, examples, rows)]


def image_name(image: dict[str, Any]) -> str:
    """What to call an image in examples."""
    return printable(image.get("file_name") or image.get("id"))


def sections(content: object, path: PathLike) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """The lists of a parsed file by name, with what is no object left out, and how many entries that were.

    Raises:
        InputError: it is not a COCO-format file at all.
    """
    if isinstance(content, list):
        raise InputError(f"{path} is not in COCO format: it holds a list, as results files do. Use an annotation file")
    found = {}
    for name in ("images", "annotations", "categories"):
        section = content.get(name) if isinstance(content, dict) else None
        if not isinstance(section, list) and name != "categories":
            raise InputError(f"{path} is not in COCO format: it must hold a list '{name}' of objects")
        found[name] = section if isinstance(section, list) else []
    objects = {name: [item for item in items if isinstance(item, dict)] for name, items in found.items()}
    return objects, sum(len(found[name]) - len(objects[name]) for name in found)


def make_table(objects: dict[str, list[dict[str, Any]]], path: PathLike) -> Table:
    """The `Table` of the lists that `sections` gave."""
    images, annotations, problems = objects["images"], objects["annotations"], []
    sizes = np.full((len(images), 2), np.nan)
    for i, image in enumerate(images):
        try:
            check_image(image, path)
            sizes[i] = image["width"], image["height"]
        except InputError:
            continue
    category = skeleton = None
    try:
        category = keypoint_category(objects["categories"], path)
        skeleton = skeleton_from_category(category, path)
    except InputError as error:
        problems.append(str(error).removeprefix(f"{path}: "))
    people = [] if category is None else [a for a in annotations if a.get("category_id") == category["id"]]
    index = {image["id"]: i for i, image in enumerate(images) if isinstance(image.get("id"), int)}
    image_ids = [person.get("image_id") for person in people]
    num_keypoints = skeleton.num_keypoints if skeleton else 0
    keypoints = _columns([person.get("keypoints") for person in people], 3 * num_keypoints)
    keypoints = keypoints.reshape(len(people), num_keypoints, 3)
    return Table(
        images=images,
        sizes=sizes,
        annotations=annotations,
        category=category,
        skeleton=skeleton,
        people=people,
        image_index=np.array([index.get(i, -1) if isinstance(i, int) else -1 for i in image_ids], np.int64),
        boxes=_columns([person.get("bbox") for person in people], 4),
        area=_columns([[person.get("area")] for person in people], 1, MAX_AREA)[:, 0],
        crowd=np.array([bool(person.get("iscrowd", 0)) for person in people], bool),
        keypoints=keypoints,
        labelled=keypoints[..., 2] > 0,
        problems=problems,
    )


def _columns(rows, width, limit=MAX_COORDINATE):
    """[len(rows), width] float64 of lists of numbers; NaN in rows that are anything else."""
    table = np.full((len(rows), width), np.nan)
    whole = [i for i, row in enumerate(rows) if isinstance(row, list) and len(row) == width]
    for start in range(0, len(whole), _BLOCK):
        block = whole[start : start + _BLOCK]
        try:
            table[block] = _numbers([x for i in block for x in rows[i]], len(block), width, limit)
        except ValueError:
            for i in block:
                with contextlib.suppress(ValueError):
                    table[i] = json_numbers(rows[i], width, limit)
    return table


def _numbers(values, length, width, limit):
    return json_numbers(values, length * width, limit).reshape(length, width)
