"""All checks of a dataset, in one report."""

import dataclasses
from collections.abc import Callable

import numpy as np

from hrnet_tf.data.coco import image_omissions, listed_names
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.data.layouts import find_split
from hrnet_tf.doctor import images, people, sides, structure, units, whole_images
from hrnet_tf.doctor.findings import Report, worst_first
from hrnet_tf.doctor.table import make_table
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, read_json
from hrnet_tf.skeletons import Skeleton


def check_split(
    data_dir: PathLike | None,
    split: str,
    check_images: bool = True,
    decode_all: bool = False,
    annotations: PathLike | None = None,
    image_dir: PathLike | None = None,
    with_pairs: Callable[[Skeleton], Skeleton] | None = None,
    form: Format = COCO_FORMAT,
) -> tuple[Report, str | None]:
    """Checks the annotations of a split and its images, which training finds in the same places.

    Args:
        data_dir: COCO-format folder; may be None where `annotations` are given.
        split: name of the split.
        check_images: read the image files too.
        decode_all: decode every image that has people, not a sample of `images.MAX_DECODED`.
        annotations: the annotation file, if it is another than `layouts.find_split` finds.
        image_dir: the folder of the images, if it is another.
        with_pairs: gives the keypoint set other pairs of left and right, raising InputError where it cannot.
        form: the form of the annotations.

    Returns:
        A `Report`, and the folder of the images, None where that is absent or was not to be read.

    Raises:
        InputError: the annotation file is absent, not JSON or not COCO-format at all. Whatever else
            is wrong with it is in the report.
    """
    files = find_split(data_dir, split, annotations, image_dir, form)
    content = read_json(files.annotations, with_segments=True)
    report, folder = check_content(content, files.annotations, with_pairs, form), None
    if check_images:
        found, folder, paths = images.check_files(report.table, files, decode_all)
        report.findings[:] = worst_first(report.findings + found)
        said = _said_of_images(report.table, paths) if paths else []
        report = dataclasses.replace(report, omissions=report.omissions + said, paths=paths)
    return report, folder


def _said_of_images(table, paths):
    """What the other commands say of the image files; what they refuse is among the findings."""
    try:
        listed = [paths[i] for i in np.flatnonzero(table.listed)]
        return [str(said) for said in image_omissions(table, listed_names(table), listed)]
    except InputError as error:
        return [f"refused: {error}"]


def check_content(
    content: object,
    path: str,
    with_pairs: Callable[[Skeleton], Skeleton] | None = None,
    form: Format = COCO_FORMAT,
) -> Report:
    """Checks a parsed annotation file; `path` is what to call it, the others as for `check_split`.

    Raises:
        InputError: it is no dict with lists of images and annotations.
    """
    table = make_table(content, path, form)
    if with_pairs and table.skeleton:
        table = dataclasses.replace(table, skeleton=with_pairs(table.skeleton))
    side_findings, statistics = sides.check_sides(table)
    findings = [
        *structure.check_refusals(table),
        *structure.check_entries(table),
        *structure.check_images(table),
        *structure.check_categories(table),
        *structure.check_skeleton(table),
        *structure.check_ids(table),
        *people.check_areas(table),
        *people.check_boxes(table),
        *people.check_keypoints(table),
        *people.check_doubtful(table),
        *units.check_units(table),
        *whole_images.check_whole_images(table),
        *side_findings,
    ]
    counts = {
        "images": len(table.images),
        "people": len(table),
        "to train on": 0 if table.problems else int(table.used.sum()),
        "keypoints": table.skeleton.num_keypoints if table.skeleton else 0,
    }
    return Report(path, counts, statistics, worst_first(findings), table, list(table.sentences))
