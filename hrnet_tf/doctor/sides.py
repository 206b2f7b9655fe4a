"""Left and right exchanged: statistics, since a single person may well cross arms or turn away.

For a flip pair, the lead of the left is how far the left keypoint lies to the right of the right one,
in lengths of the person's longer side. Somebody who faces the camera upright has positive leads,
somebody seen from behind negative ones; exchanged labels stand out where the leads of one body disagree.
Shapes: N people, K keypoints, P flip pairs.
"""

from typing import Any

import numpy as np

from hrnet_tf.doctor.findings import Finding, as_text
from hrnet_tf.doctor.table import Table

# Leads below this say nothing: people seen from the side.
_CLEAR = 0.05
# Statistics of fewer people than this are not judged.
_MIN_PEOPLE = 20
# A pair is suspicious if its lead contradicts the other pairs' in more than half of the people,
# shoulders and hips if in more than this share, and eyes that are both visible likewise.
_MANY_TWISTED = 0.1


def check_sides(table: Table) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Findings and, for each flip pair, statistics as `pair_statistics` gives them."""
    if table.skeleton is None or not table.skeleton.flip_pairs or not len(table):
        return [], []
    leads = _leads(table)
    statistics = pair_statistics(table, leads)
    return [*_exchanged_pairs(statistics), *_twisted(table, leads), *_mirrored(table, leads)], statistics


def _leads(table):
    """[N,P] leads of the left; NaN where not both are labelled."""
    left, right = np.array(table.skeleton.flip_pairs).T
    points = np.where(table.labelled[..., None], table.keypoints[..., :2], np.nan)  # [N,K,2]
    empty = ~table.labelled.any(axis=1)
    # People without keypoints get numbers that are not used: NaN alone would make numpy warn.
    filled = np.where(empty[:, None, None], 0.0, points)
    extent = (np.nanmax(filled, axis=1) - np.nanmin(filled, axis=1)).max(axis=-1)  # [N]
    return (points[:, left, 0] - points[:, right, 0]) / np.maximum(extent, 1e-6)[:, None]


def pair_statistics(table: Table, leads: np.ndarray) -> list[dict[str, Any]]:
    """For each flip pair a dict: who has both labelled, and where the left lies.

    `left_further_right` is the share of people whose left lies clearly to the right of their right,
    among those where it lies clearly to either side (most people in photographs face the camera, so
    above one half); `against_body` is the share of people in whom this pair contradicts the mean of
    their other pairs. Shares are None where nobody can be judged.
    """
    assert table.skeleton is not None  # there are flip pairs
    clear = np.abs(leads) > _CLEAR  # NaN is not clear
    statistics = []
    for p, (left, right) in enumerate(table.skeleton.flip_pairs):
        others = _mean(np.delete(leads, p, axis=1))
        judged = clear[:, p] & (np.abs(others) > _CLEAR)
        statistics.append(
            {
                "left": as_text(table.skeleton.names[left]),
                "right": as_text(table.skeleton.names[right]),
                "both_labelled": int(np.isfinite(leads[:, p]).sum()),
                "left_further_right": _share(leads[:, p] > 0, clear[:, p]),
                "judged": int(judged.sum()),
                "against_body": _share(leads[:, p] * others < 0, judged),
            }
        )
    return statistics


def _exchanged_pairs(statistics):
    """Pairs that contradict the rest of the body in most people: their names are exchanged."""
    pairs = [pair for pair in statistics if pair["judged"] >= _MIN_PEOPLE and pair["against_body"] > 0.5]
    if not pairs:
        return []
    message = (
        "flip pairs lie the other way round than the rest of the body in most people: left and right are exchanged"
    )
    advice = "exchange the two names in the category, or the two keypoints in all annotations"
    notes = tuple(
        {"note": f"{p['left']} / {p['right']} in {100 * p['against_body']:.0f} % of {p['judged']}"} for p in pairs[:5]
    )
    return [Finding("pair_exchanged", "warning", message, advice, len(pairs), len(statistics), notes)]


def _twisted(table, leads):
    """People whose shoulders and hips are the opposite way round."""
    shoulders, hips = _pair_with(table, "shoulder"), _pair_with(table, "hip")
    if shoulders is None or hips is None:
        return []
    a, b = leads[:, shoulders], leads[:, hips]
    judged = (np.abs(a) > _CLEAR) & (np.abs(b) > _CLEAR)
    twisted = judged & (a * b < 0)
    return table.of_people(
        "shoulders_against_hips",
        twisted,
        "shoulders and hips are the opposite way round: some are twisted, others have left and right exchanged",
        "look at the picture (--picture): left is orange, and the person's own left",
        _judgement(twisted, judged),
        among=judged,
    )


def _mirrored(table, leads):
    """People with both eyes visible, so facing the camera, whose left eye is on the wrong side."""
    eyes, shoulders = _pair_with(table, "eye"), _pair_with(table, "shoulder")
    if eyes is None:
        return _from_behind(table, leads)
    left, right = table.skeleton.flip_pairs[eyes]
    both = (table.keypoints[:, [left, right], 2] == 2).all(axis=1)
    drop = np.abs(table.keypoints[:, left, 1] - table.keypoints[:, right, 1])
    across = np.abs(table.keypoints[:, left, 0] - table.keypoints[:, right, 0])
    judged = both & (across > 2) & (across > 2 * drop)
    if shoulders is not None:
        low = table.keypoints[:, table.skeleton.flip_pairs[shoulders], 1].mean(axis=1)
        judged &= low > table.keypoints[:, [left, right], 1].mean(axis=1)
    wrong = judged & (leads[:, eyes] < 0)
    return table.of_people(
        "eyes_exchanged",
        wrong,
        "both eyes are visible, but the left one is where a person's right eye is seen: left is the person's own left, "
        "not that of the image",
        "exchange left and right in these annotations; look at the picture (--picture)",
        _judgement(wrong, judged),
        among=judged,
    )


def _from_behind(table, leads):
    """Without eyes: sets in which nearly everybody seems to be seen from behind."""
    body = _mean(leads)
    judged = np.abs(body) > _CLEAR
    behind = judged & (body < 0)
    if judged.sum() < _MIN_PEOPLE or _share(behind, judged) < 0.75:
        return []
    return table.of_people(
        "mostly_from_behind",
        behind,
        "the left is left of the right in most people: all are seen from behind, or sides are those of the image",
        "left is the person's own left; exchange the sides unless these are views from behind",
        "warning",
        among=judged,
    )


def _judgement(wrong, judged):
    many = judged.sum() >= _MIN_PEOPLE and wrong.sum() > _MANY_TWISTED * judged.sum()
    return "warning" if many else "info"


def _pair_with(table, word):
    """Number of the first flip pair with the word in its name, else None."""
    names = [table.skeleton.names[left].lower() for left, _ in table.skeleton.flip_pairs]
    return next((p for p, name in enumerate(names) if word in name and "brow" not in name), None)


def _mean(leads):
    """[N] means of [N,P] over what is not NaN; NaN where nothing is left."""
    known = np.isfinite(leads)
    return np.where(known, leads, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)


def _share(where, among):
    return float(where[among].mean()) if among.any() else None
