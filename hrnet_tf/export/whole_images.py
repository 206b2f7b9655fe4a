"""SavedModels of networks of whole images: what they are asked for, and the check of it.

Shape legend: B batch (any), H and W image, h and w image as resized (any multiples of 32), K keypoints, T components of
a tag.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hrnet_tf.export import pose_graph
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.variants import BOTTOM_UP, HEATMAPS, HEATMAPS_TAGS, MAX_SIDE
from hrnet_tf.prediction.whole_images import SIDE_MULTIPLE, average, enlarge, frame

if TYPE_CHECKING:
    import keras


def is_of_whole_images(model: "keras.Model") -> bool:
    """Whether a model has the two outputs of a network of whole images."""
    return isinstance(model.output, dict) and set(model.output) == {HEATMAPS_TAGS, HEATMAPS}


def signatures_of(model: "keras.Model", card: ModelCard, flip_test: bool) -> dict[str, Any]:
    """The functions of `model`, by signature name; inputs and outputs are float32 unless said otherwise.

    heatmaps: "images" [B,h,w,3] uint8 RGB -> the network's outputs, "heatmaps_tags" and "heatmaps".
    serving_default: the same "images" -> "heatmaps" [B,h,w,K] and "tags" [B,h,w,K,T], to be grouped.
    pose: "image", a scalar string, an encoded image of which pixels are taken as stored -> "heatmaps" [h,w,K] and
        "tags" [h,w,K,T] of it as resized, and "matrix" [2,3] from their pixels to those of the image.
    """
    images = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    image = tf.TensorSpec((), tf.string, name="image")
    flip_pairs = card.skeleton.flip_pairs if flip_test else None

    # Calling this signature, not the model, keeps a single copy of the graph.
    @tf.function(input_signature=[images])
    def outputs(images):
        return model(tf.cast(images, tf.float32), training=False)

    def located(images):
        both = images if flip_pairs is None else tf.concat([images, tf.reverse(images, [2])], axis=0)
        return enlarge(average(outputs(both), flip_pairs), tf.shape(images)[1:3])

    @tf.function(input_signature=[images])
    def maps(images):
        heatmaps, tags = located(images)
        return {"heatmaps": heatmaps, "tags": tags}

    @tf.function(input_signature=[image])
    def pose(image):
        pixels = pose_graph.decode_image(image)
        size, scale, center = _resized(tf.shape(pixels), min(card.input_size))
        offset = tf.cast(size[::-1], tf.float64) / 2 - scale * center  # x and y
        rounded = [
            tf.cast(tf.cast(values, tf.float32), tf.float64) for values in (scale * tf.ones(2, tf.float64), offset)
        ]
        frame_size = tf.unstack(tf.cast(size, tf.float32))
        resized = pose_graph.cut_crops(pixels, rounded[0][None], rounded[1][None], frame_size)
        heatmaps, tags = located(tf.ensure_shape(resized, (1, None, None, 3)))
        back = tf.concat([tf.eye(2, dtype=tf.float64) / scale, (-offset / scale)[:, None]], axis=1)
        return {"heatmaps": heatmaps[0], "tags": tags[0], "matrix": tf.cast(back, tf.float32)}

    return {"serving_default": maps, "heatmaps": outputs, "pose": pose}


def _resized(shape, side):
    """`hrnet_tf.prediction.whole_images.frame` in a graph: size (h, w) int32, scale, and centre (x, y), float64."""
    short = frame((side, side), side).size[0]
    height, width = (tf.cast(shape[axis], tf.float64) for axis in (0, 1))
    shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
    multiple = tf.cast(SIDE_MULTIPLE, tf.float64)
    long = tf.floor((short / shorter * longer + (SIDE_MULTIPLE - 1)) / multiple) * multiple
    rule = f"an image must not be so long and narrow: its longer side would have more than {MAX_SIDE} pixels"
    with tf.control_dependencies([tf.debugging.Assert(long <= MAX_SIDE, [rule])]):
        sides = tf.identity([tf.cast(short, tf.float64), long])
    size = tf.cast(tf.where(width < height, sides[::-1], sides), tf.int32)
    return size, short / shorter, tf.floor(tf.stack([width, height]) / 2 + 0.5)


def warmup_requests(card: ModelCard) -> list[tuple[str, dict[str, Any]]]:
    """A request for each signature: its name and its inputs."""
    side = frame(card.input_size, min(card.input_size)).size
    black = tf.make_tensor_proto(0, tf.uint8, (1, *side, 3))  # a single number in the file
    jpeg = tf.io.encode_jpeg(np.zeros((*side, 3), np.uint8)).numpy()
    return [("serving_default", {"images": black}), ("heatmaps", {"images": black}), ("pose", {"image": jpeg})]


def check_card(model: "keras.Model", card: ModelCard) -> None:
    """Raises ValueError if `card` is not about a network like this one of whole images."""
    num_keypoints = model.output[HEATMAPS].shape[-1]
    if card.kind != BOTTOM_UP or card.skeleton.num_keypoints != num_keypoints:
        raise ValueError(
            f"`card` must be of kind {BOTTOM_UP} and have the {num_keypoints} keypoints of the model. Received: "
            f"{card.kind} and {card.skeleton.num_keypoints}"
        )
