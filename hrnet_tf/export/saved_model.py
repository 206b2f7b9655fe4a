"""Export to TensorFlow's SavedModel, for TensorFlow Serving and whatever else reads it.

Shape legend: B batch (any), H and W crop, h = H/4 and w = W/4 heatmap, N boxes (any), K keypoints.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from hrnet_tf.errors import InputError
from hrnet_tf.export import pose_graph, warmup, whole_images
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.heatmaps import crop_pixels, decode, flip_back, get_codec
from hrnet_tf.model_card import FILE_NAME as CARD_NAME
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.models.clones import bfloat16_clone, check_precision, last_output
from hrnet_tf.models.fold import fold_batch_norm
from hrnet_tf.models.sums import may_fuse_sums, subtract_convolutions

if TYPE_CHECKING:
    import keras

_WARM_BOX_COUNTS = pose_graph.BOX_COUNTS[:5]
CONTENTS = {"saved_model.pb", "fingerprint.pb", "variables", "assets", warmup.FOLDER, CARD_NAME}


def export_saved_model(
    model: "keras.Model",
    path: PathLike,
    card: ModelCard,
    flip_test: bool = False,
    precision: str = "float32",
    fold: bool = True,
) -> None:
    """Writes a SavedModel folder of stock operations, with its model card and requests to warm a server up.

    Signatures; inputs and outputs are float32 unless said otherwise:
        serving_default: "images" [B,H,W,3] uint8 RGB, crops -> "keypoints" [B,K,3], x and y in crop pixels
            and the score.
        heatmaps: the same "images" -> "heatmaps" [B,h,w,K], without the flip test.
        pose: "image", a scalar string, an encoded image of which pixels are taken as stored, and "boxes"
            [N,4] (x, y, width, height) in its pixels -> "keypoints" [N,K,3], x and y in its pixels and the
            score, and "scores" [N], the mean of the keypoints' above 0.2.
    Those of a network of whole images are `hrnet_tf.export.whole_images.signatures_of`'s.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the folder to write; a SavedModel that is there is replaced once the new one is complete. For
            TensorFlow Serving it has to be a number in a folder of the model's name. Folders above are made.
        card: a `ModelCard`: what to decode and mirror by, saved as `model_card.json`.
        flip_test: whether keypoints are those of the crop's and its mirror image's heatmaps averaged,
            which doubles the time.
        precision: "float32", or "bfloat16" to compute in it between the first layer and the last and to
            store the weights of these layers in it, which halves the size; results are the same as those of
            weights stored in float32 and rounded at every use.
        fold: whether batch normalisation is folded into the convolutions.

    Raises:
        InputError: `path` cannot be written, or is a folder of something else.
        ValueError: an unknown `precision`, a `card` of another network, or a `model` that adds up convolutions with
            a bias in another way than by layers `Add` (see `subtract_convolutions`).
    """
    check_precision(precision)
    model = last_output(model)
    is_of_whole_images = whole_images.is_of_whole_images(model)
    (whole_images.check_card if is_of_whole_images else check_card)(model, card)
    check_replaceable(path)
    model = subtract_convolutions(fold_batch_norm(model) if fold else model)
    if precision == "bfloat16":
        model = bfloat16_clone(model)
    # Saving the Keras model itself would store every variable twice.
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    make = whole_images.signatures_of if is_of_whole_images else _signatures
    signatures = make(model, card, flip_test)
    if may_fuse_sums(signatures["heatmaps"].get_concrete_function().graph):
        raise ValueError("`model` must add up convolutions with a bias by layers `Add`: others crash servers on CPUs")
    make_folder(Path(path).parent)
    with replacing(path) as temporary:
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        requests = whole_images.warmup_requests(card) if is_of_whole_images else _warmup_requests(card.input_size)
        warmup.write_warmup_requests(temporary, requests)
        write_card(temporary, card)


def check_card(model: "keras.Model", card: ModelCard) -> None:
    """Raises ValueError if `card` is not about a network of this shape."""
    shape = (*card.input_size, card.skeleton.num_keypoints)
    if shape != (*model.input_shape[1:3], model.output_shape[-1]):
        raise ValueError(
            f"`card` must have the input size and number of keypoints of the model, "
            f"{model.input_shape[1:3]} and {model.output_shape[-1]}. Received: {shape[:2]} and {shape[2]}"
        )


def check_replaceable(path: PathLike) -> None:
    """Raises InputError if `path` is a folder with anything in it that a SavedModel has not."""
    path = Path(path)
    foreign = {entry.name for entry in path.iterdir()} - CONTENTS if path.is_dir() else set()
    if foreign:
        raise InputError(
            f"cannot write {path}: the folder holds something other than a SavedModel ({min(foreign)}), "
            "which would be lost; give a new or empty folder"
        )


def make_folder(path: Path) -> None:
    """Makes the folder `path` and those above it; InputError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _signatures(model, card, flip_test):
    """The functions of `model`, by signature name."""
    codec = get_codec(card.codec)
    stride = crop_pixels(card.input_size, card.codec)
    images = tf.TensorSpec((None, *card.input_size, 3), tf.uint8, name="images")
    image = tf.TensorSpec((), tf.string, name="image")
    boxes = tf.TensorSpec((None, 4), tf.float32, name="boxes")

    # Calling this signature, not the model, keeps a single copy of the graph.
    @tf.function(input_signature=[images])
    def heatmaps(images):
        # Convolutions of no images at all fail on CPUs: one black image stands in for them.
        count = tf.shape(images)[0]
        images = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        return {"heatmaps": model(tf.cast(images, tf.float32), training=False)[:count]}

    def locate(images):
        """Keypoints [B,K,3] in heatmap pixels."""
        if not flip_test:
            return decode(heatmaps(images)["heatmaps"], card.decoding)
        both = heatmaps(tf.concat([images, tf.reverse(images, axis=[2])], axis=0))["heatmaps"]
        plain, mirrored = tf.split(both, 2)
        mirrored = flip_back(mirrored, card.skeleton.flip_pairs, codec.flip_shift)
        return decode(0.5 * (plain + mirrored), card.decoding)

    @tf.function(input_signature=[images])
    def keypoints(images):
        return {"keypoints": locate(images) * [*stride, 1.0]}

    @tf.function(input_signature=[image, boxes])
    def pose(image, boxes):
        pixels = pose_graph.decode_image(image)
        height, width = card.input_size
        filled_up = pose_graph.filled_up(pose_graph.check_boxes(boxes))
        frames = pose_graph.crop_frames(filled_up, width / height)
        to_crop = pose_graph.frame_matrix(*frames, card.input_size, codec.align_corners)
        located = locate(pose_graph.cut_crops(pixels, *to_crop, card.input_size))
        scale, offset = pose_graph.frame_matrix(*frames, model.output_shape[1:3], codec.align_corners)
        points = (tf.cast(located[..., :2], tf.float64) - offset[:, None]) / scale[:, None]
        scores = located[..., 2]
        found = tf.concat([tf.cast(points, tf.float32), scores[..., None]], axis=-1)
        count = tf.shape(boxes)[0]
        return {"keypoints": found[:count], "scores": pose_graph.person_scores(scores)[:count]}

    return {"serving_default": keypoints, "heatmaps": heatmaps, "pose": pose}


def _warmup_requests(input_size):
    """Requests for each signature, of `pose` with several numbers of boxes: its name and its inputs."""
    black = tf.make_tensor_proto(0, tf.uint8, (1, *input_size, 3))  # a single number in the file
    jpeg = tf.io.encode_jpeg(np.zeros((*input_size, 3), np.uint8)).numpy()
    box = np.array([[0, 0, input_size[1], input_size[0]]], np.float32)
    return [
        ("serving_default", {"images": black}),
        ("heatmaps", {"images": black}),
        *(("pose", {"image": jpeg, "boxes": np.repeat(box, count, axis=0)}) for count in _WARM_BOX_COUNTS),
    ]
