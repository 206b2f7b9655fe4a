"""Export to ONNX, for ONNX Runtime, OpenVINO, TensorRT and the like.

Shape legend: B batch (any), H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

import contextlib
import logging
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from hrnet_tf.export import whole_images
from hrnet_tf.export.check import (
    FLOAT32_TOLERANCE,
    HALF_TOLERANCE,
    check_difference,
    check_heatmaps,
    checked_crops,
    keypoint_difference,
    model_heatmaps,
)
from hrnet_tf.export.formats import LAYOUTS
from hrnet_tf.export.portable import portable_clone
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.heatmaps import crop_pixels, decode, get_codec
from hrnet_tf.models.variants import HEATMAPS

if TYPE_CHECKING:
    import keras

# The latest that tf2onnx writes.
OPSET = 18
# By precision, what the export may differ by from the model.
TOLERANCES = {"float32": FLOAT32_TOLERANCE, "float16": HALF_TOLERANCE}


def export_onnx(
    model: "keras.Model",
    path: PathLike,
    layout: str = "nhwc",
    crops: np.ndarray | None = None,
    precision: str = "float32",
) -> float:
    """Writes an ONNX file, once ONNX Runtime has run it and it has passed the comparison.

    Input "images" float32, RGB from 0 to 255; output "heatmaps" float32. An HRNet consists of Conv, Relu, Add and
    Resize, and of a Transpose at either end where the layout is not ONNX's own, "nchw"; in float16, of a Cast at
    either end too. Whole numbers up to 255, which pixels are, lose nothing by that.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the file to write.
        layout: "nhwc" for images [batch,H,W,3] and heatmaps [batch,h,w,K], "nchw" for [batch,3,H,W] and
            [batch,K,h,w]; "batch" is any number.
        crops: [N,H,W,3] uint8 to compare on; by default noise.
        precision: of the weights and of what is computed, a name in `TOLERANCES`. For "float16", ONNX Runtime
            computes in float32 on CPUs and rounds.

    Returns:
        The largest absolute difference from the heatmaps of `model`.

    Raises:
        InputError: `path` cannot be written, or the file differs from the model by more than its precision explains.
        ValueError: an unknown layout or precision.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}. Received: {layout!r}")
    if precision not in TOLERANCES:
        raise ValueError(f"`precision` must be one of {', '.join(TOLERANCES)}. Received: {precision!r}")
    portable = portable_clone(model)
    named = whole_images.is_of_whole_images(model)
    outputs = list(model.output) if named else [HEATMAPS]
    channels_first = {"inputs_as_nchw": ["images"], "outputs_as_nchw": outputs} if layout == "nchw" else {}

    def run(images):
        found = portable(images, training=False)
        return found if named else {HEATMAPS: found}

    proto = _convert(run, model, tf.float32, **channels_first)
    if precision == "float16":
        proto = _in_float16(proto)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        return check_heatmaps(temporary, model, crops, TOLERANCES[precision])


def export_onnx_pose(
    model: "keras.Model",
    path: PathLike,
    codec: str = "msra",
    refine: str | None = None,
    crops: np.ndarray | None = None,
) -> float:
    """Writes an ONNX file that goes from crops to keypoints, once ONNX Runtime has run it and it has passed the check.

    Input "images" [batch,H,W,3] uint8, RGB; output "keypoints" [batch,K,3] float32, x and y in crop pixels and the
    score; "batch" is any number.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the file to write.
        codec: that the model was trained with, a name in `hrnet_tf.heatmaps.CODECS`; crops must be cut as it does.
        refine: how keypoints are decoded, one of `hrnet_tf.heatmaps.REFINEMENTS`, instead of the codec's own.
        crops: [N,H,W,3] uint8 to compare on; by default noise.

    Returns:
        The largest absolute difference from the keypoints of `model`, where rounding does not decide them.

    Raises:
        InputError: `path` cannot be written, or the file differs from the model.
        ValueError: an unknown `codec` or `refine`.
    """
    refine = refine or get_codec(codec).refine
    stride = crop_pixels(model.input_shape[1:3], codec)
    portable = portable_clone(model)

    def keypoints(images):
        heatmaps = portable(tf.cast(images, tf.float32), training=False)
        return {"keypoints": decode(heatmaps, refine) * [*stride, 1.0]}

    proto = _convert(keypoints, model, tf.uint8)
    crops = checked_crops(crops, model)
    heatmaps = model_heatmaps(model, crops)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        (found,) = session.run(["keypoints"], {"images": crops})
        difference = keypoint_difference(found, heatmaps, FLOAT32_TOLERANCE, codec, refine)
        check_difference(difference, FLOAT32_TOLERANCE, temporary.name)
    return float(difference)


def _convert(function, model, dtype, **options):
    """`function` of images of `dtype`, such as `model` takes, as an ONNX model."""
    images = tf.TensorSpec((None, *model.input_shape[1:]), dtype, name="images")
    with _errors_only(logging.getLogger("tf2onnx")):
        proto, _ = tf2onnx.convert.from_function(
            tf.function(function), input_signature=[images], opset=OPSET, **options
        )
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _in_float16(proto):
    """An ONNX model with weights and activations in float16, and input and output as they are."""
    half = ONNXModel(convert_float_to_float16(proto, keep_io_types=True))
    half.topological_sort()  # the cast of the input comes last
    onnx.checker.check_model(half.model, full_check=True)
    return half.model


@contextlib.contextmanager
def _errors_only(logger):
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
