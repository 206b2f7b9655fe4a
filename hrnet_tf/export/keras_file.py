"""Export to Keras's own format, to go on training from or to run on another Keras backend."""

from typing import TYPE_CHECKING

from hrnet_tf.files import PathLike, replacing
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.models.clones import float32_clone

if TYPE_CHECKING:
    import keras

# What Keras 3.14 has added to configurations of layers, and its defaults: earlier ones refuse a file that tells them.
_NEW = {"renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99}


def export_keras(model: "keras.Model", path: PathLike, card: ModelCard | None = None) -> None:
    """Writes a `.keras` file that computes in float32, uncompiled.

    The file consists of stock layers, so it loads with `keras.models.load_model` where this package
    is not installed, on every Keras backend, by Keras 3.4 and later.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the file to write, ending in ".keras".
        card: a `ModelCard` to put into it, if any.

    Raises:
        InputError: `path` cannot be written.
    """
    model = float32_clone(model)
    for layer in model.layers:
        _leave_out_defaults(layer)
    with replacing(path) as temporary:
        model.save(temporary)
        if card is not None:
            write_card(temporary, card)


def _leave_out_defaults(layer: "keras.layers.Layer") -> None:
    """Makes the layer write a configuration that earlier versions know."""
    config = layer.get_config()
    written = {name: value for name, value in config.items() if name not in _NEW or value != _NEW[name]}
    if len(written) < len(config):
        layer.get_config = lambda: written
