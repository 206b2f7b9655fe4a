"""COCO keypoint annotations and detector results into `PersonRecords`.

Boxes are handled as in the reference: annotated ones are clipped to the image, crowds and people
without an annotated keypoint are left out; detector boxes are taken as they are.
"""

import os
import re
from typing import Any

import numpy as np

from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.shards import image_paths
from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import MAX_AREA, PathLike, json_numbers, read_json
from hrnet_tf.skeletons import COCO, keypoint_category, skeleton_from_category


def annotation_path(data_dir: PathLike, split: str) -> str:
    """Path of the keypoint annotations of a split in a COCO folder."""
    return os.path.join(data_dir, "annotations", f"person_keypoints_{split}.json")


def load_split(data_dir: PathLike, split: str) -> PersonRecords:
    """Reads the annotated people of `<data_dir>/annotations/person_keypoints_<split>.json`.

    Images are looked for in `<data_dir>/images/<split>/`, else in `<data_dir>/<split>/`.

    Raises:
        InputError: the folder, the annotation file or the image folder is absent, or see `load_annotations`.
    """
    if not os.path.isdir(data_dir):
        raise InputError(f"data directory {data_dir} does not exist")
    path = annotation_path(data_dir, split)
    if not os.path.isfile(path):
        raise InputError(f"annotation file {path} does not exist. Check the data directory and the split's name")
    return load_annotations(path, find_image_dir(data_dir, split))


def is_unannotated(split: str) -> bool:
    """Whether a split is one of COCO's test sets, such as test-dev2017, whose annotations only COCO's server has.

    A split "test" of data of one's own has annotations as any other.
    """
    return re.fullmatch(r"test(-dev|-challenge)?20\d\d", split) is not None


def load_image_info(data_dir: PathLike, split: str) -> PersonRecords:
    """Reads the images of a test split of COCO, to predict a detector's boxes in.

    Reads `<data_dir>/annotations/image_info_<split>.json`. Images are looked for in
    `<data_dir>/images/test2017/`, else in `<data_dir>/test2017/`: test-dev2017 is part of test2017.

    Returns:
        `PersonRecords` of COCO's skeleton without people.

    Raises:
        InputError: a file or folder is absent, or the file is not in COCO's format.
    """
    path = os.path.join(data_dir, "annotations", f"image_info_{split}.json")
    if not os.path.isfile(path):
        raise InputError(f"image list {path} does not exist. Check the data directory and the split's name")
    images = _images(read_json(path), path)
    image_dir = find_image_dir(data_dir, "test2017")
    return PersonRecords(
        skeleton=COCO,
        image_paths=image_paths(image_dir, [image["file_name"] for image in images]),
        image_ids=np.array([image["id"] for image in images], np.int64),
        image_index=np.zeros(0, np.int32),
        boxes=np.zeros((0, 4), np.float32),
        box_scores=np.zeros(0, np.float32),
        keypoints=np.zeros((0, COCO.num_keypoints, 2), np.float32),
        visible=np.zeros((0, COCO.num_keypoints), np.float32),
    )


def find_image_dir(data_dir: PathLike, split: str) -> str:
    """Folder of the images of a split in a COCO folder.

    Raises:
        InputError: it does not exist.
    """
    candidates = [os.path.join(data_dir, "images", split), os.path.join(data_dir, split)]
    for candidate in candidates:
        if os.path.isdir(candidate):
            return candidate
    raise InputError(f"image folder {candidates[0]} (or {candidates[1]}) does not exist")


def load_annotations(path: PathLike, image_dir: PathLike) -> PersonRecords:
    """Reads every person that has an annotated keypoint, in the order of the file's images.

    The keypoint set is that of the first category that has one.

    Args:
        path: a COCO-format keypoint annotation file.
        image_dir: folder that the `file_name`s are relative to, or of their `shards`.

    Returns:
        `PersonRecords`.

    Raises:
        InputError: the file is not JSON or not COCO-format, has no keypoint category, an id is
            that of two images, an image or annotation is malformed (it is named), or nobody has an
            annotated keypoint.
    """
    content = read_json(path)
    images, annotations = _images(content, path), _section(content, "annotations", path)
    category = keypoint_category(_section(content, "categories", path), path)
    skeleton = skeleton_from_category(category, path)
    index = {image["id"]: i for i, image in enumerate(images)}
    by_image: list[list[tuple[int, tuple[float, ...], np.ndarray]]] = [[] for _ in images]
    for annotation in annotations:
        if annotation.get("category_id") != category["id"] or annotation.get("iscrowd", 0):
            continue
        image_id = annotation.get("image_id")
        i = index.get(image_id) if isinstance(image_id, int) else None
        if i is None:
            raise InputError(
                f"{path}: annotation {shown(annotation.get('id'))} is of an image that is not listed: {shown(image_id)}"
            )
        keypoints, box = _parse_person(annotation, images[i], skeleton.num_keypoints, path)
        if box is not None and keypoints.any():
            by_image[i].append((i, box, keypoints))
    people = [person for group in by_image for person in group]
    if not people:
        raise InputError(
            f"{path}: nobody has an annotated keypoint ({len(annotations)} annotations read). "
            "Use a keypoint annotation file (person_keypoints_*.json)"
        )
    image_index, boxes, keypoints = (np.array(column) for column in zip(*people, strict=True))
    keypoints = keypoints.reshape(len(people), -1, 3)
    return PersonRecords(
        skeleton=skeleton,
        image_paths=image_paths(image_dir, [image["file_name"] for image in images]),
        image_ids=np.array([image["id"] for image in images], np.int64),
        image_index=image_index.astype(np.int32),
        boxes=boxes.astype(np.float32),
        box_scores=np.ones(len(people), np.float32),
        keypoints=keypoints[..., :2].astype(np.float32),
        visible=(keypoints[..., 2] > 0).astype(np.float32),
    )


def load_detections(path: PathLike, records: PersonRecords) -> PersonRecords:
    """Reads a detector's boxes (a COCO results file) on the images of `records`.

    Boxes of other categories than 1 (COCO's person) and on other images are left out.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox", "score"}.
        records: the annotated people of the same split.

    Returns:
        `PersonRecords` with the images and skeleton of `records`.

    Raises:
        InputError: the file is absent or malformed, or has no box on these images.
    """
    detections = read_json(path)
    if not isinstance(detections, list):
        raise InputError(f"{path} must hold a list of detections. Received: a {type(detections).__name__}")
    index = {image_id: i for i, image_id in enumerate(records.image_ids.tolist())}
    found = []
    for number, detection in enumerate(detections):
        try:
            if detection["category_id"] != 1 or detection["image_id"] not in index:
                continue
            box, score = json_numbers(detection["bbox"], 4), json_numbers([detection["score"]], 1)
            found.append((index[detection["image_id"]], *box, *score))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: detection {number} is malformed ({_reason(error)}). Received: {shown(detection)}"
            ) from error
    rows = np.array([row for row in found if row[3] > 0 and row[4] > 0])
    if not len(rows):
        raise InputError(f"{path}: no person box on the {len(index)} images of the split")
    num_keypoints = records.skeleton.num_keypoints
    return PersonRecords(
        skeleton=records.skeleton,
        image_paths=records.image_paths,
        image_ids=records.image_ids,
        image_index=rows[:, 0].astype(np.int32),
        boxes=rows[:, 1:5].astype(np.float32),
        box_scores=rows[:, 5].astype(np.float32),
        keypoints=np.zeros((len(rows), num_keypoints, 2), np.float32),
        visible=np.zeros((len(rows), num_keypoints), np.float32),
    )


def _section(content, name, path):
    """A list of objects in a parsed annotation file."""
    section = content.get(name) if isinstance(content, dict) else None
    if not isinstance(section, list) or not all(isinstance(item, dict) for item in section):
        raise InputError(f"{path} is not in COCO format: it must hold a list '{name}' of objects")
    return section


def _images(content, path):
    """The checked list `images` of a parsed annotation file."""
    images = _section(content, "images", path)
    ids = set()
    for image in images:
        check_image(image, path)
        if image["id"] in ids:
            raise InputError(f"{path}: image id {image['id']} is that of two images. Give each image an id of its own")
        ids.add(image["id"])
    return images


def check_image(image: dict[str, Any], path: PathLike) -> None:
    """Raises InputError unless an entry (a dict) of `images` has an id, a file name, a width and a height."""
    name = image.get("file_name")
    if not _is_int(image.get("id"), limit=2**62) or not isinstance(name, str) or "\0" in name:
        raise InputError(f"{path}: an image must have an integer 'id' and a 'file_name'. Received: {shown(image)}")
    if not all(_is_int(image.get(side)) and image[side] > 0 for side in ("width", "height")):
        raise InputError(
            f"{path}: image {image['id']} must have a positive 'width' and 'height'. Received: {shown(image)}"
        )


def _is_int(value, limit=10**6):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= limit


def _parse_person(annotation, image, num_keypoints, path):
    """An annotation's keypoints, 3*K numbers, and its clipped box, None where nothing of it is in the image."""
    try:
        keypoints = json_numbers(annotation["keypoints"], 3 * num_keypoints)
        box = _clip_box(json_numbers(annotation["bbox"], 4), image["width"], image["height"])
        if json_numbers([annotation.get("area", 1)], 1, MAX_AREA) <= 0:
            box = None
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: annotation {shown(annotation.get('id'))} is malformed: {_reason(error)}") from error
    return keypoints, box


def _reason(error):
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _clip_box(box, width, height):
    """The part of the box inside the image, None where there is none; the last pixel is at width - 1."""
    x, y, w, h = box
    x1, y1 = max(0.0, x), max(0.0, y)
    x2 = min(width - 1.0, x1 + max(0.0, w - 1))
    y2 = min(height - 1.0, y1 + max(0.0, h - 1))
    if x2 < x1 or y2 < y1 or (x2 == x1 and y2 == y1):
        return None
    return x1, y1, x2 - x1, y2 - y1
