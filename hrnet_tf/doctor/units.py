"""Keypoints outside their boxes or images, and the usual reasons: other units, order or meaning of the numbers.

A reason is tested by reading the numbers that way: it is reported where boxes and keypoints then fit
together for nearly everybody, and do not as they are. Shapes: N people, K keypoints.
"""

import numpy as np

from hrnet_tf.doctor.findings import Finding, by_share
from hrnet_tf.doctor.people import BOX_MARGIN
from hrnet_tf.doctor.table import Table

# Read rightly, this share of the labelled keypoints is in its box; a reading must also gain this much.
_FITS, _GAIN = 0.9, 0.15
# Coordinates up to this are fractions of the image, if the images are larger.
_MAX_FRACTION = 1.5
# More than this share of keypoints outside their boxes is worth a warning.
_MANY_OUTSIDE = 0.05


def _inside_boxes(points, boxes):
    """[N,K] bool: which points [N,K,2] are in their boxes [N,4], widened by a tenth."""
    margin = BOX_MARGIN * np.abs(boxes[:, 2:]).max(axis=1)[:, None, None]
    low, high = boxes[:, None, :2] - margin, boxes[:, None, :2] + boxes[:, None, 2:] + margin
    return ((points >= low) & (points <= high)).all(axis=-1)


def _inside_images(points, sizes):
    """[N,K] bool: which points are in their images, of sizes [N,2] (width, height)."""
    return ((points >= -1) & (points <= sizes[:, None])).all(axis=-1)


def check_units(table: Table) -> list[Finding]:
    """What is outside of what, and readings of the numbers that fit better."""
    if table.skeleton is None:
        return []
    whole = np.isfinite(table.boxes[:, 0]) & np.isfinite(table.person_sizes[:, 0])
    posed = whole & table.labelled.any(axis=1)
    if not posed.any():
        return []
    arrays = table.keypoints[..., :2], table.labelled, table.boxes, table.person_sizes
    reason = _reason(*(array[posed] for array in arrays))
    findings = []
    if reason:
        code, message, advice = reason
        findings = table.of_people(code, posed, message, advice, "error", among=posed)
    return findings + _check_outside(table, posed)


def _check_outside(table, posed):
    points, labelled = table.keypoints[..., :2], table.labelled & posed[:, None]
    out_of_box = labelled & ~_inside_boxes(points, table.boxes)
    out_of_image = labelled & ~_inside_images(points, table.person_sizes)
    findings = table.of_people(
        "box_without_keypoints",
        posed & ~(labelled & ~out_of_box).any(axis=1),
        "people have no labelled keypoint in their box (widened by a tenth): the box is somebody else's or misplaced",
        "correct the box, or the keypoints",
        among=posed,
    )
    for code, outside, of, advice in (
        ("keypoints_outside_box", out_of_box, "box (widened by a tenth)", "see whether they belong together"),
        ("keypoints_outside_image", out_of_image, "image", "see whether images were resized after the annotation"),
    ):
        share = outside.sum() / labelled.sum()
        findings += table.of_people(
            code,
            outside.any(axis=1),
            f"people have labelled keypoints outside their {of}, {100 * share:.1f} % of all labelled keypoints: "
            "outside the crop nothing is learnt of them",
            advice,
            by_share(share) if share > _MANY_OUTSIDE else "info",
            among=posed,
        )
    return findings


def _reason(points, labelled, boxes, sizes):
    """The code, message and advice of the reading that makes the numbers fit, None where they fit as they are."""
    fractions = _are_fractions(points[labelled], sizes), _are_fractions(boxes, sizes)
    if any(fractions):
        names = [name for name, is_fraction in zip(("keypoints", "boxes"), fractions, strict=True) if is_fraction]
        message = f"{' and '.join(names)} are fractions of the image, not pixels: all lie in one corner"
        return "normalised_coordinates", message, "multiply x by the image's width and y by its height"

    def fit(points, boxes):
        return (_inside_boxes(points, boxes) & _inside_images(points, sizes))[labelled].mean()

    corner, size = boxes[:, :2], boxes[:, 2:]
    from_corners = np.concatenate([corner, size - corner], axis=1)
    reach = (corner + size > sizes + 2).any(axis=1).mean()
    corners_fit = ((size > corner) & (size <= sizes + 2)).all(axis=1).mean()
    # Corners read as a size make boxes too large, so that keypoints are inside all the same.
    if reach > 0.3 and corners_fit > 0.98 and fit(points, from_corners) > _FITS:
        return "boxes_are_corners", "boxes are [x1, y1, x2, y2]: as [x, y, width, height] they leave the image", _BOX
    readings = {
        "keypoints_x_y_exchanged": (points[..., ::-1], boxes, "keypoints are (y, x), not (x, y)"),
        "boxes_x_y_exchanged": (points, boxes[:, [1, 0, 3, 2]], "boxes are [y, x, height, width]"),
        "boxes_are_centers": (
            points,
            np.concatenate([corner - size / 2, size], axis=1),
            "boxes are [centre x, centre y, width, height]",
        ),
        "keypoints_of_boxes": (points + corner[:, None], boxes, "keypoints are relative to their box, not the image"),
    }
    as_given = fit(points, boxes)
    share, code = max((fit(read, box), code) for code, (read, box, _) in readings.items())
    if share < _FITS or share < as_given + _GAIN:
        return None
    return code, f"{readings[code][2]} ({100 * share:.0f} % fit then, {100 * as_given:.0f} % as they are)", _ORDER


_BOX = "write bbox as [x, y, width, height]: width = x2 - x1, height = y2 - y1"
_ORDER = "write keypoints as x, y, visibility and bbox as [x, y, width, height], all in pixels of the image"


def _are_fractions(values, sizes):
    """Whether nearly all numbers are fractions, in images that are larger than that."""
    return np.quantile(np.abs(values), 0.95) <= _MAX_FRACTION and np.median(sizes) > 8 * _MAX_FRACTION
