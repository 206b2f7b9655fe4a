"""Where the keypoints that a person lacks are likeliest.

Shape legend: h and w heatmap, K keypoints, T components of a tag, n keypoints that somebody lacks, b squares of pixels.
"""

import numpy as np

# Side of the squares that are looked through or left out as a whole.
_SIDE = 8
# By how much more squares of each one are looked through every time before it is told anew which others can have more.
_GROWTH = 8
# Distances that are computed at once, for they have to fit in memory and best in a cache.
_AT_ONCE = 1 << 20
# What rounding may take off a distance.
_ROUNDING = 1e-4


def best_pixels(heatmaps: np.ndarray, tags: np.ndarray, means: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The pixel of the largest heatmap - round(|tag - mean tag|), the first where there are several.

    How large that can be in a square of pixels follows from its largest heatmap value and from how far the mean tag is
    from all tags between its smallest and its largest ones. Squares that cannot have the largest are left out.

    Args:
        heatmaps: [h,w,K].
        tags: [h,w,K,T].
        means: [n,T] mean tags.
        keypoints: [n] which map is looked through for each.

    Returns:
        [n] y * w + x. Pixels whose heatmap or tags are not finite are left out.
    """
    height, width, num_keypoints, num_tags = tags.shape
    best = np.zeros(len(means), np.int64)
    if not len(means):
        return best
    flat_tags = tags.reshape(height, width, -1)
    squares = _by_square(heatmaps, np.maximum), _by_square(flat_tags, np.minimum), _by_square(flat_tags, np.maximum)
    lowest, highest = (stats.reshape(-1, num_keypoints, num_tags) for stats in squares[1:])
    with np.errstate(invalid="ignore"):  # infinite heatmaps and tags
        for k in np.unique(keypoints):
            mine = np.flatnonzero(keypoints == k)
            limit = _limits(squares[0][:, k], lowest[:, k], highest[:, k], means[mine])
            best[mine] = _search(limit, heatmaps[..., k], tags[:, :, k], means[mine])
    return best


def _by_square(maps, reduce):
    """[b,C] the smallest or largest value in each square of maps [h,w,C]; not a number where one there is not."""
    beyond = [(0, -side % _SIDE) for side in maps.shape[:2]]
    maps = np.pad(maps, [*beyond, (0, 0)], mode="edge") if np.any(beyond) else maps
    rows = reduce.reduce(maps.reshape(len(maps) // _SIDE, _SIDE, -1), axis=1)
    return reduce.reduce(rows.reshape(-1, _SIDE, maps.shape[2]), axis=1)


def _limits(heat, lowest, highest, means):
    """[n,b] what no pixel of a square is better than, of heat [b] and tags from `lowest` to `highest` [b,T]."""
    squared = np.zeros((len(means), len(heat)), np.float32)
    for t in range(means.shape[1]):
        mean = means[:, t : t + 1]
        squared += np.square(mean - np.clip(mean, lowest[:, t], highest[:, t]))
    limit = heat - np.round(np.sqrt(squared) * (1 - _ROUNDING) - _ROUNDING)
    return np.nan_to_num(limit, nan=np.finfo(np.float32).max)


def _search(limit, heat, tags, means):
    """[n] the best pixels of heat [h,w] and tags [h,w,T] for mean tags [n,T], squares being limited by [n,b]."""
    best, value = np.zeros(len(means), np.int64), np.full(len(means), -np.inf, np.float32)
    count = 1
    while True:
        who = np.flatnonzero((limit >= value[:, None]).any(axis=1) & np.isfinite(limit.max(axis=1)))
        if not len(who):
            return best
        likeliest = np.argpartition(limit[who], -min(count, limit.shape[1]), axis=1)[:, -count:]
        squares = np.unique(likeliest)
        for part in np.array_split(squares, -(-len(squares) * len(who) * _SIDE**2 // _AT_ONCE)):
            pixels, found = _look_through(heat, tags, means[who], part)
            better = (found > value[who]) | ((found == value[who]) & (pixels < best[who]))
            best[who], value[who] = np.where(better, pixels, best[who]), np.maximum(found, value[who])
        limit[np.ix_(who, squares)] = -np.inf
        count *= _GROWTH


def _look_through(heat, tags, means, squares):
    """The best pixel [n] in some squares of heat [h,w] and tags [h,w,T], and its value [n]."""
    height, width = heat.shape
    above, left = np.divmod(squares, -(-width // _SIDE))
    row = (above[:, None] * _SIDE + np.arange(_SIDE))[:, :, None]
    column = (left[:, None] * _SIDE + np.arange(_SIDE))[:, None]
    row, column = np.broadcast_arrays(row, column)
    inside = (row < height) & (column < width)
    row, column = row[inside], column[inside]
    near = tags[row, column]
    value = np.zeros((len(means), len(row)), np.float32)
    for t in range(means.shape[1]):
        value += np.square(near[:, t] - means[:, t : t + 1])
    np.sqrt(value, out=value)
    np.round(value, out=value)
    np.subtract(heat[row, column], value, out=value)
    np.copyto(value, -np.inf, where=~np.isfinite(value))
    highest = value.max(axis=1)
    pixels = np.where(value == highest[:, None], row * width + column, height * width).min(axis=1)
    return pixels, highest
