"""One reading of COCO-format annotations, which training, evaluation and the doctor share.

However broken a file is, it becomes a table: what cannot be used is NaN or left out. `AnnotationTable.omissions` say
what was left out, read in another way or assumed, and `problems` why the file is refused, if it is.

Shapes: M images, N annotations of the keypoint set ("people"), K keypoints.
"""

import contextlib
import dataclasses
from typing import Any

import numpy as np

from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.data.keypoint_sets import find_set, known_set
from hrnet_tf.data.omissions import FEW, Omission, short, whole_number
from hrnet_tf.data.people import judged
from hrnet_tf.errors import InputError
from hrnet_tf.files import MAX_AREA, MAX_COORDINATE, PathLike, json_numbers, read_json
from hrnet_tf.skeletons import Skeleton

# Rows that are read at once: one by one, 150,000 would take several seconds.
_BLOCK = 1000
# Texts of iscrowd that stand for 0.
_NO_CROWD = ("", "0", "0.0", "false", "no", "none", "null")


@dataclasses.dataclass(frozen=True)
class AnnotationTable:
    """A parsed annotation file and its people as arrays.

    Attributes:
        path: what to call the file.
        images: M dicts of the file.
        image_ids: [M] int64, 0 where `listed` is False.
        sizes: [M,2] float64 (width, height), NaN where the entry of the image cannot be used.
        listed: [M] bool, images that count: not those that cannot be used and not repeated entries.
        annotations: all dicts of the file.
        num_foreign: entries of its lists that are no objects.
        category: the first category of the keypoint set, None where there is none.
        category_ids: ids of all categories of the set.
        skeleton: its `Skeleton`, None where it has none that can be used.
        people: N dicts, the annotations of these categories.
        person_categories: [N] int64.
        image_index: [N] into `images`, -1 where the image is not listed.
        boxes: [N,4] float64 xywh as written.
        clipped: [N,4] float64, the boxes' parts inside their images, as the reference clips them.
        area: [N] float64 as written, NaN where it is no number.
        areas: [N] float64, those that count: of the box where none is written.
        crowd: [N] bool.
        keypoints: [N,K,3] float64 x, y, visibility.
        labelled: [N,K] bool, visibility above 0.
        reasons: [N] of `people.REASONS`, why somebody is left out; "" for those who count.
        omissions: what was left out, read in another way or assumed.
        problems: why the file is refused, a line by kind: "entries" and "images" that are malformed, no "category"
            with keypoints, a "set" that cannot be used, "people" that are malformed, "nobody" left.
        form: the form in which the file was read.
    """

    path: str
    images: list[dict[str, Any]]
    image_ids: np.ndarray
    sizes: np.ndarray
    listed: np.ndarray
    annotations: list[dict[str, Any]]
    num_foreign: int
    category: dict[str, Any] | None
    category_ids: tuple[int, ...]
    skeleton: Skeleton | None
    people: list[dict[str, Any]]
    person_categories: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    clipped: np.ndarray
    area: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    keypoints: np.ndarray
    labelled: np.ndarray
    reasons: np.ndarray
    omissions: list[Omission]
    problems: dict[str, str]
    form: Format

    def __len__(self) -> int:
        return len(self.people)

    @property
    def used(self) -> np.ndarray:
        """[N] bool: whom training takes and evaluation counts."""
        return self.reasons == ""

    @property
    def person_sizes(self) -> np.ndarray:
        """[N,2] (width, height) of everybody's image, NaN where it is unknown."""
        return np.concatenate([self.sizes, np.full((1, 2), np.nan)])[self.image_index]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was left out, read in another way or assumed, a line each."""
        return tuple(map(str, self.omissions))

    def check_all_but(self, *kinds: str) -> None:
        """Raises InputError where the file is refused for other reasons than those of these kinds."""
        for kind, problem in self.problems.items():
            if kind not in kinds:
                raise InputError(problem)

    def keypoint_set(self) -> tuple[dict[str, Any], Skeleton]:
        """The category and its skeleton.

        Raises:
            InputError: the file is refused; `problems` say why.
        """
        self.check_all_but()
        assert self.category is not None and self.skeleton is not None  # else there is a problem
        return self.category, self.skeleton


def read_annotations(path: PathLike, form: Format = COCO_FORMAT, with_segments: bool = False) -> AnnotationTable:
    """The `AnnotationTable` of a file in COCO's format, or in another set's form of it; its `people` may have segments.

    Raises:
        InputError: it cannot be read, is not JSON or not COCO-format at all. Whatever else is wrong is in the table.
    """
    return make_table(read_json(path, with_segments), str(path), form=form)


def make_table(content: object, path: str, with_files: bool = True, form: Format = COCO_FORMAT) -> AnnotationTable:
    """The `AnnotationTable` of a parsed file.

    Args:
        content: of a JSON file.
        path: what to call it.
        with_files: images must have a file and a size; else an id is enough, as evaluation needs no more.
        form: the form of the file.

    Raises:
        InputError: it is no dict with lists of images and annotations.
    """
    objects, num_foreign = _sections(content, path)
    images, annotations = objects["images"], objects["annotations"]
    omissions: list[Omission] = []
    problems: dict[str, str] = {}
    total = num_foreign + sum(map(len, objects.values()))
    if num_foreign > FEW * total:
        problems["entries"] = f"{path}: {num_foreign} of {total} entries are no objects. Remove them from the file"
    elif num_foreign:
        omissions.append(Omission("left out", "entries that are no objects", num_foreign, total))
    image_ids, sizes, listed = _read_images(images, path, with_files, omissions, problems)
    if form.keypoint_set is None:
        category, category_ids, skeleton = find_set(objects, path, omissions, problems)
    else:
        category, category_ids, skeleton = known_set(objects, form, path, omissions, problems)
    wanted = set(category_ids)
    ids = _whole_numbers(annotations, "category_id", omissions)
    rows = [i for i, number in enumerate(ids) if number in wanted]
    people = [annotations[i] for i in rows]
    index = {int(image_ids[i]): int(i) for i in np.flatnonzero(listed)[::-1]}
    image_index = [index.get(number, -1) for number in _whole_numbers(people, "image_id", omissions)]
    num_keypoints = skeleton.num_keypoints if skeleton else 0
    boxes = _columns([person.get("bbox") for person in people], 4)
    area = _columns([[person.get("area")] for person in people], 1, MAX_AREA)[:, 0]
    keypoints = _keypoints(people, form, num_keypoints)
    table = AnnotationTable(
        path=path,
        images=images,
        image_ids=image_ids,
        sizes=sizes,
        listed=listed,
        annotations=annotations,
        num_foreign=num_foreign,
        category=category,
        category_ids=category_ids,
        skeleton=skeleton,
        people=people,
        person_categories=np.array([ids[i] for i in rows], np.int64),
        image_index=np.array(image_index, np.int64),
        boxes=boxes,
        clipped=boxes,
        area=area,
        areas=_areas(area, boxes, form),
        crowd=np.array([_is_crowd(person.get("iscrowd")) for person in people], bool),
        keypoints=keypoints,
        labelled=keypoints[..., 2] > 0,
        reasons=np.zeros(len(people), object),
        omissions=omissions,
        problems=problems,
        form=form,
    )
    return judged(table)


def _sections(content, path):
    """The lists of a parsed file by name, with what is no object left out, and how many entries that were."""
    if isinstance(content, list):
        raise InputError(f"{path} is not in COCO format: it holds a list, as results files do. Use an annotation file")
    found = {}
    for name in ("images", "annotations", "categories"):
        section = content.get(name) if isinstance(content, dict) else None
        if not isinstance(section, list) and name != "categories":
            received = f"an object with {short(list(content)[:8])}" if isinstance(content, dict) else short(content)
            raise InputError(
                f"{path} is not in COCO format: it must hold a list '{name}' of objects. Received: no {name}, "
                f"but {received}"
            )
        found[name] = section if isinstance(section, list) else []
    objects = {name: [item for item in items if isinstance(item, dict)] for name, items in found.items()}
    return objects, sum(len(found[name]) - len(objects[name]) for name in found)


def _read_images(images, path, with_files, omissions, problems):
    """Ids [M], sizes [M,2] and which entries count [M]; what is wrong with them goes to the last two arguments."""
    ids, sizes = np.zeros(len(images), np.int64), np.full((len(images), 2), np.nan)
    listed = np.zeros(len(images), bool)
    entries: dict[int, tuple[Any, ...]] = {}
    bad, again = [], []
    for i, (image, number) in enumerate(zip(images, _whole_numbers(images, "id", omissions, "images"), strict=True)):
        width, height = (whole_number(image.get(side), 10**6) or 0 for side in ("width", "height"))
        name = image.get("file_name")
        entry = (name if isinstance(name, str) and "\0" not in name else "", width, height)
        if number is None or (with_files and not (entry[0] and min(width, height) > 0)):
            bad.append(i)
            continue
        ids[i], sizes[i] = number, (width, height) if min(width, height) > 0 else np.nan
        listed[i] = number not in entries
        if not listed[i]:
            again.append(i)
        if entries.setdefault(number, entry) != entry and "images" not in problems:
            problems["images"] = f"{path}: image id {number} is that of two images. Give each image an id of its own"
    if bad:
        _leave_out_images(images, bad, path, omissions, problems)
    if again and "images" not in problems:
        example = f"image {ids[again[0]]}"
        omissions.append(Omission("left out", "images that are listed again", len(again), len(images), example))
    return ids, sizes, listed


def _leave_out_images(images, bad, path, omissions, problems):
    """Says that entries of images cannot be used, or where they are many refuses them."""
    image = images[bad[0]]
    number, name = whole_number(image.get("id")), image.get("file_name")
    wanted = f"image {number} must have a positive 'width' and 'height'"
    if number is None or not isinstance(name, str) or not name or "\0" in name:
        wanted = "an image must have an integer 'id' and a 'file_name'"
    if len(bad) > FEW * len(images):
        problems["images"] = f"{path}: {wanted}. Received: {short(image)}; such are {len(bad)} of {len(images)} images"
    else:
        what = "images without an integer id, a file_name, a width and a height"
        omissions.append(Omission("left out", what, len(bad), len(images), short(image)))


def _whole_numbers(items, key, omissions, kind="annotations"):
    """The field `key` of dicts as integers, None where it is none; what was not written as one is said."""
    numbers = [whole_number(item.get(key)) for item in items]
    other = [i for i, number in enumerate(numbers) if number is not None and not isinstance(items[i][key], int)]
    if other:
        example = short(items[other[0]][key])
        omissions.append(Omission("read", f"{kind} whose {key} is no integer as one", len(other), len(items), example))
    return numbers


def _keypoints(people, form, num_keypoints):
    """[N,K,3] of everybody's keypoints, NaN where a field of them is no list of as many numbers."""
    table = np.empty((len(people), num_keypoints, 3))
    for field, points in form.fields(num_keypoints):
        part = table[:, points]
        part[:] = _columns([person.get(field) for person in people], 3 * part.shape[1]).reshape(part.shape)
    return table


def _areas(area, boxes, form):
    """[N] areas that count, of those that are written and of the boxes."""
    of_boxes = boxes[:, 2:].clip(0).prod(axis=1)
    return np.where(np.isnan(area), of_boxes, area) if form.area_of_box is None else form.area_of_box * of_boxes


def _is_crowd(value):
    if isinstance(value, str):
        return value.strip().lower() not in _NO_CROWD
    return bool(value)


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
