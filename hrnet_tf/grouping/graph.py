"""The candidates as TensorFlow operations, for the device that the maps are on.

Shape legend: h and w heatmap, K keypoints, T components of a tag.
"""

import tensorflow as tf

from hrnet_tf.grouping.candidates import MAX_CANDIDATES, THRESHOLD, WINDOW, Candidates


def find_candidates(heatmaps: tf.Tensor, tags: tf.Tensor) -> Candidates:
    """`hrnet_tf.grouping.find_candidates` in a graph.

    Args:
        heatmaps: [h,w,K] float32.
        tags: [h,w,K,T] float32.

    Returns:
        `Candidates` of tensors: pixels [K,30] int32, scores [K,30], tags [K,30,T].
    """
    heatmaps, tags = tf.convert_to_tensor(heatmaps), tf.convert_to_tensor(tags)
    num_keypoints, num_tags = tags.shape[2:]
    numbers = tf.where(tf.math.is_finite(heatmaps), heatmaps, heatmaps.dtype.min)
    highest = tf.nn.max_pool2d(numbers[None], WINDOW, 1, "SAME")[0]
    usable = tf.reduce_all(tf.math.is_finite(tags), axis=-1) & (numbers > THRESHOLD)
    scores = tf.transpose(tf.where((numbers == highest) & usable, numbers, 0.0), [2, 0, 1])
    # At least as many pixels as candidates, in the smallest of maps too.
    scores = tf.pad(tf.reshape(scores, [num_keypoints, -1]), [[0, 0], [0, MAX_CANDIDATES]])
    scores, pixels = tf.math.top_k(scores, MAX_CANDIDATES)
    pixels = tf.where(scores > 0, pixels, 0)
    index = pixels * num_keypoints + tf.range(num_keypoints)[:, None]
    found = tf.gather(tf.reshape(tags, [-1, num_tags]), index)
    return Candidates(pixels, scores, tf.where(scores[..., None] > 0, found, 0.0))
