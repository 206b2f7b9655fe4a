"""What was downloaded becomes a `.keras` file with its model card."""

from pathlib import Path

from hrnet_tf import skeletons
from hrnet_tf.errors import InputError
from hrnet_tf.files import replacing
from hrnet_tf.model_card import ModelCard, read_card, write_card
from hrnet_tf.models.build import build_model
from hrnet_tf.models.clones import portable_clone
from hrnet_tf.models.variants import TOP_DOWN
from hrnet_tf.pretrained.table import Entry
from hrnet_tf.weights.load import load_pytorch_weights, read_checkpoint


def card_of(entry: Entry) -> ModelCard:
    """The model card of a row that has keypoints."""
    return ModelCard(entry.network, entry.input_size, skeletons.named(entry.keypoint_set), entry.codec, kind=entry.kind)


def is_converted(entry: Entry, path: Path) -> bool:
    """Whether `path` is a whole `.keras` file of what this row says."""
    try:
        found = read_card(path) if path.is_file() else None
    except InputError:  # damaged
        return False
    return found is not None and _identity(found) == _identity(card_of(entry))


def _identity(card):
    return card.name, card.kind, card.input_size, card.codec, card.skeleton.names


def convert(entry: Entry, weights: Path, path: Path) -> None:
    """Writes the `.keras` file of a row.

    Args:
        entry: the row.
        weights: its file, whose hash has been checked.
        path: the file to write.

    Raises:
        InputError: the weights are not those of this network with these keypoints, or `path` cannot be written.
    """
    card = card_of(entry)
    channel_order = read_checkpoint(weights).channel_order
    input_size = entry.input_size if entry.kind == TOP_DOWN else None
    model = build_model(entry.network, input_size, card.skeleton.num_keypoints, channel_order=channel_order)
    load_pytorch_weights(model, weights)
    with replacing(path) as temporary:
        portable_clone(model).save(temporary)
        write_card(temporary, card)
