"""All checks of a dataset, in one report."""

import os

from hrnet_tf.data.coco import annotation_path
from hrnet_tf.doctor import images, people, sides, structure, units
from hrnet_tf.doctor.findings import Report, worst_first
from hrnet_tf.doctor.table import make_table, sections
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, read_json


def check_split(
    data_dir: PathLike, split: str, check_images: bool = True, decode_all: bool = False
) -> tuple[Report, str | None]:
    """Checks `<data_dir>/annotations/person_keypoints_<split>.json` and its images.

    Args:
        data_dir: COCO-format folder.
        split: name of the split.
        check_images: read the image files too.
        decode_all: decode every image that has people, not a sample of `images.MAX_DECODED`.

    Returns:
        A `Report`, and the folder of the images, None where that is absent or was not to be read.

    Raises:
        InputError: the annotation file is absent, not JSON or not COCO-format at all. Whatever else
            is wrong with it is in the report.
    """
    path = annotation_path(data_dir, split)
    if not os.path.isfile(path):
        raise InputError(f"annotation file {path} does not exist. Check --data_dir and --split")
    report, folder = check_content(read_json(path), path), None
    if check_images:
        found, folder = images.check_files(report.table, data_dir, split, decode_all)
        report.findings[:] = worst_first(report.findings + found)
    return report, folder


def check_content(content: object, path: str) -> Report:
    """Checks a parsed annotation file; `path` is what to call it.

    Raises:
        InputError: it is no dict with lists of images and annotations.
    """
    objects, num_foreign = sections(content, path)
    table = make_table(objects, path)
    side_findings, statistics = sides.check_sides(table)
    findings = [
        *structure.check_entries(num_foreign, objects),
        *structure.check_images(table),
        *structure.check_categories(table, objects),
        *structure.check_skeleton(table),
        *structure.check_ids(table),
        *people.check_areas(table),
        *people.check_boxes(table),
        *people.check_keypoints(table),
        *people.check_doubtful(table),
        *people.check_anybody(table),
        *units.check_units(table),
        *side_findings,
    ]
    counts = {
        "images": len(table.images),
        "people": len(table),
        "to train on": int(people.trainable(table).sum()),
        "keypoints": table.skeleton.num_keypoints if table.skeleton else 0,
    }
    return Report(path, counts, statistics, worst_first(findings), table)
