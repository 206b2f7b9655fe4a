"""Where keypoints may be: the highest local maxima of every heatmap.

Shape legend: h and w heatmap, K keypoints, T components of a tag, M candidates of a keypoint.
"""

from typing import NamedTuple

import numpy as np

# Of the reference implementation: maxima of windows of so many pixels, so many of each keypoint, those above this.
WINDOW = 5
MAX_CANDIDATES = 30
THRESHOLD = 0.1
_RADIUS = WINDOW // 2
_NEAREST = ((0, 1), (0, -1), (1, 0), (-1, 0))
_OTHERS = tuple(
    (dy, dx)
    for dy in range(-_RADIUS, _RADIUS + 1)
    for dx in range(-_RADIUS, _RADIUS + 1)
    if (dy, dx) not in ((0, 0), *_NEAREST)
)


class Candidates(NamedTuple):
    """The candidates of every keypoint, the best first; where there are fewer than M, scores are 0.

    Attributes:
        pixels: [K,M] integers, y * w + x.
        scores: [K,M] float32, the heatmaps there.
        tags: [K,M,T] float32, the tags there.
    """

    pixels: np.ndarray
    scores: np.ndarray
    tags: np.ndarray


def find_candidates(heatmaps: np.ndarray, tags: np.ndarray) -> Candidates:
    """The best maxima of each heatmap that are above the threshold.

    A maximum is as high as everything in a window of 5x5 pixels around it. What is not a number, in the heatmap or in
    its tags, is no candidate.

    Args:
        heatmaps: [h,w,K] float32.
        tags: [h,w,K,T] float32.

    Returns:
        `Candidates`, 30 of each keypoint.
    """
    height, width, num_keypoints = heatmaps.shape
    flat = np.ascontiguousarray(heatmaps).reshape(-1)
    tags = tags.reshape(flat.size, -1)
    found = np.flatnonzero(flat > THRESHOLD)
    # The nearest neighbours leave few to compare with all others.
    for neighbours in (_NEAREST, _OTHERS):
        found = _not_below(flat, found, neighbours, (height, width, num_keypoints))
    found = found[np.isfinite(flat[found]) & np.isfinite(tags[found]).all(axis=1)]
    keypoint, pixel = found % num_keypoints, found // num_keypoints
    order = np.lexsort((pixel, -flat[found], keypoint))
    found, keypoint, pixel = found[order], keypoint[order], pixel[order]
    rank = np.arange(len(found)) - np.searchsorted(keypoint, keypoint)
    kept = rank < MAX_CANDIDATES
    found, place = found[kept], (keypoint[kept], rank[kept])
    shape = num_keypoints, MAX_CANDIDATES
    result = Candidates(
        np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros((*shape, tags.shape[1]), np.float32)
    )
    for values, target in zip((pixel[kept], flat[found], tags[found]), result, strict=True):
        target[place] = values
    return result


def _not_below(flat, found, neighbours, shape):
    """Those of the places `found` in maps [h,w,K] that are not below any of their neighbours (dy, dx) inside."""
    height, width, num_keypoints = shape
    row, column = np.divmod(found // num_keypoints, width)
    values = flat[found]
    kept = np.ones(len(found), bool)
    for dy, dx in neighbours:
        inside = (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        other = flat[np.where(inside, found + (dy * width + dx) * num_keypoints, found)]
        kept &= ~((values < other) & (other < np.inf))  # what is no finite number counts as nothing
    return found[kept]
