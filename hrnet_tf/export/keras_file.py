"""Export to Keras's own format, to go on training from or to run on another Keras backend."""

from typing import TYPE_CHECKING

from hrnet_tf.files import PathLike, replacing
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.models.clones import portable_clone

if TYPE_CHECKING:
    import keras


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
    model = portable_clone(model)
    with replacing(path) as temporary:
        model.save(temporary)
        if card is not None:
            write_card(temporary, card)
