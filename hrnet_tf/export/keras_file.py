"""Export to Keras's own format, to go on training from or to run on another Keras backend."""

from hrnet_tf.files import replacing
from hrnet_tf.model_card import write_card
from hrnet_tf.models.clones import float32_clone


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
