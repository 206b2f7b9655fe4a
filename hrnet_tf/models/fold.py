"""Batch normalisation folded into the convolution before it: the same function with fewer operations.

With fixed statistics, normalisation is a factor and an offset by channel; the factor goes into the
convolution's kernel and the offset into its bias.
"""

import collections

import keras
import numpy as np

from hrnet_tf.models.clones import float32_layer, last_output

# By class, the axis of the kernel that counts output channels.
_KERNEL_OUTPUT_AXIS = {keras.layers.Conv2D: 3, keras.layers.Conv2DTranspose: 2}


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A copy of `model` in float32 in which convolutions with a bias stand for convolution and normalisation.

    A normalisation is folded if it follows a linear convolution, transposed or not, whose output
    nothing else uses; another one stays.

    Args:
        model: Functional model of stock layers, of any dtype policy.

    Returns:
        An uncompiled Functional `keras.Model` of stock layers with the layer names of `model`, less
        those of the normalisations folded; for inference alone, hence of the last output.
    """
    model = last_output(model)
    convolution_of = _foldable(model)
    normalization_of = {conv: norm for norm, conv in convolution_of.items()}

    def clone(layer):
        copy = float32_layer(layer)
        return type(copy).from_config(copy.get_config() | {"use_bias": True}) if layer in normalization_of else copy

    def call(layer, *inputs, **arguments):
        # Left out of the graph: the convolution before it does its work.
        return inputs[0] if layer.name in folded_names else layer(*inputs, **arguments)

    folded_names = {norm.name for norm in convolution_of}
    folded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights and layer not in convolution_of:
            norm = normalization_of.get(layer)
            weights = layer.get_weights() if norm is None else _folded_weights(layer, norm)
            folded.get_layer(layer.name).set_weights(weights)
    return folded


def _foldable(model):
    """{normalisation: convolution} of the layers that can become one."""
    source_of = {id(layer.output): layer for layer in model.layers}
    uses = collections.Counter(id(tensor) for layer in model.layers for tensor in keras.tree.flatten(layer.input))
    uses.update(id(tensor) for tensor in model.outputs)
    convolution_of = {}
    for norm in model.layers:
        if isinstance(norm, keras.layers.BatchNormalization) and norm.axis in (-1, 3):
            conv = source_of[id(norm.input)]
            linear = type(conv) in _KERNEL_OUTPUT_AXIS and conv.activation is keras.activations.linear
            if linear and uses[id(norm.input)] == 1:
                convolution_of[norm] = conv
    return convolution_of


def _folded_weights(conv, norm):
    """Kernel and bias of the convolution that does what `conv` and then `norm` do; float32."""
    kernel, *bias = (weight.astype(np.float64) for weight in conv.get_weights())
    mean, variance, gamma, beta = (
        default if variable is None else np.asarray(variable, np.float64)
        for variable, default in (
            (norm.moving_mean, 0.0),
            (norm.moving_variance, 1.0),
            (norm.gamma, 1.0),
            (norm.beta, 0.0),
        )
    )
    factor = gamma / np.sqrt(variance + norm.epsilon)
    shape = np.ones(4, int)
    shape[_KERNEL_OUTPUT_AXIS[type(conv)]] = -1
    offset = beta + ((bias[0] if bias else 0.0) - mean) * factor
    return [(kernel * factor.reshape(shape)).astype(np.float32), offset.astype(np.float32)]
