"""Checks of what networks of whole images need in training beyond those of crops: who is left out must be masked."""

import numpy as np

from hrnet_tf.data.images import MAX_PEOPLE
from hrnet_tf.data.regions import region_of_segments
from hrnet_tf.doctor.findings import Finding
from hrnet_tf.doctor.table import Table


def check_whole_images(table: Table) -> list[Finding]:
    """Images with more people than are trained on, and people who are to be masked but are not outlined."""
    counts = np.bincount(table.image_index[table.used], minlength=len(table.images))
    others = (table.image_index >= 0) & ~table.used
    outlined = np.array([_is_outlined(table, row) if others[row] else False for row in range(len(table))], bool)
    boxed = np.isfinite(table.boxes).all(axis=1)
    return [
        *table.of_images(
            "crowded_image",
            np.flatnonzero(counts > MAX_PEOPLE).tolist(),
            f"more than {MAX_PEOPLE} people: networks of whole images (higher_*) are trained on the {MAX_PEOPLE} "
            "largest, and the others are masked",
            "nothing; or cut such images into parts",
            "info",
        ),
        *table.of_people(
            "no_outline",
            others & ~outlined & boxed,
            "left out and without a segmentation: networks of whole images (higher_*) are not trained in their boxes, "
            "which may hold others too",
            "write the segmentation, as polygons or run lengths, if you train such networks",
            "info",
            among=others,
        ),
        *table.of_people(
            "not_masked",
            others & ~outlined & ~boxed,
            "left out, with neither a segmentation nor a box: networks of whole images (higher_*) are taught that "
            "nobody is there",
            "write the segmentation or the box, if you train such networks",
            "info",
            among=others,
        ),
    ]


def _is_outlined(table, row):
    width, height = table.sizes[table.image_index[row]]
    if not np.isfinite(width):
        return False
    return region_of_segments(table.people[row].get("segmentation"), (int(height), int(width))) is not None
