"""Checks of the file's structure: images, ids, categories and the keypoint set."""

import collections
from typing import Any

import numpy as np

from hrnet_tf.doctor.findings import NUM_EXAMPLES, Finding, example_id, printable
from hrnet_tf.doctor.table import Table
from hrnet_tf.skeletons import COCO, DEFAULT_OKS_SIGMA, mirrored_name


def check_entries(num_foreign: int, objects: dict[str, list[dict[str, Any]]]) -> list[Finding]:
    """Entries of the lists that are no objects."""
    if not num_foreign:
        return []
    total = num_foreign + sum(map(len, objects.values()))
    message = "entries of images, annotations or categories are no objects: training refuses the file"
    return [Finding("not_objects", "error", message, "remove them from the file", num_foreign, total)]


def check_images(table: Table) -> list[Finding]:
    """Entries of `images`: what they must hold, and ids and files that occur twice."""
    if not table.images:
        message = "the file lists no images: training refuses it"
        return [Finding("no_images", "error", message, "list the images under 'images'", 1, 1)]
    ids = [image.get("id") for image in table.images]
    text_ids = [i for i, image_id in enumerate(ids) if isinstance(image_id, str)]
    malformed = sorted(set(np.flatnonzero(np.isnan(table.sizes[:, 0])).tolist()) - set(text_ids))
    empty = np.setdiff1d(np.arange(len(table.images)), table.image_index)
    return [
        *table.of_images(
            "image_id_text",
            text_ids,
            "image ids are text: training refuses the file",
            "write them as integers, in the annotations' image_id too",
            "error",
        ),
        *table.of_images(
            "image_malformed",
            malformed,
            "images lack an integer id, a file_name, or a positive integer width and height: training refuses the file",
            "complete these entries; width and height are those of the file",
            "error",
        ),
        *table.of_images(
            "duplicate_image_id",
            _repeated(ids),
            "images share an id with another one, so annotations of it may be of either: training refuses the file",
            "number the images anew where sets were merged, and their annotations with them",
            "error",
        ),
        *table.of_images(
            "duplicate_file_name",
            _repeated([image.get("file_name") for image in table.images]),
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
    named = [person.get("image_id") for person in table.people]
    unknown = table.image_index < 0
    image_ids = {str(image.get("id")) for image in table.images if isinstance(image.get("id"), int | str)}
    other_type = np.array([isinstance(i, int | float | str) and _plain(i) in image_ids for i in named], bool) & unknown
    missing = np.array([i is None for i in ids], bool)
    repeated = np.zeros(len(table), bool)
    repeated[_repeated(ids)] = True
    zero = np.array([isinstance(i, int) and i == 0 for i in ids], bool)
    return [
        *table.of_people(
            "image_id_type",
            other_type,
            "image_id is of another type than the image's id (text or a fraction, not an integer): training refuses it",
            "write all ids as integers",
            "error",
        ),
        *table.of_people(
            "unknown_image",
            unknown & ~other_type,
            "annotations of an image that is not listed: training refuses the file",
            "list the image, or remove its annotations",
            "error",
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


def check_categories(table: Table, objects: dict[str, list[dict[str, Any]]]) -> list[Finding]:
    """Which categories have keypoints, and who is in another one."""
    categories = objects["categories"]
    with_names = [category for category in categories if category.get("keypoints")]
    findings = [
        Finding("category_unusable", "error", f"training refuses the file: {problem}", _LIST_NAMES, 1, 1)
        for problem in table.problems
    ]
    if len(with_names) > 1:
        examples = tuple(
            {"note": f"category {printable(category.get('name'))}"} for category in with_names[:NUM_EXAMPLES]
        )
        message = "categories have keypoints, and only the first of them is used"
        advice = "write one file for each keypoint set"
        findings.append(
            Finding("several_categories", "warning", message, advice, len(with_names), len(categories), examples)
        )
    if table.category is not None:
        others = [a for a in table.annotations if a.get("category_id") != table.category["id"]]
        posed = [a for a in others if a.get("keypoints")]
        findings += _of_other_category(posed, table, "warning", "have keypoints, but a category_id that is not used")
        if not posed:
            findings += _of_other_category(others, table, "info", "are of other categories, and left out")
    return findings


def check_skeleton(table: Table) -> list[Finding]:
    """The keypoint set: pairs of left and right, tolerances of evaluation."""
    skeleton = table.skeleton
    if skeleton is None:
        return []
    assert table.category is not None  # it has the skeleton
    findings = []
    paired = {i for pair in skeleton.flip_pairs for i in pair}
    lonely = [i for i, name in enumerate(skeleton.names) if mirrored_name(name) is not None and i not in paired]
    message = "keypoints are of one side by name, but the other side is missing: mirrored images teach them wrongly"
    findings += _of_keypoints("partner_missing", lonely, skeleton, "warning", message, _PAIRS)
    if not paired and not lonely and skeleton.num_keypoints > 1:
        everyone = range(skeleton.num_keypoints)
        message = "no name tells left from right, so mirroring exchanges none: wrong if the object has sides"
        findings += _of_keypoints("no_sides", everyone, skeleton, "warning", message, _PAIRS)
    if table.category.get("sigmas") is None and skeleton.names != COCO.names:
        message = f"the category has no 'sigmas': AP is measured with {DEFAULT_OKS_SIGMA} for every keypoint"
        advice = "add 'sigmas' to the category, one for each keypoint; COCO's are from 0.025 (eyes) to 0.107 (hips)"
        findings += _of_keypoints("sigmas_missing", range(skeleton.num_keypoints), skeleton, "warning", message, advice)
    never = np.flatnonzero(~table.labelled.any(axis=0)) if table.labelled.any() else ()
    message = "keypoints are never labelled: nothing is learnt of them"
    advice = "leave them out of the category, or check the order of the keypoints"
    findings += _of_keypoints("never_labelled", never, skeleton, "warning", message, advice)
    return findings


_LIST_NAMES = "give one category a list 'keypoints' of different names, and an integer id; see COCO's person"
_PAIRS = "name pairs left_… and right_… (or l_…, r_…), or train with --flip_probability=0 and --noflip_test"


def _of_keypoints(code, indices, skeleton, severity, message, advice):
    if not len(indices):
        return []
    examples = tuple({"note": printable(skeleton.names[i])} for i in indices[:NUM_EXAMPLES])
    return [Finding(code, severity, message, advice, len(indices), skeleton.num_keypoints, examples)]


def _of_other_category(annotations, table, severity, text):
    if not annotations:
        return []
    examples = tuple({"annotation": example_id(a.get("id"))} for a in annotations[:NUM_EXAMPLES])
    message = f"annotations {text}: used is category {printable(table.category['id'])}"
    advice = "correct category_id, if these are to be trained on"
    return [Finding("other_category", severity, message, advice, len(annotations), len(table.annotations), examples)]


def _repeated(values):
    """Indices of the values (of a JSON file) that occur more than once."""
    keys = [value if isinstance(value, int | float | str) else None for value in values]
    counts = collections.Counter(keys)
    return [i for i, key in enumerate(keys) if key is not None and counts[key] > 1]


def _plain(number):
    """An id as the text of an integer, where it is one: "7", 7.0 and " 7" are all "7"."""
    text = str(number).strip()
    return text.removesuffix(".0")
