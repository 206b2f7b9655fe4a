"""Export to ONNX, for ONNX Runtime, OpenVINO, TensorRT and the like."""

import contextlib
import logging

import keras
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

from hrnet_tf.export.keras_file import float32_clone, float32_layer
from hrnet_tf.files import replacing

# The latest that tf2onnx writes.
OPSET = 18


def export_onnx(model, path):
    """Writes an ONNX file that computes in float32, once ONNX Runtime has loaded it.

    Input "images" [batch,H,W,3] float32, RGB from 0 to 255; output "heatmaps" [batch,H/4,W/4,K]
    float32; "batch" is any number.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the file to write.

    Raises:
        InputError: `path` cannot be written.
    """
    proto = _convert(float32_clone(model, _clone_layer))
    onnx.checker.check_model(proto, full_check=True)
    serialized = proto.SerializeToString()
    onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    with replacing(path) as temporary:
        temporary.write_bytes(serialized)


def _convert(model):
    """`model` as an `onnx.ModelProto`."""
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    function = tf.function(lambda images: {"heatmaps": model(images, training=False)})
    with _errors_only(logging.getLogger("tf2onnx")):
        proto, _ = tf2onnx.convert.from_function(function, input_signature=[images], opset=OPSET)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto


@contextlib.contextmanager
def _errors_only(logger):
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _clone_layer(layer):
    if isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest":
        return _NearestUpsampling(layer.size, name=layer.name)
    return float32_layer(layer)


class _NearestUpsampling(keras.layers.Layer):
    """`UpSampling2D` as a single operation, [B,h,w,C] -> [B,h*size[0],w*size[1],C].

    Keras repeats rows and columns, which tf2onnx turns into dozens of operations; this becomes one Resize.
    """

    def __init__(self, size, name):
        super().__init__(name=name, dtype="float32")
        self.size = size

    def call(self, x):
        size = [x.shape[1] * self.size[0], x.shape[2] * self.size[1]]
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=False, half_pixel_centers=False)
