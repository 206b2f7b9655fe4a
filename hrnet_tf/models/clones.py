"""Copies of networks that compute in another precision."""

from collections.abc import Callable
from typing import Any

import keras

from hrnet_tf.models.preprocess import LAYER_NAME as NORMALIZATION
from hrnet_tf.models.variants import HEATMAPS, PRECISIONS

# What Keras 3.14 has added to configurations of layers, and its defaults: earlier ones refuse a file that tells them.
_NEW = {"renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99, "quantization_config": None}


def check_precision(precision: str) -> None:
    """Raises ValueError unless `precision` is in `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: {precision!r}")


def last_output(model: Any) -> Any:
    """What predicts of a Keras model that is supervised at several outputs, sharing its weights; else `model`."""
    outputs = getattr(model, "output", None)
    if not isinstance(outputs, list) or any(not name.startswith(f"{HEATMAPS}_") for name in model.output_names[:-1]):
        return model
    return keras.Model(model.input, outputs[-1], name=model.name)


def float32_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A new stock layer of the same configuration that computes in float32, without weights yet."""
    # A variant for training, such as training.fused's, is BatchNormalization again.
    is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
    if is_batch_norm:
        return keras.layers.BatchNormalization.from_config(
            layer.get_config() | {"dtype": "float32", "synchronized": False}
        )
    return type(layer).from_config(layer.get_config() | {"dtype": "float32"})


def float32_clone(
    model: keras.Model, clone_layer: Callable[[keras.layers.Layer], keras.layers.Layer] = float32_layer
) -> keras.Model:
    """A float32 copy of `model` with copies of its weights; see `clone_with_weights`."""
    return clone_with_weights(model, clone_layer)


def clone_with_weights(
    model: keras.Model, clone_layer: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> keras.Model:
    """A copy of `model` of other layers with copies of its weights, to predict with.

    Being new, it carries no optimizer, and its variables are plain ones even if those of `model`
    are spread over devices by a distribution strategy.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        clone_layer: layer -> new layer with weights of the same shapes.

    Returns:
        An uncompiled `keras.Model` of the last output alone.
    """
    model = last_output(model)
    clone = keras.models.clone_model(model, clone_function=clone_layer)
    for layer in model.layers:
        clone.get_layer(layer.name).set_weights(layer.get_weights())
    return clone


def portable_clone(model: keras.Model) -> keras.Model:
    """A float32 copy of `model` whose files load in Keras 3.4 and later, nothing frozen; see `clone_with_weights`."""
    clone = float32_clone(model)
    for layer in clone.layers:
        layer.trainable = True  # what is frozen is so for one training
        _leave_out_defaults(layer)
    return clone


def _leave_out_defaults(layer):
    """Makes the layer write a configuration that earlier versions know."""
    config = layer.get_config()
    written = {name: value for name, value in config.items() if name not in _NEW or value != _NEW[name]}
    if len(written) < len(config):
        layer.get_config = lambda: written


def bfloat16_clone(model: keras.Model) -> keras.Model:
    """A copy of `model` that stores weights and computes in bfloat16 between its first layer and its last.

    Statistics of batch normalisation, where any is left, stay in float32.
    """
    outputs = {id(tensor) for tensor in model.outputs}

    def clone_layer(layer):
        if layer.name == NORMALIZATION or id(layer.output) in outputs:
            return float32_layer(layer)
        is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        dtype = "mixed_bfloat16" if is_batch_norm else "bfloat16"
        return type(layer).from_config(layer.get_config() | {"dtype": dtype})

    return clone_with_weights(model, clone_layer)
