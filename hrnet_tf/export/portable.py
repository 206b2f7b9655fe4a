"""The network as few and common operations, for runtimes other than TensorFlow.

Shape legend: B batch, H and W crop, h and w of any layer, C channels.
"""

import keras
import numpy as np
import tensorflow as tf

from hrnet_tf.models import preprocess
from hrnet_tf.models.clones import float32_clone, float32_layer
from hrnet_tf.models.fold import fold_batch_norm


def portable_clone(model: keras.Model) -> keras.Model:
    """A copy of `model` that computes the same in float32 with convolutions, ReLU, additions and resizing alone.

    Batch normalisation goes into the convolutions. Of the image's normalisation, (x - mean) / deviation, the
    division goes into the first convolution and the subtraction stays: that convolution pads with zeros, which
    are the mean only after the subtraction.

    Args:
        model: Functional model of stock layers with the normalisation of `hrnet_tf.models`, of any dtype policy.

    Returns:
        An uncompiled `keras.Model`, [B,H,W,3] float32 RGB from 0 to 255 -> heatmaps. Its layers are not all
        stock ones, so it is for conversion, not for a `.keras` file.
    """
    folded = fold_batch_norm(model)
    clone = float32_clone(folded, _clone_layer)
    convolution = next(layer for layer in clone.layers if isinstance(layer, keras.layers.Conv2D))  # sees the image
    kernel, *bias = convolution.get_weights()
    scale = np.asarray(folded.get_layer(preprocess.LAYER_NAME).scale, np.float32)
    convolution.set_weights([kernel * scale[:, None], *bias])  # kernel [height,width,3,C]
    return clone


def _clone_layer(layer):
    if layer.name == preprocess.LAYER_NAME:
        return _Shift(np.divide(layer.offset, layer.scale), name=layer.name)
    if isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest":
        return _NearestUpsampling(layer.size, name=layer.name)
    if isinstance(layer, keras.layers.EinsumDense) and not layer.trainable:
        return _AlignedResizing(layer.output.shape[1:3], name=layer.name)
    return float32_layer(layer)


class _Shift(keras.layers.Layer):
    """Adds `offset` [3] to [B,H,W,3]; `Rescaling` would multiply as well."""

    def __init__(self, offset, name):
        super().__init__(name=name, dtype="float32")
        self.offset = np.asarray(offset, np.float32)

    def call(self, x):
        return x + self.offset


class _NearestUpsampling(keras.layers.Layer):
    """`UpSampling2D` as a single operation, [B,h,w,C] -> [B,h*size[0],w*size[1],C].

    Keras repeats rows and columns, which converters turn into dozens of operations; this becomes one.
    """

    def __init__(self, size, name):
        super().__init__(name=name, dtype="float32")
        self.size = size

    def call(self, x):
        height, width = (x.shape[axis] or tf.shape(x)[axis] for axis in (1, 2))
        size = [height * self.size[0], width * self.size[1]]
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=False, half_pixel_centers=False)


class _AlignedResizing(keras.layers.Layer):
    """`hrnet_tf.models.cpn.resize` along an axis as a single operation, [B,h,w,C] -> [B,*size,C]; has no weights."""

    def __init__(self, size, name):
        super().__init__(name=name, dtype="float32")
        self.size = size

    def call(self, x):
        return tf.raw_ops.ResizeBilinear(images=x, size=self.size, align_corners=True, half_pixel_centers=False)

    def set_weights(self, weights):
        """Has none; those of the layer that this stands for are its size."""
