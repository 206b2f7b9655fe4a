"""Export to TensorFlow's SavedModel, for TensorFlow Serving and whatever else reads it.

Shape legend: B batch (any), H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

from pathlib import Path

import tensorflow as tf

from hrnet_tf.errors import InputError
from hrnet_tf.export.keras_file import float32_clone
from hrnet_tf.files import replacing
from hrnet_tf.heatmaps import crop_pixels, decode, get_codec

CONTENTS = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}


def export_saved_model(model, path, codec="msra", refine=None):
    """Writes a SavedModel folder of stock operations, in float32.

    Signatures, both of "images" [B,H,W,3] uint8, RGB:
        serving_default: "keypoints" [B,K,3] float32, x and y in crop pixels and the score.
        heatmaps: "heatmaps" [B,h,w,K] float32.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the folder to write; a SavedModel that is there is replaced once the new one is complete.
        codec: that the model was trained with, a name in `hrnet_tf.heatmaps.CODECS`; crops must be
            cut as it does.
        refine: how keypoints are decoded, one of `hrnet_tf.heatmaps.REFINEMENTS`, instead of the
            codec's own.

    Raises:
        InputError: `path` cannot be written, or is a folder of something else.
        ValueError: an unknown `codec` or `refine`.
    """
    check_replaceable(path)
    model = float32_clone(model)
    # Saving the Keras model itself would store every variable twice.
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    signatures = _signatures(model, codec, refine or get_codec(codec).refine)
    with replacing(path) as temporary:
        tf.saved_model.save(module, str(temporary), signatures=signatures)


def check_replaceable(path):
    """Raises InputError if `path` is a folder with anything in it that a SavedModel has not."""
    path = Path(path)
    foreign = {entry.name for entry in path.iterdir()} - CONTENTS if path.is_dir() else set()
    if foreign:
        raise InputError(
            f"cannot write {path}: the folder holds something other than a SavedModel ({min(foreign)}), "
            "which would be lost; give a new or empty folder"
        )


def _signatures(model, codec, refine):
    """The functions of `model`, by signature name."""
    stride = crop_pixels(model.input_shape[1:3], codec)
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="images")

    @tf.function(input_signature=[images])
    def heatmaps(images):
        return {"heatmaps": model(tf.cast(images, tf.float32), training=False)}

    @tf.function(input_signature=[images])
    def keypoints(images):
        # Calling the other signature, not the model, keeps a single copy of the graph.
        in_heatmap = decode(heatmaps(images)["heatmaps"], refine)
        return {"keypoints": in_heatmap * [*stride, 1.0]}

    return {"serving_default": keypoints, "heatmaps": heatmaps}
