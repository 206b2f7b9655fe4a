"""Variables of a network on one replica: their handles, what is behind these, and which ones training gathers."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def handles(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Of Keras's variables, on the replica that this is called on."""
    return [variable.value.handle for variable in variables]


def read(handle: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
    """The value behind a handle of this variable, on whichever replica."""
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.dtype)
    return tf.ensure_shape(value, variable.shape)


def moving_statistics(model: keras.Model) -> list[keras.Variable]:
    """What BatchNorm gathers in training: moving means and variances, of the layers that are not frozen."""
    norms = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    return [v for norm in norms if norm.trainable for v in (norm.moving_mean, norm.moving_variance)]
