"""Who of an annotation file's people counts, in training and in evaluation alike, and what is said of the others.

Shapes: N people, K keypoints.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from hrnet_tf.data.omissions import FEW, Omission, short
from hrnet_tf.files import MAX_COORDINATE

if TYPE_CHECKING:
    from hrnet_tf.data.annotations import AnnotationTable

# So many predictions of an image count in COCO's evaluation.
MAX_EVALUATED = 20
_PIXELS = "Write bbox as [x, y, width, height], in pixels"
# Why people are left out: what to call them, and what to do where that is everybody.
REASONS = {
    "crowd": ("crowds (iscrowd)", "Set iscrowd to 0 for single people"),
    "image": (
        "people of images that are not listed",
        "List their images under 'images', with the ids that image_id has",
    ),
    "no_keypoints": ("people without keypoints", "Use a keypoint annotation file (person_keypoints_*.json)"),
    "keypoints": ("people with malformed keypoints", "Write x, y, visibility for every keypoint of the category"),
    "unlabelled": ("people without a labelled keypoint", "Write visibility 1 or 2 for labelled keypoints"),
    "no_box": ("people without a box", "Write bbox as [x, y, width, height], around the keypoints"),
    "box": ("people with a malformed box", _PIXELS),
    "outside": ("people with a box that is empty or outside its image", _PIXELS),
    "area": ("people with an area of 0", "Write areas above 0, or none and boxes that have a width and a height"),
}


def _clipped(boxes, sizes):
    """[N,4] parts of boxes inside images of sizes [N,2], NaN where there is none; the last pixel is at width - 1."""
    low = np.maximum(0.0, boxes[:, :2])
    last = np.where(np.isnan(sizes), np.inf, sizes - 1.0)
    high = np.minimum(last, low + np.maximum(0.0, boxes[:, 2:] - 1))
    extent = high - low
    empty = (extent < 0).any(axis=1) | (extent == 0).all(axis=1)
    return np.where(empty[:, None], np.nan, np.concatenate([low, extent], axis=1))


def judged(table: "AnnotationTable") -> "AnnotationTable":
    """The table with `clipped`, `reasons` and what is to be said of its people."""
    people = table.people
    clipped = _clipped(table.boxes, table.person_sizes)
    no_keypoints = np.array([not person.get("keypoints") for person in people], bool)
    no_box = np.array([not person.get("bbox") for person in people], bool)
    malformed = np.isnan(table.keypoints).any(axis=(1, 2)) if table.skeleton else np.zeros(len(people), bool)
    tests = {
        "crowd": table.crowd,
        "image": table.image_index < 0,
        "no_keypoints": no_keypoints,
        "keypoints": malformed,
        "unlabelled": ~table.labelled.any(axis=1),
        "no_box": no_box,
        "box": np.isnan(table.boxes).any(axis=1),
        "outside": np.isnan(clipped).any(axis=1),
        "area": ~(table.areas > 0),
    }
    reasons = np.select(list(tests.values()), list(tests), default="").astype(object)
    table = dataclasses.replace(table, clipped=clipped, reasons=reasons)
    if table.skeleton is not None:
        _say_left_out(table)
        _say_read(table)
    return table


def _say_left_out(table):
    """Who is left out, and where they are all or many why the file is refused."""
    total = len(table)
    for reason, (what, _) in REASONS.items():
        rows = np.flatnonzero(table.reasons == reason)
        if not len(rows):
            continue
        if reason in ("keypoints", "box") and len(rows) > FEW * total:
            table.problems.setdefault("people", _malformed(table, rows, reason))
        example = _name(table, rows[0])
        if reason == "image":
            example += f": image_id {short(table.people[rows[0]].get('image_id'))}"
        table.omissions.append(Omission("left out", what, len(rows), total, example))
    if not table.used.any() and not table.problems:
        table.problems["nobody"] = _nobody(table)


def _name(table, row):
    return f"annotation {short(table.people[row].get('id'))}"


def _malformed(table, rows, reason):
    """The refusal of people whose numbers cannot be used."""
    key, width = ("bbox", 4) if reason == "box" else _malformed_field(table, rows[0])
    values = table.people[rows[0]].get(key)
    received = f"{len(values)} in {short(values)}" if isinstance(values, list) else short(values)
    return (
        f"{table.path}: {_name(table, rows[0])} is malformed: {width} finite numbers up to {MAX_COORDINATE:g} are "
        f"wanted for '{key}'. Received: {received}; such are {len(rows)} of {len(table)} people. {REASONS[reason][1]}"
    )


def _malformed_field(table, row):
    """The field of somebody's malformed keypoints, and how many numbers it has to hold."""
    for field, points in table.form.fields(table.skeleton.num_keypoints):
        if np.isnan(table.keypoints[row, points]).any():
            return field, 3 * (points.stop - points.start)
    raise AssertionError


def _nobody(table):
    """The refusal of a file whose people are all left out."""
    counts = {reason: int((table.reasons == reason).sum()) for reason in REASONS}
    found = [f"{count} {REASONS[reason][0]}" for reason, count in counts.items() if count]
    others = len(table.annotations) - len(table)
    if others:
        found.append(f"{others} of other categories than {short(table.category.get('name'))}")
    advice = REASONS[max(counts, key=counts.__getitem__)][1]
    if others and not len(table):
        advice = "Give the annotations the category_id of the category that lists keypoints"
    elif not found:
        advice = "Use a file with annotated people"
    return (
        f"{table.path}: nobody is left to train on or to evaluate. Read: {len(table.annotations)} annotations, "
        f"{', '.join(found) or 'so nobody'}. Wanted: people with a box, an area and a labelled keypoint. {advice}"
    )


def _say_read(table):
    """What of the people that count was read in another way than it is written, or assumed."""
    used, people = table.used, table.people
    total = int(used.sum())

    def say(action, what, where):
        rows = np.flatnonzero(where)
        if len(rows):
            table.omissions.append(Omission(action, what, len(rows), 0, _name(table, rows[0])))

    odd = [person.get("iscrowd", 0) for person in people]
    odd_crowd = np.array([value is not None and not isinstance(value, int) for value in odd], bool)
    say("read", "people whose iscrowd is no integer, as it is meant", odd_crowd)
    uncounted = [not isinstance(p.get("num_keypoints", 1), int) or p.get("num_keypoints", 1) <= 0 for p in people]
    say("read", "people's num_keypoints, no number above 0, from their keypoints", used & np.array(uncounted, bool))
    if table.form.area_of_box is None:
        say("assumed", "areas that are not written, as width x height of the box", used & np.isnan(table.area))
    counts = np.bincount(table.image_index[used], minlength=1) if total else np.zeros(1, int)
    crowded = np.flatnonzero(counts > MAX_EVALUATED)
    if len(crowded):
        what = f"images with more than {MAX_EVALUATED} people: evaluation counts the {MAX_EVALUATED} best of each"
        example = f"image {table.image_ids[crowded[0]]} has {counts[crowded[0]]}"
        table.omissions.append(Omission("not evaluated in full", what, len(crowded), 0, example))
