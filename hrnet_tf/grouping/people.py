"""Candidates into people by their tags.

Newell et al., "Associative Embedding: End-to-End Learning for Joint Detection and Grouping", NeurIPS 2017; steps and
numbers are those of HRNet/HigherHRNet-Human-Pose-Estimation.

Shape legend: h and w heatmap, N people, K keypoints, T components of a tag, M candidates of a keypoint.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from hrnet_tf.errors import InputError
from hrnet_tf.grouping.candidates import THRESHOLD, Candidates, find_candidates
from hrnet_tf.grouping.filling import best_pixels
from hrnet_tf.grouping.order import keypoint_order
from hrnet_tf.skeletons import COCO

# A keypoint joins a person whose mean tag is nearer than this, and only so many people are asked.
MAX_DISTANCE = 1.0
MAX_PEOPLE = 30
# What a unit of distance between tags costs, in heatmap scores.
_DISTANCE_COST = 100
# Whose keypoints score less together is not shown, as one false keypoint with somebody else's for those that it lacks.
_LEAST_SUM = 1.5
# The mean of a person's scores that suffices, if there are hardly more keypoints than that.
_ENOUGH = 0.3


def group(
    heatmaps: np.ndarray,
    tags: np.ndarray,
    adjust: bool = True,
    fill: bool = True,
    order: Sequence[int] | None = None,
    candidates: Candidates | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The people in heatmaps and tags.

    Keypoint after keypoint, candidates are assigned to the people found so far, so that the sum of 100 for every whole
    unit of distance between tags, less the scores, is least (`scipy.optimize.linear_sum_assignment`). Who is nobody's
    starts a person. So there may be more than 30, each keypoint having 30 candidates at most.

    Args:
        heatmaps: [h,w,K].
        tags: [h,w,K,T], T = 2 with the flip test and 1 without; or [h,w,K] for T = 1.
        adjust: move keypoints a quarter of a pixel towards the larger neighbour in x and in y, and then by half a
            pixel, as pixels are counted from their corners.
        fill: give people the keypoints they lack, where a positive heatmap is highest once the distance of the tag to
            the person's, in whole numbers, is taken off; moved as with `adjust`.
        order: K indices, in which keypoints are assigned, as of `keypoint_order`. None is COCO's for 17 keypoints, else
            as they come.
        candidates: as of `find_candidates`, which finds them where they are not given, or of `graph.find_candidates`.

    Returns:
        people [N,K,3] float32, x and y in heatmap pixels and the score, zeros for what a person lacks; and their
        scores [N] float32, the mean of the scores of all K keypoints before they are filled in. In the order in which
        they are found. Pixels whose heatmap or tags are not finite are nobody's.

    Raises:
        InputError: the maps have other shapes.
    """
    heatmaps, tags = _checked(heatmaps, tags)
    num_keypoints = heatmaps.shape[2]
    if candidates is None:
        candidates = find_candidates(heatmaps, tags)
    if order is None:
        order = keypoint_order(COCO) if num_keypoints == COCO.num_keypoints else range(num_keypoints)
    pixels, scores, means = _assign(candidates, order)
    people = np.zeros((len(pixels), num_keypoints, 3), np.float32)
    keypoints = np.broadcast_to(np.arange(num_keypoints), pixels.shape)
    has = scores > 0
    place = _moved if adjust else _corners
    people[has] = _points(heatmaps, pixels[has], keypoints[has], place)
    people_scores = scores.mean(axis=1, dtype=np.float32) if len(scores) else np.zeros(0, np.float32)
    if fill:
        person, keypoint = np.nonzero(~has)
        found = best_pixels(heatmaps, tags, means[person], keypoint)
        points = _points(heatmaps, found, keypoint, _moved)
        points[points[:, 2] <= 0] = 0
        people[person, keypoint] = points
    return people, people_scores


def least_score(num_keypoints: int) -> float:
    """The score of `group` that somebody of K keypoints must have to be shown, as predictions of this package do.

    `group` itself leaves nobody out: average precision loses nothing by people of low scores.
    """
    return min(_LEAST_SUM / num_keypoints, _ENOUGH)


def _checked(heatmaps, tags):
    heatmaps, tags = np.asarray(heatmaps, np.float32), np.asarray(tags, np.float32)
    if tags.ndim == 3:
        tags = tags[..., None]
    if heatmaps.ndim != 3 or tags.ndim != 4 or tags.shape[:3] != heatmaps.shape or 0 in tags.shape:
        raise InputError(
            f"heatmaps must be [h,w,K] and tags [h,w,K,T] of the same size. Received: {list(heatmaps.shape)} and "
            f"{list(tags.shape)}"
        )
    return heatmaps, tags


def _assign(candidates, order):
    """Candidates by person.

    Returns:
        pixels [N,K] and scores [N,K], 0 where a person has no keypoint; mean tags [N,T].
    """
    num_keypoints = len(candidates.pixels)
    # As many as there can be: nobody joins anybody.
    most = int(np.count_nonzero(candidates.scores > THRESHOLD))
    pixels, scores = np.zeros((most, num_keypoints), np.int64), np.zeros((most, num_keypoints), np.float32)
    sums, counts = np.zeros((most, candidates.tags.shape[2]), np.float32), np.zeros((most, 1), np.float32)
    num_people = 0
    for k in order:
        there = candidates.scores[k] > THRESHOLD
        found, tags = candidates.scores[k, there], candidates.tags[k, there]
        asked = min(num_people, MAX_PEOPLE)
        distance = np.linalg.norm(tags[:, None] - sums[:asked] / counts[:asked], axis=2)  # [M,asked]
        rows, columns = linear_sum_assignment(np.round(distance) * _DISTANCE_COST - found[:, None])
        person = np.full(len(found), -1)
        near = distance[rows, columns] < MAX_DISTANCE
        person[rows[near]] = columns[near]
        new = person < 0
        person[new] = num_people + np.arange(np.count_nonzero(new))
        num_people += np.count_nonzero(new)
        pixels[person, k], scores[person, k] = candidates.pixels[k, there], found
        sums[person] += tags
        counts[person] += 1
    return pixels[:num_people], scores[:num_people], sums[:num_people] / counts[:num_people]


def _points(heatmaps, pixels, keypoints, place):
    """[n,3] x, y and score of pixels [n] of the maps of keypoints [n]; `place` says where in the pixel."""
    row, column = np.divmod(pixels, heatmaps.shape[1])
    x, y = place(heatmaps, row, column, keypoints)
    return np.stack([x, y, heatmaps[row, column, keypoints]], axis=-1).astype(np.float32)


def _corners(heatmaps, row, column, keypoints):
    return column, row


def _moved(heatmaps, row, column, keypoints):
    """A quarter of a pixel from the middle towards the larger neighbour; towards 0 where they are alike."""
    height, width, _ = heatmaps.shape
    right, left = (heatmaps[row, np.clip(column + step, 0, width - 1), keypoints] for step in (1, -1))
    below, above = (heatmaps[np.clip(row + step, 0, height - 1), column, keypoints] for step in (1, -1))
    return column + np.where(right > left, 0.75, 0.25), row + np.where(below > above, 0.75, 0.25)
