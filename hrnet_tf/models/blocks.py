"""Residual blocks of HRNet and ResNet, as functions from tensor to tensor.

Every layer is named after the PyTorch parameter that it corresponds to, with "." written as "_"
(`layer1.0.conv1.weight` belongs to the layer `layer1_0_conv1`), so that weights convert by name.

Shape legend: B batch, h height, w width, C channels.
"""

import keras
from keras import layers

# PyTorch's BatchNorm2d: momentum 0.1 there is the weight of the new value, here of the old one.
BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-5
# The reference draws every convolution from N(0, 0.001); with Keras's default the network trains far slower.
INITIAL_STDDEV = 0.001


def conv(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    name: str,
    *,
    strides: int = 1,
    use_bias: bool = False,
    dtype: str | None = None,
) -> keras.KerasTensor:
    """Convolution with PyTorch's symmetric padding of (kernel_size - 1) // 2, [B,h,w,C] -> [B,h/s,w/s,filters].

    "same" pads a stride-2 convolution by (0, 1) rather than (1, 1), hence the explicit padding.
    """
    if strides > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad", dtype=dtype)(x)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(stddev=INITIAL_STDDEV),
        dtype=dtype,
        name=name,
    )(x)


def batch_norm(x: keras.KerasTensor, name: str, *, scale: float = 1.0, dtype: str | None = None) -> keras.KerasTensor:
    """Batch normalisation over B, h and w, to deviations that are `scale` at first."""
    return layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        gamma_initializer=keras.initializers.Constant(scale),
        dtype=dtype,
        name=name,
    )(x)


def relu(x: keras.KerasTensor, name: str, *, dtype: str | None = None) -> keras.KerasTensor:
    return layers.ReLU(dtype=dtype, name=name)(x)


def conv_bn(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    conv_name: str,
    bn_name: str,
    *,
    strides: int = 1,
    use_relu: bool = False,
    dtype: str | None = None,
) -> keras.KerasTensor:
    """Convolution, batch normalisation and, if asked for, ReLU."""
    x = conv(x, filters, kernel_size, conv_name, strides=strides, dtype=dtype)
    x = batch_norm(x, bn_name, dtype=dtype)
    return relu(x, f"{bn_name}_relu", dtype=dtype) if use_relu else x


def deconv_bn(
    x: keras.KerasTensor, filters: int, conv_name: str, bn_name: str, *, dtype: str | None = None
) -> keras.KerasTensor:
    """4x4 stride-2 transposed convolution, batch normalisation and ReLU, [B,h,w,C] -> [B,2h,2w,filters].

    "same" cuts one row and column off every side of the (2h+2, 2w+2), as PyTorch's padding of 1 does.
    """
    x = layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=INITIAL_STDDEV),
        dtype=dtype,
        name=conv_name,
    )(x)
    return relu(batch_norm(x, bn_name, dtype=dtype), f"{bn_name}_relu", dtype=dtype)


def basic_block(
    x: keras.KerasTensor, filters: int, name: str, *, strides: int = 1, dtype: str | None = None
) -> keras.KerasTensor:
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 5 left), [B,h,w,C] -> [B,h/s,w/s,filters]."""
    y = conv_bn(x, filters, 3, f"{name}_conv1", f"{name}_bn1", strides=strides, use_relu=True, dtype=dtype)
    y = conv_bn(y, filters, 3, f"{name}_conv2", f"{name}_bn2", dtype=dtype)
    return _add_shortcut(x, y, filters, strides, name, dtype)


def bottleneck(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    *,
    strides: int = 1,
    expansion: int = 4,
    project: bool = False,
    dtype: str | None = None,
) -> keras.KerasTensor:
    """1x1, 3x3 and 1x1 convolutions and a shortcut (figure 5 right), [B,h,w,C] -> [B,h/s,w/s,expansion*filters].

    The shortcut is projected where shapes differ, or always if `project`.
    """
    y = conv_bn(x, filters, 1, f"{name}_conv1", f"{name}_bn1", use_relu=True, dtype=dtype)
    y = conv_bn(y, filters, 3, f"{name}_conv2", f"{name}_bn2", strides=strides, use_relu=True, dtype=dtype)
    y = conv_bn(y, expansion * filters, 1, f"{name}_conv3", f"{name}_bn3", dtype=dtype)
    return _add_shortcut(x, y, expansion * filters, strides, name, dtype, project)


def _add_shortcut(x, y, filters, strides, name, dtype, project=False):
    """ReLU of the residual `y` and its input `x`, projected by a 1x1 convolution where shapes differ."""
    if project or strides > 1 or x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, f"{name}_downsample_0", f"{name}_downsample_1", strides=strides, dtype=dtype)
    x = layers.Add(name=f"{name}_add", dtype=dtype)([y, x])
    return relu(x, f"{name}_relu", dtype=dtype)
