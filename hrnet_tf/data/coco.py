"""COCO keypoint annotations and detector results into `PersonRecords`.

Boxes are handled as in the reference: annotated ones are clipped to the image, crowds and people
without an annotated keypoint are left out; detector boxes are taken as they are. `annotations` reads.
"""

import os
import re
from collections.abc import Sequence

import numpy as np

from hrnet_tf.data.annotations import AnnotationTable, make_table, read_annotations
from hrnet_tf.data.detections import read_detections
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.data.header import say_other_sizes
from hrnet_tf.data.images import ImageRecords, image_records
from hrnet_tf.data.layouts import SplitFiles, find_split
from hrnet_tf.data.omissions import Omission, short, whole_number
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.shards import file_of, image_paths
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, read_json
from hrnet_tf.skeletons import COCO

# Of so many names it is looked whether they are in a folder.
_NUM_LOOKED_FOR = 20


def annotation_path(data_dir: PathLike, split: str) -> str:
    """Path of the keypoint annotations of a split in a COCO folder."""
    return os.path.join(data_dir, "annotations", f"person_keypoints_{split}.json")


def load_split(
    data_dir: PathLike | None,
    split: str,
    annotations: PathLike | None = None,
    images: PathLike | None = None,
    form: Format = COCO_FORMAT,
) -> PersonRecords:
    """Reads the annotated people of a split.

    `<data_dir>/annotations/person_keypoints_<split>.json` is read, or what else `layouts.find_split` finds. Images are
    looked for in `<data_dir>/images/<split>/`, else in `<data_dir>/<split>/` and where annotation tools put them.

    Args:
        data_dir: the folder; may be None where `annotations` are given.
        split: name of the split.
        annotations: the annotation file, if it is another.
        images: the folder of the images, if it is another.
        form: the form of the annotations.

    Raises:
        InputError: the folder, the annotation file or the image folder is absent, or see `load_annotations`.
    """
    return _records(*_read_split(find_split(data_dir, split, annotations, images, form), form))


def load_images(
    data_dir: PathLike | None,
    split: str,
    annotations: PathLike | None = None,
    images: PathLike | None = None,
    form: Format = COCO_FORMAT,
) -> ImageRecords:
    """Reads the images of a split that people are annotated in, with everybody in them: see `image_records`.

    Takes and raises what `load_split` does.
    """
    files = find_split(data_dir, split, annotations, images, form)
    table, image_dir = _read_split(files, form, with_segments=True)
    return image_records(table, _records(table, image_dir), _rows(table))


def _read_split(files, form, with_segments=False):
    """The annotations of a split, and the folder of its images."""
    table = read_annotations(files.annotations, form, with_segments)
    table.keypoint_set()  # what is wrong with the file comes before what is wrong with folders
    return table, find_image_dir(files, listed_names(table))


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
    content = read_json(path)
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names)}
    if isinstance(content, dict):
        content = {"images": content.get("images"), "annotations": [], "categories": [category]}
    table = make_table(content, path)
    table.check_all_but("nobody")
    folders = tuple(os.path.join(data_dir, name) for name in ("images/test2017", "test2017"))
    return _records(table, find_image_dir(SplitFiles(path, folders), listed_names(table)))


def listed_names(table: AnnotationTable) -> list[str]:
    """File names of a table's images, of those that count."""
    return [table.images[i]["file_name"] for i in np.flatnonzero(table.listed)]


def find_image_dir(files: SplitFiles, names: Sequence[str]) -> str:
    """The folder of a split's images: the first that has one of the first and last `names`, else the first there is.

    Raises:
        InputError: there is none.
    """
    some = [*names[:_NUM_LOOKED_FOR], *names[-_NUM_LOOKED_FOR:]]
    folders = [folder for folder in files.folders if os.path.isdir(folder)]
    for folder in folders:
        if any(os.path.isfile(file_of(path)) for path in _paths_or_none(folder, some)):
            return folder
    for folder in files.folders[:2]:
        if folder in folders:
            return folder
    other = f" (or {files.folders[1]})" if len(files.folders) > 1 else ""
    raise InputError(f"image folder {files.folders[0]}{other} does not exist")


def _paths_or_none(folder, names):
    try:
        return image_paths(folder, names)
    except InputError:  # a damaged index: reading the whole of it says so
        return []


def load_annotations(path: PathLike, image_dir: PathLike) -> PersonRecords:
    """Reads every person that has an annotated keypoint, in the order of the file's images.

    The keypoint set is the first that has annotations; what is left out, read in another way or assumed is in
    `omissions` of the records.

    Args:
        path: a COCO-format keypoint annotation file.
        image_dir: folder that the `file_name`s are relative to, or of their `shards`.

    Returns:
        `PersonRecords`.

    Raises:
        InputError: the file is not JSON or not COCO-format, has no keypoint category, an id is
            that of two images, many images or people are malformed (one is named), or nobody is left.
    """
    return _records(read_annotations(path), image_dir)


def _rows(table: AnnotationTable) -> np.ndarray:
    """[N] which people of a table count, by image."""
    people = np.flatnonzero(table.used)
    return people[np.argsort(table.image_index[people], kind="stable")]


def _records(table: AnnotationTable, image_dir: PathLike) -> PersonRecords:
    """The people of a table that count."""
    people = _rows(table)
    if len(people):
        _, skeleton = table.keypoint_set()
    else:
        skeleton = COCO  # of images without annotations
    names = listed_names(table)
    paths = image_paths(image_dir, names)
    omissions = list(table.sentences)
    position = np.cumsum(table.listed) - 1  # of an image among those that count
    omissions += map(str, image_omissions(table, names, paths))
    keypoints = table.keypoints[people].reshape(len(people), skeleton.num_keypoints, 3)
    return PersonRecords(
        skeleton=skeleton,
        image_paths=paths,
        image_ids=table.image_ids[table.listed],
        image_index=position[table.image_index[people]].astype(np.int32),
        boxes=table.clipped[people].astype(np.float32),
        box_scores=np.ones(len(people), np.float32),
        keypoints=keypoints[..., :2].astype(np.float32),
        visible=(keypoints[..., 2] > 0).astype(np.float32),
        category_ids=table.category_ids,
        categories=table.person_categories[people],
        omissions=tuple(omissions),
    )


def image_omissions(table: AnnotationTable, names: Sequence[str], paths: Sequence[str]) -> list[Omission]:
    """What is to be said of the image files of a table.

    Args:
        table: the annotations.
        names: `listed_names` of it.
        paths: where these are, of `image_paths`.

    Raises:
        InputError: most images were annotated as EXIF turns them.
    """
    listed_images = np.flatnonzero(table.listed)
    used = np.flatnonzero(np.isin(listed_images, table.image_index[table.used])).tolist()
    sizes = say_other_sizes([paths[i] for i in used], table.sizes[listed_images[used]])
    return [said for said in (_respelled(names, paths), sizes) if said]


def _respelled(names, paths):
    """What is to be said of images found under another spelling of their names, None where none is."""
    other = [i for i, name in enumerate(names) if file_of(paths[i]) == paths[i] and not paths[i].endswith(name)]
    if not other:
        return None
    example = f"{short(names[other[0]])} as {paths[other[0]]}"
    return Omission("read", "images under another spelling of their file_name", len(other), len(names), example)


def load_detections(path: PathLike, records: PersonRecords) -> PersonRecords:
    """Reads a detector's boxes (a COCO results file) on the images of `records`.

    Boxes of other categories than the keypoint set's and on other images are left out, and said in `omissions`; where
    all boxes of the file are of one other category, they are taken.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox", "score"}.
        records: the annotated people of the same split.

    Returns:
        `PersonRecords` with the images and skeleton of `records`.

    Raises:
        InputError: the file is absent or malformed, or has no box on these images.
    """
    boxes, omissions = read_detections(path, records.category_ids)
    index = {image_id: i for i, image_id in enumerate(records.image_ids.tolist())}
    rows = [index.get(whole_number(box.image_id)) for box in boxes]
    known = [(i, box) for i, box in zip(rows, boxes, strict=True) if i is not None]
    unknown = list(dict.fromkeys(short(box.image_id) for i, box in zip(rows, boxes, strict=True) if i is None))
    if not known:
        found = f"of the images {listed(unknown, 60)}" if unknown else "none with a width and a height"
        raise InputError(
            f"{path}: no person box on the {len(index)} images of the split. Read: {len(boxes)} boxes, {found}. "
            f"Wanted: boxes whose image_id is one of the annotations', such as {listed(map(str, list(index)[:5]), 60)}"
        )
    if unknown:
        what = "detections on images that are not listed in the annotations"
        example = f"image_id {listed(unknown, 60)}"
        omissions.append(Omission("left out", what, len(boxes) - len(known), len(boxes), example))
    count, num_keypoints = len(known), records.skeleton.num_keypoints
    first = records.category_ids[0]
    return PersonRecords(
        skeleton=records.skeleton,
        image_paths=records.image_paths,
        image_ids=records.image_ids,
        image_index=np.array([i for i, _ in known], np.int32),
        boxes=np.array([box.box for _, box in known], np.float32),
        box_scores=np.array([box.score for _, box in known], np.float32),
        keypoints=np.zeros((count, num_keypoints, 2), np.float32),
        visible=np.zeros((count, num_keypoints), np.float32),
        category_ids=records.category_ids,
        categories=np.array([b.category if b.category in records.category_ids else first for _, b in known], np.int64),
        omissions=(*records.omissions, *map(str, omissions)),
    )
