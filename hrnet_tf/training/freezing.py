"""Parts of a network that fine-tuning leaves as they are."""

import re
from collections.abc import Iterable

import keras

from hrnet_tf.errors import InputError

# Before the first block: what reads the image, and no part by its names alone.
_STEM = re.compile(r"(conv|bn)\d")


def part_of(layer_name: str) -> str:
    """Of which part a layer is: "stem", or what its name begins with before the first number of its own.

    stage2_0_branches_1_0_conv1 is of stage2, final_layer of final_layer.
    """
    return "stem" if _STEM.fullmatch(layer_name) else re.split(r"_\d", layer_name)[0]


def freeze(model: keras.Model, names: Iterable[str], untrained: Iterable[str] = ()) -> None:
    """Makes parts of a network keep their weights: no gradients, no moments, BatchNorm as in inference.

    To be called before an optimizer is built.

    Args:
        model: of `build_model`.
        names: of parts, as `part_of` has them.
        untrained: weights that nothing has been read for, by their PyTorch names.

    Raises:
        InputError: a part that the network does not have or whose weights are `untrained`; all of them.
    """
    names = set(names)
    layers = [layer for layer in model.layers if layer.weights]
    parts = list(dict.fromkeys(part_of(layer.name) for layer in sorted(layers, key=lambda layer: layer.name)))
    if unknown := names - set(parts):
        raise InputError(
            f"--freeze: {model.name} has no {', '.join(sorted(unknown))}; its parts are {', '.join(parts)}"
        )
    if fresh := names & {part_of(name.rpartition(".")[0].replace(".", "_")) for name in untrained}:
        raise InputError(f"--freeze would keep random weights: --pretrained has none of {', '.join(sorted(fresh))}")
    if names == set(parts):
        raise InputError("--freeze names all parts of the network: nothing is left to train")
    for layer in layers:
        if part_of(layer.name) in names:
            layer.trainable = False
