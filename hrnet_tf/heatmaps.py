"""Keypoints to heatmaps and back: encode, decode and what the flip test needs.

Everything is batched, of static shape and made of TensorFlow operations alone, so that it runs in a
tf.data pipeline, in a compiled step and inside an exported model.

Shape legend: B batch, H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

import tensorflow as tf

from hrnet_tf.models.hrnet import HEATMAP_STRIDE
from hrnet_tf.skeletons import flip_order

REFINEMENTS = ("none", "quarter")


def encode(keypoints, visible, input_size, sigma):
    """Gaussian heatmaps of keypoints, as in the reference ("MSRA" encoding).

    A heatmap's peak of 1 is at the heatmap pixel nearest the keypoint (rounded as
    int(x / 4 + 0.5), towards zero), and the Gaussian ends 3 sigma away, in a square. A keypoint
    whose square lies outside the map has an empty heatmap and weight 0.

    Args:
        keypoints: [B,K,2] (x, y) in crop pixels.
        visible: [B,K] 0 or 1, whether a keypoint is annotated.
        input_size: (H, W) in pixels.
        sigma: standard deviation in heatmap pixels: 2 for 256x192, 3 for 384x288.

    Returns:
        heatmaps [B,h,w,K] and target_weight [B,K], float32.
    """
    height, width = (s // HEATMAP_STRIDE for s in input_size)
    visible = tf.cast(visible, tf.float32)
    center = tf.cast(tf.cast(keypoints / HEATMAP_STRIDE + 0.5, tf.int32), tf.float32)  # [B,K,2]
    radius = 3.0 * sigma
    size = tf.constant([width, height], tf.float32)
    inside = tf.reduce_all((center - radius < size) & (center + radius + 1 >= 0), axis=-1)
    target_weight = tf.where(inside, visible, 0.0)

    def profile(position, length):  # [B,K] -> [B,length,K], one axis of the separable Gaussian
        distance = tf.range(length, dtype=tf.float32)[None, :, None] - position[:, None, :]
        gaussian = tf.exp(-tf.square(distance) / (2.0 * sigma**2))
        return tf.where(tf.abs(distance) <= radius, gaussian, 0.0)

    drawn = tf.where(target_weight > 0.5, 1.0, 0.0)[:, None, :]
    rows = profile(center[..., 1], height) * drawn
    columns = profile(center[..., 0], width)
    return rows[:, :, None, :] * columns[:, None, :, :], target_weight


def decode(heatmaps, refine="quarter"):
    """Keypoints of the heatmaps' maxima.

    Args:
        heatmaps: [B,h,w,K].
        refine: "none" gives the pixel of the first maximum; "quarter" moves it a quarter of a pixel
            towards the larger neighbour in x and in y where 1 < x < w - 1 and 1 < y < h - 1.

    Returns:
        [B,K,3] float32: x and y in heatmap pixels and the score, which is the maximum. Where the
        maximum is not positive, x = y = 0 (before refinement, which such a point never gets).

    Raises:
        ValueError: an unknown `refine`.
    """
    if refine not in REFINEMENTS:
        raise ValueError(f"`refine` must be one of {', '.join(REFINEMENTS)}. Received: {refine!r}")
    heatmaps = tf.convert_to_tensor(heatmaps, tf.float32)
    height, width, num_keypoints = heatmaps.shape[1:]
    flat = tf.transpose(tf.reshape(heatmaps, [-1, height * width, num_keypoints]), [0, 2, 1])  # [B,K,hw]
    score = tf.reduce_max(flat, axis=-1)
    index = tf.where(score > 0, tf.argmax(flat, axis=-1, output_type=tf.int32), 0)  # [B,K]
    x, y = index % width, index // width
    point = tf.cast(tf.stack([x, y], -1), tf.float32)
    if refine == "quarter":
        interior = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
        # Where the point is not interior, any valid index will do: the result is not used.
        safe = tf.where(interior, index, width + 1)
        right, left, below, above = (
            tf.gather(flat, safe + step, axis=-1, batch_dims=2) for step in (1, -1, width, -width)
        )
        towards = tf.sign(tf.stack([right - left, below - above], -1))
        point += 0.25 * tf.where(interior[..., None], towards, 0.0)
    return tf.concat([point, score[..., None]], axis=-1)


def flip_back(heatmaps, flip_pairs, shift=True):
    """Heatmaps of a mirrored crop in the frame of the crop itself.

    Args:
        heatmaps: [B,h,w,K] of the mirrored crop.
        flip_pairs: index pairs of left and right keypoints, `Skeleton.flip_pairs`.
        shift: move by one column to the right, keeping column 0: the pixel grids of a crop and its
            mirror image differ by one heatmap column at stride 4.

    Returns:
        [B,h,w,K].
    """
    heatmaps = tf.gather(tf.reverse(heatmaps, axis=[2]), flip_order(flip_pairs, heatmaps.shape[-1]), axis=-1)
    if shift:
        heatmaps = tf.concat([heatmaps[:, :, :1], heatmaps[:, :, :-1]], axis=2)
    return heatmaps


def pck(heatmaps_true, heatmaps_pred, threshold=0.5):
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
    height, width = heatmaps_true.shape[1:3]
    true = decode(heatmaps_true, "none")[..., :2]
    pred = decode(heatmaps_pred, "none")[..., :2]
    counts = tf.cast(tf.reduce_all(true > 1, axis=-1), tf.float32)  # [B,K]
    distance = tf.norm((true - pred) / tf.constant([width / 10, height / 10], tf.float32), axis=-1)
    hits = tf.reduce_sum(counts * tf.cast(distance < threshold, tf.float32), axis=0)
    total = tf.reduce_sum(counts, axis=0)  # [K]
    share = tf.where(total > 0, hits / tf.maximum(total, 1.0), -1.0)
    known = tf.cast(total > 0, tf.float32)
    return share, tf.reduce_sum(share * known) / tf.maximum(tf.reduce_sum(known), 1.0)
