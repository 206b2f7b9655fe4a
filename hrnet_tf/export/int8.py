"""Post-training quantisation of ONNX files to 8-bit whole numbers."""

import contextlib
import logging

import numpy as np
import onnx
from onnxruntime import quantization

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, reason, replacing
from hrnet_tf.prediction.runners import heatmap_runner

INPUT = "images"


# What TensorRT takes: no zero points, biases in float, and nothing between a convolution and what it is fused with, a
# ReLU or a sum. (Developer guide, "Explicit quantization".)
_SYMMETRIC = {
    "activation_type": quantization.QuantType.QInt8,
    "op_types_to_quantize": ["Conv", "ConvTranspose"],
    "extra_options": {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv", "ConvTranspose"],
    },
}


def quantize_onnx(
    path_in: PathLike, path_out: PathLike, calibration_crops: np.ndarray, symmetric: bool = False
) -> None:
    """Writes an ONNX file that computes in whole numbers, in QDQ form, once ONNX Runtime has run it.

    Weights are signed, by output channel; activations are unsigned, with the ranges met in `calibration_crops`.
    Input and output stay as they are, float32. ONNX Runtime multiplies this pair fastest; on x86 processors without
    VNNI, large sums of it may be cut off, which an evaluation on such a machine shows.

    `symmetric` writes what TensorRT takes instead: activations are signed and have no zero points, biases are float32,
    and convolutions alone take 8 bits. ONNX Runtime computes such a file in float32 on CPUs.

    Args:
        path_in: a file of `export_onnx`, of either layout.
        path_out: the file to write.
        calibration_crops: [N,H,W,3] uint8 crops of the training set, some hundred.
        symmetric: whether to write it for TensorRT.

    Raises:
        InputError: `path_in` cannot be read, `path_out` not be written, or the crops do not suit the model.
    """
    try:
        model = onnx.load(path_in)
        (images,) = model.graph.input
        shape = [axis.dim_value for axis in images.type.tensor_type.shape.dim]
    except Exception as error:  # onnx raises many types on a damaged file
        raise InputError(f"cannot read {path_in}: {reason(error)}") from error
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise InputError(f"{path_in} must take images [B,H,W,3] or [B,3,H,W]. Received: {shape}")
    crops = np.asarray(calibration_crops)
    received = f"{list(crops.shape)} {crops.dtype}"
    if crops.ndim == 4 and shape[1] == 3:
        crops = crops.transpose(0, 3, 1, 2)
    if list(crops.shape[1:]) != shape[1:] or crops.dtype != np.uint8 or not len(crops):
        raise InputError(
            f"calibration crops must be [N,H,W,3] uint8 of the model's size, at least one. "
            f"Received: {received} for a model of {shape[1:]}"
        )
    with replacing(path_out) as temporary:
        with _errors_only():
            quantization.quantize_static(
                model,
                temporary,
                _Crops(crops),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                **(_SYMMETRIC if symmetric else {"activation_type": quantization.QuantType.QUInt8}),
            )
        heatmap_runner(temporary)(np.asarray(calibration_crops[:1]))


class _Crops(quantization.CalibrationDataReader):
    """Hands out crops one by one, as the calibration asks for them."""

    def __init__(self, crops):
        shown = progress.track(crops, "calibrating", "crops")
        self.feeds = ({INPUT: crop[None].astype(np.float32)} for crop in shown)

    def get_next(self):
        return next(self.feeds, None)


@contextlib.contextmanager
def _errors_only():
    """The quantiser advises on the root logger to fold what is folded already."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
