"""Keypoints to heatmaps and back: encode, decode and what the flip test needs.

Everything is batched, of static shape and made of TensorFlow operations alone, so that it runs in a
tf.data pipeline, in a compiled step and inside an exported model.

Shape legend: B batch, H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from hrnet_tf import integral
from hrnet_tf.codecs import CODECS as CODECS
from hrnet_tf.codecs import REFINEMENTS as REFINEMENTS
from hrnet_tf.codecs import get_codec as get_codec
from hrnet_tf.models.variants import HEATMAP_STRIDE
from hrnet_tf.skeletons import flip_order

# The published sigmas, 2 at 256x192 and 3 at 384x288, are the heatmap's height divided by this.
_HEIGHT_PER_SIGMA = 32

# Second-order expansions look so many pixels around a maximum.
_PATCH_RADIUS = 2


def crop_pixels(input_size: tuple[int, int], codec: str = "msra") -> tuple[float, float]:
    """(x, y) crop pixels from one heatmap pixel to the next, for crops of (H, W)."""
    height, width = input_size
    if get_codec(codec).align_corners:
        x, y = ((size - 1) / (size // HEATMAP_STRIDE - 1) for size in (width, height))
        return x, y
    return HEATMAP_STRIDE, HEATMAP_STRIDE


def encode(
    keypoints: tf.Tensor | np.ndarray,
    visible: tf.Tensor | np.ndarray,
    input_size: tuple[int, int],
    sigma: float,
    codec: str = "msra",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gaussian heatmaps of keypoints, with a peak of 1.

    "msra" is the reference's encoding: the peak is at the heatmap pixel nearest the keypoint
    (rounded as int(x / 4 + 0.5), towards zero), and the Gaussian ends 3 sigma away, in a square.
    "udp" has the same square, but the Gaussian in it is centred on the keypoint itself. "dark" is
    centred there too, and does not end. A keypoint whose square lies outside the map has an empty
    heatmap and weight 0.

    Args:
        keypoints: [B,K,2] (x, y) in crop pixels.
        visible: [B,K] 0 or 1, whether a keypoint is annotated.
        input_size: (H, W) in pixels.
        sigma: standard deviation in heatmap pixels: 2 for 256x192, 3 for 384x288.
        codec: a name in `CODECS`.

    Returns:
        heatmaps [B,h,w,K] and target_weight [B,K], float32.

    Raises:
        ValueError: an unknown `codec`.
    """
    stride = tf.constant(crop_pixels(input_size, codec), tf.float32)
    height, width = (s // HEATMAP_STRIDE for s in input_size)
    visible = tf.cast(visible, tf.float32)
    position = tf.cast(keypoints, tf.float32) / stride  # [B,K,2] heatmap pixels
    nearest = tf.cast(tf.cast(position + 0.5, tf.int32), tf.float32)
    peak = nearest if codec == "msra" else position
    middle = position if codec == "dark" else nearest  # of the square
    radius = 3.0 * sigma
    size = tf.constant([width, height], tf.float32)
    inside = tf.reduce_all((middle - radius < size) & (middle + radius + 1 >= 0), axis=-1)
    target_weight = tf.where(inside, visible, 0.0)

    def profile(axis, length):  # -> [B,length,K], one axis of the separable Gaussian
        pixels = tf.range(length, dtype=tf.float32)[None, :, None]
        gaussian = tf.exp(-tf.square(pixels - peak[:, None, :, axis]) / (2.0 * sigma**2))
        if codec == "dark":
            return gaussian
        return tf.where(tf.abs(pixels - middle[:, None, :, axis]) <= radius, gaussian, 0.0)

    drawn = tf.where(target_weight > 0.5, 1.0, 0.0)[:, None, :]
    rows, columns = profile(1, height) * drawn, profile(0, width)
    return rows[:, :, None, :] * columns[:, None, :, :], target_weight


def decode(heatmaps: tf.Tensor | np.ndarray, refine: str = "quarter", sigma: float | None = None) -> tf.Tensor:
    """Keypoints of the heatmaps' maxima, or of their means.

    Args:
        heatmaps: [B,h,w,K].
        refine: "none" gives the pixel of the first maximum; "quarter" moves it a quarter of a pixel
            towards the larger neighbour in x and in y where 1 < x < w - 1 and 1 < y < h - 1; "dark"
            and "udp" move it to the maximum of a parabola through the logarithm of the blurred
            heatmap, "dark" where 1 < x < w - 2 and 1 < y < h - 2, "udp" everywhere. "integral" gives the mean of the
            distribution that the heatmap's softmax is, as networks trained by `losses.KeypointDSNT` learn it.
        sigma: of the heatmaps, in their pixels, for the blur of "dark" and "udp": the kernel has
            11 pixels for 2 and 17 for 3. By default h / 32, the published sigma for that size.

    Returns:
        [B,K,3] float32: x and y in heatmap pixels and the score, which is the maximum. Where the
        maximum is not positive, x = y = 0. Of "integral" the score is the probability around the point,
        `integral.nearby`, and x = y = 0 where a heatmap is not finite.

    Raises:
        ValueError: an unknown `refine`.
    """
    if refine not in REFINEMENTS:
        raise ValueError(f"`refine` must be one of {', '.join(REFINEMENTS)}. Received: {refine!r}")
    heatmaps = tf.convert_to_tensor(heatmaps, tf.float32)
    if refine == "integral":
        maps = integral.probabilities(heatmaps)
        point = integral.expected_points(maps)
        score = integral.nearby(maps, point)[..., None]
        return tf.concat([tf.where(score >= 0, point, 0.0), score], axis=-1)
    height, width, num_keypoints = heatmaps.shape[1:]
    flat = tf.reshape(heatmaps, [-1, height * width, num_keypoints])
    index = tf.argmax(flat, axis=1, output_type=tf.int32)  # [B,K]
    (score,) = _neighbours(heatmaps, index % width, index // width, [(0, 0)])
    index = tf.where(score > 0, index, 0)
    x, y = index % width, index // width
    point = tf.cast(tf.stack([x, y], -1), tf.float32)
    if refine == "quarter":
        point += _quarter_step(heatmaps, x, y)
    elif refine != "none":
        patch = _log_blurred(heatmaps, x, y, sigma or height / _HEIGHT_PER_SIGMA, refine)
        step = _taylor_step(patch, refine)
        if refine == "dark":
            step = tf.where(_interior(heatmaps, x, y, 2)[..., None], step, 0.0)
        point += tf.where(score[..., None] > 0, step, 0.0)
    return tf.concat([point, score[..., None]], axis=-1)


def _neighbours(maps, x, y, steps):
    """Values [B,K] of maps [B,h,w,K] at (x, y) [B,K] plus each of `steps`, on the border for those beyond it."""
    height, width, num_keypoints = maps.shape[1:]
    dx, dy = np.transpose(steps).astype(np.int32)
    columns = tf.clip_by_value(x[..., None] + dx, 0, width - 1)
    rows = tf.clip_by_value(y[..., None] + dy, 0, height - 1)
    index = (rows * width + columns) * num_keypoints + tf.range(num_keypoints)[:, None]
    flat = tf.reshape(maps, [-1, height * width * num_keypoints])
    found = tf.gather(flat, tf.reshape(index, [-1, num_keypoints * len(steps)]), axis=1, batch_dims=1)
    return tf.unstack(tf.reshape(found, [-1, num_keypoints, len(steps)]), axis=-1)


def _quarter_step(maps, x, y):
    """[B,K,2] a quarter of a pixel from (x, y) towards the larger neighbours in maps [B,h,w,K]."""
    right, left, below, above = _neighbours(maps, x, y, [(1, 0), (-1, 0), (0, 1), (0, -1)])
    towards = tf.sign(tf.stack([right - left, below - above], -1))
    return 0.25 * tf.where(_interior(maps, x, y, 1)[..., None], towards, 0.0)


def _interior(maps, x, y, margin):
    """[B,K] whether 1 < x < w - margin and 1 < y < h - margin in maps [B,h,w,K]."""
    height, width = maps.shape[1:3]
    return (x > 1) & (x < width - margin) & (y > 1) & (y < height - margin)


def _log_blurred(maps, x, y, sigma, refine):
    """Logarithm of maps [B,h,w,K] after a Gaussian blur which keeps each map's maximum, around (x, y) [B,K].

    Returns:
        [B,K,5,5] float32, from 2 pixels above and left of (x, y) to 2 below and right; beyond the map, its border.
    """
    # OpenCV's rule for a kernel's size and standard deviation, from which 11 and 17 pixels come.
    radius = max(1, round((sigma - 0.8) / 0.3 + 1))
    sigma = 0.3 * (radius - 1) + 0.8
    kernel = np.exp(-(np.arange(radius + 2) ** 2) / (2 * sigma**2))  # by distance: nothing beyond the radius
    kernel[-1] = 0
    kernel = np.float32(kernel / (2 * kernel.sum() - kernel[0]))

    def around(middle, length):  # the n pixels that the patch is made of, [B,K,n], and their weights in it, [B,K,5,n]
        near = tf.clip_by_value(middle[..., None] + tf.range(-_PATCH_RADIUS, _PATCH_RADIUS + 1), 0, length - 1)
        count = min(2 * (_PATCH_RADIUS + radius) + 1, length)
        first = tf.clip_by_value(middle - count // 2, 0, length - count)
        pixels = first[..., None] + tf.range(count)
        distance = tf.abs(near[..., None] - pixels[:, :, None])
        return pixels, tf.gather(tf.constant(kernel), tf.minimum(distance, radius + 1))

    def blur_matrix(length):  # the convolution along an axis, zero beyond the map
        distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        return kernel[np.minimum(distance, radius + 1)]

    height, width, num_keypoints = maps.shape[1:]
    maps = tf.transpose(maps, [0, 3, 1, 2])  # [B,K,h,w]
    (rows, down), (columns, across) = around(y, height), around(x, width)
    window = tf.transpose(tf.gather(maps, rows, batch_dims=2), [0, 1, 3, 2])
    window = tf.gather(window, columns, batch_dims=2)  # [B,K,n,n], columns by rows
    # Not a matrix product: GPUs keep 10 bits of float32's mantissa in those by default; ...
    patch = tf.reduce_sum(down[:, :, :, None] * window[:, :, None], axis=-1)  # [B,K,5,n]
    patch = tf.reduce_sum(patch[:, :, :, None] * across[:, :, None], axis=-1)
    # ... which is enough for the maximum: it decides no more than what is too small for a logarithm.
    # Of three dimensions: TensorFlow 2.21 with oneDNN writes beyond its memory if [B,1,h,w] is multiplied by [w,w].
    blurred = blur_matrix(height) @ tf.reshape(maps, [-1, height, width]) @ blur_matrix(width)
    blurred = tf.reshape(blurred, [-1, num_keypoints, height, width])
    largest, blurred_largest = (tf.reduce_max(m, axis=[2, 3], keepdims=True) for m in (maps, blurred))
    patch *= tf.math.divide_no_nan(largest, blurred_largest)
    smallest, largest = (1e-10, np.inf) if refine == "dark" else (1e-3, 50.0)
    return tf.math.log(tf.clip_by_value(patch, smallest, largest))


def _taylor_step(patch, refine):
    """[B,K,2] step from the middle of a patch [B,K,5,5] to where its second-order expansion is stationary."""

    def at(dx, dy):
        return patch[..., _PATCH_RADIUS + dy, _PATCH_RADIUS + dx]

    center, right, left, below, above = at(0, 0), at(1, 0), at(-1, 0), at(0, 1), at(0, -1)
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    if refine == "dark":
        dxx, dyy = 0.25 * (at(2, 0) - 2 * center + at(-2, 0)), 0.25 * (at(0, 2) - 2 * center + at(0, -2))
        dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
    else:
        # The reference's guard against a flat map, whose matrix cannot be inverted.
        epsilon = float(np.finfo(np.float32).eps)
        dxx, dyy = right - 2 * center + left + epsilon, below - 2 * center + above + epsilon
        dxy = 0.5 * (at(1, 1) - right - below + 2 * center - left - above + at(-1, -1))
    determinant = (dxx * dyy - tf.square(dxy))[..., None]
    return tf.math.divide_no_nan(tf.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], -1), determinant)


def flip_back(heatmaps: tf.Tensor | np.ndarray, flip_pairs: Iterable[tuple[int, int]], shift: bool = True) -> tf.Tensor:
    """Heatmaps of a mirrored crop in the frame of the crop itself.

    Args:
        heatmaps: [B,h,w,K] of the mirrored crop.
        flip_pairs: index pairs of left and right keypoints, `Skeleton.flip_pairs`.
        shift: move by one column to the right, keeping column 0: the pixel grids of a crop and its
            mirror image differ by one heatmap column at stride 4.

    Returns:
        [B,h,w,K].
    """
    height, width, num_keypoints = heatmaps.shape[1:]
    columns = np.arange(width)[::-1]
    if shift:
        columns = np.concatenate([columns[:1], columns[:-1]])
    moved = columns[:, None] * num_keypoints + flip_order(flip_pairs, num_keypoints)  # [w,K] from where
    # Gathering whole columns of the heatmap is several times as fast as gathering single values.
    flat = tf.reshape(tf.transpose(heatmaps, [0, 2, 3, 1]), [-1, width * num_keypoints, height])
    flat = tf.gather(flat, moved.ravel(), axis=1)
    return tf.transpose(tf.reshape(flat, [-1, width, num_keypoints, height]), [0, 3, 1, 2])


def pck(
    heatmaps_true: tf.Tensor | np.ndarray, heatmaps_pred: tf.Tensor | np.ndarray, threshold: float = 0.5
) -> tuple[tf.Tensor, tf.Tensor]:
    """Share of keypoints predicted within 5 % of the heatmap's size: the "accuracy" printed in training.

    A keypoint counts if its true maximum lies beyond the first two rows and columns; its distance is
    divided by a tenth of the heatmap's width and height, and must be below `threshold`.

    Args:
        heatmaps_true: [B,h,w,K].
        heatmaps_pred: [B,h,w,K].
        threshold: in tenths of the heatmap.

    Returns:
        Per-keypoint share [K], -1 where no keypoint counts, and the mean over the others, a scalar.
    """
    true = decode(heatmaps_true, "none")[..., :2]
    pred = decode(heatmaps_pred, "none")[..., :2]
    return pck_of_points(true, pred, tf.reduce_all(true > 1, axis=-1), heatmaps_true.shape[1:3], threshold)


def pck_of_points(
    true: tf.Tensor, pred: tf.Tensor, counts: tf.Tensor, heatmap_size: tuple[int, int], threshold: float = 0.5
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `pck`, of points [B,K,2] in pixels of heatmaps of (h, w), and which of them count, [B,K] bool."""
    height, width = heatmap_size
    counts = tf.cast(counts, tf.float32)
    distance = tf.norm((true - pred) / tf.constant([width / 10, height / 10], tf.float32), axis=-1)
    hits = tf.reduce_sum(counts * tf.cast(distance < threshold, tf.float32), axis=0)
    total = tf.reduce_sum(counts, axis=0)  # [K]
    share = tf.where(total > 0, hits / tf.maximum(total, 1.0), -1.0)
    known = tf.cast(total > 0, tf.float32)
    return share, tf.reduce_sum(share * known) / tf.maximum(tf.reduce_sum(known), 1.0)
