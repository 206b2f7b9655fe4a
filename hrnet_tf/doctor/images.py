"""Checks of the image files: all headers are read, and some images are decoded."""

import os

import numpy as np

from hrnet_tf import progress
from hrnet_tf.data.coco import find_image_dir
from hrnet_tf.data.header import is_turned, read_header
from hrnet_tf.data.layouts import SplitFiles
from hrnet_tf.data.pixels import TooManyPixelsError, check_pixels
from hrnet_tf.data.records import read_image
from hrnet_tf.data.shards import file_of, image_paths
from hrnet_tf.doctor.findings import Finding
from hrnet_tf.doctor.table import Table
from hrnet_tf.errors import InputError

# Rarer than this, EXIF orientations that may or may not matter are worth a note only.
_MANY_EXIF = 0.01
# Images decoded where not all are to be, spread evenly over the set; it takes some ten seconds.
MAX_DECODED = 1000


def check_files(
    table: Table, files: SplitFiles, decode_all: bool = False
) -> tuple[list[Finding], str | None, list[str]]:
    """Files of the images that have people: absent, unreadable, of another size than recorded, turned by EXIF.

    Damage inside a file shows only when it is decoded: `MAX_DECODED` images are, and all those whose
    header or end is not as it should be. `decode_all` decodes every one.

    Returns:
        list of findings, the folder of the images, None where there is none, and M paths of the images or their places
        in shards.
    """
    named = np.flatnonzero(table.listed)
    names = [table.images[i]["file_name"] for i in named]
    try:
        folder = find_image_dir(files, names)
        found = image_paths(folder, names)
    except InputError as error:
        advice = "put the images there; --nocheck_images checks the annotations alone"
        return [Finding("no_image_folder", "error", str(error), advice, 1, 1)], None, []
    paths = [""] * len(table.images)
    for i, path in zip(named, found, strict=True):
        paths[i] = path
    used = [i for i in np.unique(table.image_index).tolist() if i >= 0]
    chosen = set(used if decode_all else used[:: max(1, -(-len(used) // MAX_DECODED))])
    kinds = ("absent", "unreadable", "too_large", "damaged", "depth", "turned", "size", "exif")
    groups: dict[str, list[int]] = {kind: [] for kind in kinds}
    for i in progress.track(used, "reading", "images"):
        group = _examine(paths[i], table.sizes[i], i in chosen)
        if group:
            groups[group].append(i)
    return _findings(table, groups, len(used)), folder, paths


def _examine(path, recorded, decode):
    """Which group of findings an image file belongs to, None where nothing is wrong with it."""
    if not os.path.isfile(file_of(path)):
        return "absent"
    header = read_header(path)
    stored, orientation = (header.size, header.orientation) if header else (None, 1)
    notes: list[str] = []
    try:
        check_pixels(stored, path)
    except TooManyPixelsError:
        return "too_large"
    if decode or header is None or not header.ends_well:
        try:
            height, width = read_image(path, note=notes.append).shape[:2]
        except TooManyPixelsError:
            return "too_large"
        except InputError:
            return "unreadable"
        stored = width, height
    if tuple(recorded) != stored:
        return "turned" if header and is_turned(header, recorded) else "size"
    if notes:
        return "damaged" if "damaged" in notes[0].removeprefix(f"image {path}") else "depth"
    return "exif" if orientation != 1 else None


def _findings(table, groups, total):
    texts = {
        "absent": (
            "image_missing",
            "image files are absent: training refuses to start",
            "complete the images, or correct file_name and --data_dir",
            "error",
        ),
        "unreadable": (
            "image_unreadable",
            "image files are truncated or no images: training stops there, unless told to --skip_bad_images",
            "fetch or export these files again",
            "error",
        ),
        "too_large": (
            "image_too_large",
            "image files have more pixels than are read: training stops there, unless told to --skip_bad_images",
            "make them smaller, or allow more by --max_pixels",
            "error",
        ),
        "damaged": (
            "image_damaged",
            "JPEG files are damaged inside: they are read, but part of the picture may be wrong",
            "look at them; fetch or export them again",
            "warning",
        ),
        "depth": (
            "image_depth",
            "16-bit images hold 12 bits or 8, all values below 4096 or 256: read as such, or they would be black",
            "nothing, unless other images of the set use all 16 bits and these are meant to be dark",
            "info",
        ),
        "turned": (
            "image_turned_by_exif",
            "width and height are those of the image as EXIF turns it, but training takes pixels as stored: "
            "boxes and keypoints are on the wrong places",
            "store the images upright and without EXIF orientation (mogrify -auto-orient), keeping the annotations",
            "error",
        ),
        "size": (
            "image_size_differs",
            "width and height are not those of the file: boxes and keypoints are of another version of the image",
            "correct width and height, or restore the images that were annotated",
            None,
        ),
        "exif": (
            "exif_orientation",
            "EXIF asks viewers to turn or mirror the image, which training does not: annotations must be on the stored "
            "pixels, as width and height suggest",
            "see in the picture (--picture) whether keypoints are on the people; if so, nothing",
            "warning" if len(groups["exif"]) > _MANY_EXIF * total else "info",
        ),
    }
    findings = []
    for group, (code, message, advice, severity) in texts.items():
        findings += table.of_images(code, groups[group], message, advice, severity, total)
    return findings
