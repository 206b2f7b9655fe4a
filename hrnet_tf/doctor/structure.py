"""Checks of the file's structure: images, ids, categories and the keypoint set."""

import collections

import numpy as np

from hrnet_tf.data.omissions import FEW, whole_number
from hrnet_tf.doctor.findings import NUM_EXAMPLES, Finding, as_text, example_id
from hrnet_tf.doctor.table import Table
from hrnet_tf.errors import MAX_LINE
from hrnet_tf.skeletons import DEFAULT_OKS_SIGMA, find

_REFUSALS = {"category": "category_unusable", "set": "category_unusable", "nobody": "nobody_usable"}


def check_refusals(table: Table) -> list[Finding]:
    """Why training and evaluation refuse the file, in their words; a finding for each reason."""
    count = max(1, len(table))
    findings = []
    for kind, problem in table.problems.items():
        message = as_text(problem.removeprefix(f"{table.path}: "), MAX_LINE)
        message = f"training and evaluation refuse the file: {message}"
        code = _REFUSALS.get(kind, "refused")
        findings.append(Finding(code, "error", message, "see the other findings", count, count))
    return findings


def check_entries(table: Table) -> list[Finding]:
    """Entries of the lists that are no objects."""
    if not table.num_foreign:
        return []
    total = table.num_foreign + len(table.images) + len(table.annotations)
    share = table.num_foreign / total
    message = "entries of images, annotations or categories are no objects: left out, and refused where they are many"
    severity = "error" if share > FEW else "warning"
    return [Finding("not_objects", severity, message, "remove them from the file", table.num_foreign, total)]


def check_images(table: Table) -> list[Finding]:
    """Entries of `images`: what they must hold, and ids and files that occur twice."""
    if not table.images:
        message = "the file lists no images: training refuses it"
        return [Finding("no_images", "error", message, "list the images under 'images'", 1, 1)]
    malformed = np.flatnonzero(np.isnan(table.sizes[:, 0])).tolist()
    again = np.flatnonzero(~table.listed & np.isfinite(table.sizes[:, 0])).tolist()
    empty = np.setdiff1d(np.flatnonzero(table.listed), table.image_index)
    names = [image.get("file_name") if kept else None for image, kept in zip(table.images, table.listed, strict=True)]
    contradicting = "is that of two images" in table.problems.get("images", "")
    return [
        *table.of_images(
            "image_malformed",
            malformed,
            "images lack an integer id, a file_name, or a positive integer width and height: they are left out, and "
            "where they are many the file is refused",
            "complete these entries; width and height are those of the file",
            "error" if len(malformed) > FEW * len(table.images) else "warning",
        ),
        *table.of_images(
            "duplicate_image_id",
            again,
            "images have the id of another one, so annotations of it may be of either: training refuses the file"
            if contradicting
            else "images are listed again, with the same file and size: one entry counts",
            "number the images anew where sets were merged, and their annotations with them"
            if contradicting
            else "nothing, or remove the repetitions",
            "error" if contradicting else "info",
        ),
        *table.of_images(
            "duplicate_file_name",
            _repeated(names),
            "images have the same file as another one: its people are split or counted twice",
            "merge these entries, or correct the file names",
            "warning",
        ),
        *table.of_images(
            "image_without_people",
            empty.tolist(),
            "images have no person annotated: not used in training; every prediction there lowers AP",
            "nothing, if nobody is in these images",
            "info",
        ),
    ]


def check_ids(table: Table) -> list[Finding]:
    """Ids of annotations, and the images that they name."""
    ids = [person.get("id") for person in table.people]
    missing = np.array([i is None for i in ids], bool)
    repeated = np.zeros(len(table), bool)
    repeated[_repeated(ids)] = True
    zero = np.array([isinstance(i, int) and i == 0 for i in ids], bool)
    return [
        *table.of_people(
            "unknown_image",
            table.image_index < 0,
            "annotations are of an image that is not listed: left out",
            "list the image, or remove its annotations",
        ),
        *table.of_people(
            "duplicate_annotation_id",
            repeated & ~missing,
            "annotations share an id: pycocotools by itself keeps one of them (this package numbers them anew)",
            "give each annotation an id of its own",
            "warning",
        ),
        *table.of_people(
            "annotation_without_id",
            missing,
            "annotations have no id: other COCO tools need one (this package does not)",
            "number the annotations from 1",
            "info",
        ),
        *table.of_people(
            "annotation_id_zero",
            zero,
            "the id 0 counts as 'no match' in pycocotools, so AP is too low there (this package numbers them anew)",
            "number the annotations from 1",
            "info",
        ),
    ]


def check_categories(table: Table) -> list[Finding]:
    """Who is in another category than those of the keypoint set."""
    if table.category is None:
        return []
    others = [a for a in table.annotations if whole_number(a.get("category_id")) not in table.category_ids]
    posed = [a for a in others if a.get("keypoints")]
    findings = _of_other_category(posed, table, "warning", "have keypoints, but are of categories that are left out")
    return findings or _of_other_category(others, table, "info", "are of other categories, and left out")


def check_skeleton(table: Table) -> list[Finding]:
    """The keypoint set: pairs of left and right, tolerances of evaluation."""
    skeleton = table.skeleton
    if skeleton is None:
        return []
    assert table.category is not None  # it has the skeleton
    findings = []
    lonely = skeleton.unpaired
    message = "keypoints are of one side by name, but the other side is missing: mirrored images teach them wrongly"
    findings += _of_keypoints("partner_missing", lonely, skeleton, "warning", message, _PAIRS)
    is_published = find(skeleton.names) is not None
    is_said = bool(skeleton.flip_pairs or lonely) or table.category.get("flip_pairs") is not None or is_published
    if not is_said and skeleton.num_keypoints > 1:
        everyone = range(skeleton.num_keypoints)
        message = "no name tells left from right, so mirroring exchanges none: wrong if the object has sides"
        findings += _of_keypoints("no_sides", everyone, skeleton, "warning", message, _PAIRS)
    if table.category.get("sigmas") is None and not is_published:
        message = f"the category has no 'sigmas': AP is measured with {DEFAULT_OKS_SIGMA} for every keypoint"
        advice = "add 'sigmas' to the category, one for each keypoint; COCO's are from 0.025 (eyes) to 0.107 (hips)"
        findings += _of_keypoints("sigmas_missing", range(skeleton.num_keypoints), skeleton, "warning", message, advice)
    never = np.flatnonzero(~table.labelled.any(axis=0)) if table.labelled.any() else ()
    message = "keypoints are never labelled: nothing is learnt of them"
    advice = "leave them out of the category, or check the order of the keypoints"
    findings += _of_keypoints("never_labelled", never, skeleton, "warning", message, advice)
    return findings


_PAIRS = (
    "name pairs left_… and right_… (or l_…, r_…), list them in the category's 'flip_pairs' or in --flip_pairs, or "
    "train with --flip_probability=0 and --noflip_test"
)


def _of_keypoints(code, indices, skeleton, severity, message, advice):
    if not len(indices):
        return []
    examples = tuple({"note": as_text(skeleton.names[i])} for i in indices[:NUM_EXAMPLES])
    return [Finding(code, severity, message, advice, len(indices), skeleton.num_keypoints, examples)]


def _of_other_category(annotations, table, severity, text):
    if not annotations:
        return []
    examples = tuple({"annotation": example_id(a.get("id"))} for a in annotations[:NUM_EXAMPLES])
    message = f"annotations {text}: used is category {as_text(table.category['id'])}"
    advice = "correct category_id, if these are to be trained on"
    return [Finding("other_category", severity, message, advice, len(annotations), len(table.annotations), examples)]


def _repeated(values):
    """Indices of the values (of a JSON file) that occur more than once."""
    keys = [value if isinstance(value, int | float | str) else None for value in values]
    counts = collections.Counter(keys)
    return [i for i, key in enumerate(keys) if key is not None and counts[key] > 1]
