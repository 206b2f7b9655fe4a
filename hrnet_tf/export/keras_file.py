"""Export to Keras's own format, to go on training from or to run on another Keras backend."""

import keras

from hrnet_tf.files import replacing
from hrnet_tf.model_card import write_card


def export_keras(model, path, card=None):
    """Writes a `.keras` file that computes in float32, uncompiled.

    The file consists of stock layers, so it loads with `keras.models.load_model` where this package
    is not installed, on every Keras backend.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the file to write, ending in ".keras".
        card: a `ModelCard` to put into it, if any.

    Raises:
        InputError: `path` cannot be written.
    """
    model = float32_clone(model)
    with replacing(path) as temporary:
        model.save(temporary)
        if card is not None:
            write_card(temporary, card)


def float32_layer(layer):
    """A new stock layer of the same configuration that computes in float32, without weights yet."""
    # A variant for training, such as training.fused's, is BatchNormalization again.
    is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
    layer_class = keras.layers.BatchNormalization if is_batch_norm else type(layer)
    return layer_class.from_config(layer.get_config() | {"dtype": "float32"})


def float32_clone(model, clone_layer=float32_layer):
    """A float32 copy of `model` with copies of its weights; see `clone_with_weights`."""
    return clone_with_weights(model, clone_layer)


def clone_with_weights(model, clone_layer):
    """A copy of `model` of other layers with copies of its weights.

    Being new, it carries no optimizer, and its variables are plain ones even if those of `model`
    are spread over devices by a distribution strategy.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        clone_layer: layer -> new layer with weights of the same shapes.

    Returns:
        An uncompiled `keras.Model`.
    """
    clone = keras.models.clone_model(model, clone_function=clone_layer)
    for layer in model.layers:
        clone.get_layer(layer.name).set_weights(layer.get_weights())
    return clone
