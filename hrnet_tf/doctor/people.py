"""Checks of the annotated people: areas, boxes, keypoints and their visibility.

Shapes: N people, K keypoints.
"""

import numpy as np

from hrnet_tf.data.omissions import FEW
from hrnet_tf.doctor.findings import MAJORITY, Finding
from hrnet_tf.doctor.table import Table

# COCO's ranges of area, in square pixels: APm is of 32² to 96², APl of more.
_MEDIUM, _LARGE = 32**2, 96**2
# A keypoint is outside its box if it is further out than this share of the box's longer side.
BOX_MARGIN = 0.1
# Boxes that reach further than this out of their image, in pixels, are no rounding.
_IMAGE_MARGIN = 2
# A segment fills some half of its box; an area below this share of it is in other units.
_MIN_FILLED = 0.02


def check_areas(table: Table) -> list[Finding]:
    """The areas that COCO's evaluation scales distances with."""
    if not len(table):
        return []
    given = np.array([person.get("area") is not None for person in table.people], bool)
    wanted = table.form.area_of_box is None
    posed = np.any(table.labelled, axis=1)
    box_area = table.boxes[:, 2] * table.boxes[:, 3]
    usable = table.used & (box_area > 0)
    tiny = usable & (table.areas < _MIN_FILLED * box_area)
    huge = usable & (table.areas > 1.1 * box_area + 1)
    return [
        *table.of_people(
            "area_missing",
            ~given & wanted,
            "no area: pycocotools by itself fails; this package takes width x height of the box, everywhere",
            "write the segment's area, or about half of width x height, as COCO's are",
            "warning",
        ),
        *table.of_people(
            "area_malformed",
            given & np.isnan(table.area) & wanted,
            "the area is no finite number: width x height of the box is taken, everywhere",
            "write the segment's area in square pixels, or about half of the box's",
            "warning",
        ),
        *table.of_people(
            "area_zero",
            posed & (table.areas <= 0),
            "the area, or where none is written that of the box, is 0 or less: these people are left out of training "
            "and of evaluation",
            "write the segment's area in square pixels, or about half of the box's",
            among=posed,
        ),
        *table.of_people(
            "area_too_small",
            tiny,
            f"the area is below {100 * _MIN_FILLED:.0f} % of the box's, perhaps not in square pixels: "
            "distances are measured by it, so AP is near 0",
            "write the area in square pixels",
            among=usable,
        ),
        *table.of_people(
            "area_too_large",
            huge,
            "the area is larger than the box: AP is too high, or the box too small",
            "write the area in square pixels; check the boxes",
            "warning",
            among=usable,
        ),
        *_empty_ranges(table, usable),
    ]


def _empty_ranges(table, usable):
    findings = []
    for name, low, high in (("APm", _MEDIUM, _LARGE), ("APl", _LARGE, np.inf)):
        if usable.any() and not (usable & (table.areas >= low) & (table.areas <= high)).any():
            size = f"from {low} to {high}" if np.isfinite(high) else f"above {low}"
            findings += table.of_people(
                f"no_person_for_{name}",
                usable,
                f"nobody's area is {size} square pixels: {name} will be -1, which is no failure",
                "nothing, if the people really are of other sizes; else correct the areas",
                "info",
            )
    return findings


def check_boxes(table: Table) -> list[Finding]:
    """Boxes: numbers, sizes, and where they lie in the image."""
    x, y, w, h = table.boxes.T
    width, height = table.person_sizes.T
    finite = np.isfinite(table.boxes[:, 0])
    severity_of = _severity_of(table)
    placed = finite & np.isfinite(width)
    degenerate = finite & ((w <= 1) | (h <= 1))
    outside = placed & ~degenerate & ((x >= width - 1) | (y >= height - 1) | (x + w <= 1) | (y + h <= 1))
    reach = np.maximum.reduce([-x, -y, x + w - width, y + h - height])
    partly = placed & ~degenerate & ~outside & (reach > _IMAGE_MARGIN)
    return [
        *table.of_people(
            "box_malformed",
            ~finite & ~table.crowd,
            "the box is missing or not 4 finite numbers: left out, and where many are malformed the file is refused",
            "write bbox as [x, y, width, height] in pixels, or remove the annotation",
            severity_of("box"),
        ),
        *table.of_people(
            "box_degenerate",
            degenerate,
            "the box is at most a pixel wide or high: left out of training, or cropped as a point",
            "correct the box, or draw it around the keypoints",
            among=finite,
        ),
        *table.of_people(
            "box_outside_image",
            outside,
            "the box is outside its image: left out of training, and nothing can be predicted there",
            "correct the box, or the image that the annotation names",
            among=placed,
        ),
        *table.of_people(
            "box_partly_outside",
            partly,
            f"the box reaches more than {_IMAGE_MARGIN} pixels out of the image, and is cut at its border",
            "nothing, if the person is cut by the border; else see whether images were resized or boxes are xyxy",
            "warning" if partly.sum() > 0.3 * max(1, placed.sum()) else "info",
            among=placed,
        ),
    ]


def check_keypoints(table: Table) -> list[Finding]:
    """Keypoints: how many numbers there are, and whether visibility and num_keypoints agree with them."""
    if table.skeleton is None:
        return []
    points, visibility = table.keypoints[..., :2], table.keypoints[..., 2]
    finite = np.isfinite(table.keypoints).all(axis=(1, 2))
    other_count = _of_other_count(table)
    missing = np.array([not person.get("keypoints") for person in table.people], bool)
    other_count &= ~table.crowd
    severity_of = _severity_of(table)
    at_origin = (table.labelled & (points == 0).all(axis=-1)).any(axis=1)
    strange = finite & ~np.isin(visibility, (0, 1, 2)).all(axis=1) & (not table.form.parts)  # COCO-WholeBody's: 0 to 2
    hidden = finite & ~table.labelled.any(axis=1) & (points != 0).any(axis=(1, 2))
    return [
        *table.of_people(
            "keypoints_missing",
            missing & ~table.crowd,
            "no list of keypoints: left out of training, ignored in evaluation",
            f"write 3 numbers for each of {table.skeleton.num_keypoints} keypoints, zeros where nothing is labelled",
        ),
        *table.of_people(
            "keypoints_count",
            other_count,
            f"not 3 numbers (x, y, visibility) for each of the category's {table.skeleton.num_keypoints} keypoints: "
            "left out, and where many are malformed the file is refused",
            "write all keypoints in the order of the category, zeros where one is not labelled",
            severity_of("keypoints"),
        ),
        *table.of_people(
            "keypoints_malformed",
            ~finite & ~other_count & ~missing & ~table.crowd,
            "keypoints are not finite numbers: left out, and where many are malformed the file is refused",
            "write zeros where a keypoint is not labelled",
            severity_of("keypoints"),
        ),
        *table.of_people(
            "visibility_values",
            strange,
            "visibility is not 0, 1 or 2: what is above 0 counts as labelled",
            "write 0 not labelled, 1 labelled but hidden, 2 visible",
            "warning",
            among=finite,
        ),
        *table.of_people(
            "labelled_at_origin",
            at_origin,
            "keypoints are labelled at (0, 0), which COCO writes for 'not labelled': the corner of the image is learnt",
            "write visibility 0 for them",
            among=finite,
        ),
        *table.of_people(
            "unlabelled_with_position",
            hidden,
            "keypoints have positions but visibility 0 throughout: nothing is learnt of these people, and they "
            "do not count in AP",
            "write visibility 1 or 2 for labelled keypoints",
            among=finite,
        ),
        # In the files of published sets it counts what their authors mean it to.
        *([] if table.form.keypoint_set else _check_num_keypoints(table, finite)),
    ]


def _of_other_count(table):
    """[N] bool: whose keypoints are lists, but of another length than the set's."""
    other = np.zeros(len(table), bool)
    for field, points in table.form.fields(table.skeleton.num_keypoints):
        wanted = (None, 0, 3 * (points.stop - points.start))
        other |= np.array([_length(person.get(field)) not in wanted for person in table.people], bool)
    return other


def _check_num_keypoints(table, finite):
    labelled = table.labelled.sum(axis=1)
    written = [person.get("num_keypoints") for person in table.people]
    given = np.array([isinstance(n, int) for n in written], bool)
    malformed = np.array([n is not None and not isinstance(n, int) for n in written], bool)
    count = np.array([min(max(n, -1), 10**6) if isinstance(n, int) else 0 for n in written], np.int64)
    ignored = finite & given & (count == 0) & (labelled > 0)
    return [
        *table.of_people(
            "num_keypoints_zero",
            ignored,
            "num_keypoints is 0, but keypoints are labelled: pycocotools by itself ignores these people, this package "
            "counts the keypoints",
            "write the number of keypoints with visibility above 0",
            "info",
            among=labelled > 0,
        ),
        *table.of_people(
            "num_keypoints_differs",
            finite & given & ~ignored & (count != labelled),
            "num_keypoints is not the number of labelled keypoints, which this package counts itself",
            "write the number of keypoints with visibility above 0",
            "info",
            among=finite,
        ),
        *table.of_people(
            "num_keypoints_malformed",
            malformed,
            "num_keypoints is no integer: this package counts the keypoints itself",
            "write the number of keypoints with visibility above 0",
            "info",
        ),
    ]


def check_doubtful(table: Table) -> list[Finding]:
    """Crowds, people without keypoints, people annotated twice."""
    if table.skeleton is None:
        return []
    posed = np.any(table.labelled, axis=1)
    boxes = np.where(np.isfinite(table.boxes), table.boxes, 0)
    keys = np.concatenate([table.image_index[:, None], boxes], axis=1)
    twice = posed & (table.image_index >= 0) & ~table.crowd
    _, inverse, counts = np.unique(keys[twice], axis=0, return_inverse=True, return_counts=True)
    twice[twice] = counts[inverse.ravel()] > 1
    many_crowds = table.crowd.sum() >= MAJORITY * len(table)
    return [
        *table.of_people(
            "duplicate_people",
            twice,
            "people have the same box in the same image as another one: one prediction can only match one of them",
            "remove the copies",
            among=posed,
        ),
        *table.of_people(
            "crowd",
            table.crowd,
            "iscrowd is set: left out of training, and ignored in evaluation (all of them: AP -1)",
            "set iscrowd to 0 for single people",
            "error" if many_crowds else "info",
        ),
        *table.of_people(
            "without_keypoints",
            table.reasons == "unlabelled",
            "no keypoint is labelled: left out of training, ignored in evaluation",
            "nothing, if they cannot be labelled",
            "info",
        ),
    ]


def _severity_of(table):
    """A function from "box" or "keypoints" to the severity of these being malformed: an error where that is refused."""

    def severity(reason):
        return "error" if (table.reasons == reason).sum() > FEW * len(table) else "warning"

    return severity


def _length(values):
    return len(values) if isinstance(values, list) else None
