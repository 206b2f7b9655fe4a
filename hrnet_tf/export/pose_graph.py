"""The way from an encoded image and boxes to keypoints in its pixels, as TensorFlow operations alone.

The same crops and the same way back as `hrnet_tf.geometry`'s, for exported graphs: no person is turned
there, so a crop's columns and rows are those of the image, stretched.

Shape legend: N boxes, H and W crop, K keypoints.
"""

import tensorflow as tf

from hrnet_tf.data.pixels import DEFAULT_MAX_PIXELS
from hrnet_tf.files import MAX_COORDINATE
from hrnet_tf.geometry import BOX_PADDING

# Devices that prepare for every number of boxes anew, and the numbers that are enough for them: these powers of two,
# and multiples of the last. Others would compute the more for nothing.
PREPARING_DEVICES = ("GPU",)
BOX_COUNTS = (1, 2, 4, 8, 16, 32, 64)
# In one image: their crops are in memory together.
MAX_BOXES = 1024
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PNG_SIZE = 16, 8  # bytes of a PNG file that its width and height are in: where they begin, and how many

# Keypoints at or below it do not count in a person's score: `hrnet_tf.evaluation.rescore`'s threshold.
SCORE_THRESHOLD = 0.2


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels [height,width,3] uint8 RGB, as stored, of a JPEG or PNG image, a scalar string.

    The same as `hrnet_tf.data.records.read_image`'s, to the bit, but for 16-bit images that use 12 bits. What is of
    another format, has more than `DEFAULT_MAX_PIXELS` or cannot be decoded becomes an INVALID_ARGUMENT error that says
    why.
    """
    encoded = tf.convert_to_tensor(encoded)
    is_jpeg, is_png = (tf.strings.substr(encoded, 0, len(start)) == start for start in (_JPEG, _PNG))
    is_png &= tf.strings.length(encoded) >= sum(_PNG_SIZE)
    with tf.control_dependencies([tf.debugging.Assert(is_jpeg | is_png, ["image must be a JPEG or PNG file"])]):
        size = tf.cond(is_png, lambda: _png_size(encoded), lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[:2])
    rule = f"image must have at most {DEFAULT_MAX_PIXELS} pixels"
    is_small = tf.reduce_all(size > 0) & (tf.reduce_prod(size) <= DEFAULT_MAX_PIXELS)
    with tf.control_dependencies([tf.debugging.Assert(is_small, [rule])]):
        # In spite of its name this reads PNG too; the method is the one that other decoders use,
        # TensorFlow's default being off by up to some 20 of 255.
        image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, (None, None, 3))


def _png_size(encoded):
    """(width, height) [2] int64 that the header of a PNG file claims."""
    size = tf.io.decode_raw(tf.strings.substr(encoded, *_PNG_SIZE), tf.int32, little_endian=False)
    return tf.cast(tf.reshape(size, [2]), tf.int64)


def check_boxes(boxes: tf.Tensor) -> tf.Tensor:
    """`boxes` [N,4] themselves; INVALID_ARGUMENT if there are more than `MAX_BOXES` or one cannot be cropped."""
    usable = tf.reduce_all(tf.abs(boxes) <= MAX_COORDINATE)  # false for NaN
    usable &= tf.reduce_all(boxes[:, 2:] >= 0) & tf.reduce_all(tf.reduce_max(boxes[:, 2:], axis=1) > 0)
    rule = f"boxes must be (x, y, width, height), numbers up to {MAX_COORDINATE:g}, no size negative, not both 0"
    few = tf.debugging.Assert(tf.shape(boxes)[0] <= MAX_BOXES, [f"there must be at most {MAX_BOXES} boxes"])
    with tf.control_dependencies([few, tf.debugging.Assert(usable, [rule])]):
        return tf.identity(boxes)


def filled_up(boxes: tf.Tensor) -> tf.Tensor:
    """`boxes` [N,4] with as many others behind them as make theirs one of few numbers where the graph runs on a GPU.

    Which device that is is known when it runs: a file serves on either.
    """
    count = tf.shape(boxes)[0]
    smaller = tf.reduce_sum(tf.cast(tf.constant(BOX_COUNTS[:-1]) < count, tf.int32))
    unit = tf.gather(tf.constant(BOX_COUNTS), smaller)
    missing = -count % unit
    device = tf.raw_ops.DeviceIndex(device_names=PREPARING_DEVICES)  # their number where it is another
    return tf.pad(boxes, [[0, tf.where(device < len(PREPARING_DEVICES), missing, 0)], [0, 0]], constant_values=1.0)


def crop_frames(boxes: tf.Tensor, aspect_ratio: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Centres [N,2] (x, y) and sizes [N,2] (width, height) of the crops of boxes [N,4], float32.

    As `hrnet_tf.geometry.box_to_center_size`.
    """
    boxes = tf.cast(boxes, tf.float64)
    width = tf.maximum(boxes[:, 2], boxes[:, 3] * aspect_ratio)
    size = tf.stack([width, width / aspect_ratio], -1) * BOX_PADDING
    return tf.cast(boxes[:, :2] + 0.5 * boxes[:, 2:], tf.float32), tf.cast(size, tf.float32)


def frame_matrix(
    center: tf.Tensor, size: tf.Tensor, frame_size: tuple[int, int], align_corners: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """What makes pixels of the image pixels of crops, or of their heatmaps: x * scale + offset.

    As `hrnet_tf.geometry.affine_matrix`, rounded to float32 as there.

    Args:
        center: [N,2] of `crop_frames`.
        size: [N,2] of `crop_frames`.
        frame_size: (h, w) of the crop or heatmap.
        align_corners: whether the crop is cut as UDP does.

    Returns:
        scale [N,2] and offset [N,2], of x and y, float64.
    """
    extent = tf.constant([side - align_corners for side in reversed(frame_size)], tf.float64)
    center, size = tf.cast(center, tf.float64), tf.cast(size, tf.float64)
    scale = extent / size if align_corners else extent[0] / size[:, :1] * tf.ones(2, tf.float64)
    offset = extent / 2 - scale * center
    return tuple(tf.cast(tf.cast(values, tf.float32), tf.float64) for values in (scale, offset))


def cut_crops(image: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, input_size: tuple[int, int]) -> tf.Tensor:
    """Crops [N,H,W,3] uint8 of an image [height,width,3] uint8: bilinear, black beyond its border.

    `scale` and `offset` are those of `frame_matrix` for crops of `input_size`, (H, W).
    As `hrnet_tf.geometry.warp`, whose order of float32 operations is kept: it decides some roundings.
    """
    pixels = tf.reshape(image, [-1, 3])
    image_height, image_width, _ = tf.unstack(tf.shape(image, tf.int64))
    height, width = input_size
    start, step = tf.cast(-offset / scale, tf.float32), tf.cast(1 / scale, tf.float32)
    left, right, along_x = _taps(start[:, :1], step[:, :1], width, image_width)
    above, below, along_y = _taps(start[:, 1:], step[:, 1:], height, image_height)
    along_x, along_y = along_x[:, None, :, None], along_y[:, :, None, None]

    def values(row, column):  # [N,H], [N,W] -> [N,H,W,3]
        row, column = row[:, :, None], column[:, None, :]
        inside = (row >= 0) & (row < image_height) & (column >= 0) & (column < image_width)
        row, column = tf.clip_by_value(row, 0, image_height - 1), tf.clip_by_value(column, 0, image_width - 1)
        return tf.where(inside[..., None], tf.cast(tf.gather(pixels, row * image_width + column), tf.float32), 0.0)

    def between(one, other, fraction):
        return one + fraction * (other - one)

    upper = between(values(above, left), values(above, right), along_x)
    lower = between(values(below, left), values(below, right), along_x)
    return tf.cast(tf.round(between(upper, lower, along_y)), tf.uint8)


def _taps(start, step, length, image_length):
    """What lies around every pixel of a crop, along one axis.

    Args:
        start, step: [N,1] of the crop's pixels in the image.
        length: of the crop.
        image_length: of the image, int64.

    Returns:
        The image's pixels before and after [N,length] int64, possibly outside, and the way from the former
        to the latter [N,length] from 0 to 1.
    """
    position = step * tf.range(length, dtype=tf.float32) + start
    # Further out it is as black, and integers might not hold the number.
    position = tf.clip_by_value(position, -1, tf.cast(image_length, tf.float32))
    before = tf.floor(position)
    return tf.cast(before, tf.int64), tf.cast(before, tf.int64) + 1, position - before


def person_scores(keypoint_scores: tf.Tensor) -> tf.Tensor:
    """[N] mean of the scores [N,K] above the threshold, 0 where there is none."""
    counted = tf.cast(keypoint_scores > SCORE_THRESHOLD, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(keypoint_scores * counted, axis=1), tf.reduce_sum(counted, axis=1))
