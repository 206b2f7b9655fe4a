"""PyTorch weight files into models: the official ones, MMPose's, and ImageNet classifiers to start training from."""

import dataclasses
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.models.preprocess import channel_order_of
from hrnet_tf.weights.containers import read_arrays
from hrnet_tf.weights.names import CPN, HEADS, IMAGENET, OFFICIAL, is_of_classifier, official_names, summary
from hrnet_tf.weights.state_dict import Match, match_state_dict

if TYPE_CHECKING:
    import keras

_OF_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# The weights whose first axis counts keypoints: of the final layers, in HigherHRNet of what takes the first one's maps,
# and in CPN of the normalisation after them.
_HEAD = (
    *("final_layer.weight", "final_layer.bias"),
    *(f"final_layers.{i}.{parameter}" for i in (0, 1) for parameter in ("weight", "bias")),
    *(f"multi_final_layers.{i}.{parameter}" for i in (0, 1) for parameter in ("weight", "bias")),
    "deconv_layers.0.0.0.weight",
    *(f"global_net.predict.{i}.{name}" for i in range(4) for name in ("3.weight", *(f"5.{p}" for p in _OF_BATCH_NORM))),
    *(f"refine_net.final_predict.{name}" for name in ("1.weight", *(f"2.{p}" for p in _OF_BATCH_NORM))),
)
# Of a pose network alone, before its final layer: a pose_resnet's and a HigherHRNet's, an HRNetV2's, and a CPN's.
_BEFORE_HEAD = ("deconv_layers.", "conv_layers.", "global_net.", "refine_net.")
# The outputs that the last fusion of a pose network leaves out.
_UNUSED_FUSION = re.compile(r"stage4\.\d+\.fuse_layers\.[123]\.")
# How many characters of names an error lists.
_LISTED = 240


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The weights of a file under their official names."""

    state_dict: dict[str, np.ndarray]  # name -> array in PyTorch layout
    dialect: str  # OFFICIAL, MMPOSE, CPN or IMAGENET
    container: str
    said: list[str] = dataclasses.field(default_factory=list)  # what was chosen, stripped or left out, a line each

    @property
    def num_keypoints(self) -> int | None:
        """K of a pose network, or None."""
        head = next((self.state_dict[name] for name in HEADS if name in self.state_dict), None)
        return head.shape[0] if head is not None and head.ndim == 4 else None

    @property
    def channel_order(self) -> str:
        """What the network was trained on, as far as is known: the official pose_resnets were on BGR."""
        parts = {name.partition(".")[0] for name in self.state_dict}
        is_bgr = self.dialect == OFFICIAL and "deconv_layers" in parts and "stage2" not in parts
        return "cpn" if self.dialect == CPN else "bgr" if is_bgr else "rgb"


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of the entries of a weight file, by name. BatchNorm's counters are in none of the lists."""

    dialect: str
    container: str
    taken: list[str]
    not_taken: list[str]  # in the file, but not in the model or of another size
    kept_fresh: list[str]  # weights of the model that stayed as they were
    said: list[str] = dataclasses.field(default_factory=list)  # what was chosen, stripped or left out, a line each

    def __str__(self) -> str:
        lines = [f"{self.dialect} weights ({self.container}): {len(self.taken)} tensors taken ({summary(self.taken)})"]
        for title, names in (("not taken", self.not_taken), ("kept fresh", self.kept_fresh)):
            if names:
                lines.append(f"{len(names)} {title} ({summary(names)})")
        return "\n".join([*self.said, *lines])


def read_checkpoint(path: PathLike, state_dict: str | None = None) -> Checkpoint:
    """Reads the weights in a file; which dialect they are in is told from their names.

    Args:
        path: `.pth` of either container, bare, under prefixes or inside a training checkpoint, or
            `.safetensors`. Nothing in it is executed.
        state_dict: which of several state dicts to take, by its name in the file ("ema", "model.state_dict")
            or by the prefix of its names ("teacher"). By default those of the network itself come before
            averages of it; which was taken, and what else there is, is said.

    Returns:
        A `Checkpoint`.

    Raises:
        InputError: the file cannot be read, is damaged, or holds no weights.
    """
    arrays, container, chosen = read_arrays(path, state_dict)
    official, dialect, said = official_names(arrays)
    return Checkpoint(official, dialect, container, [*chosen, *said])


def load_pytorch_weights(
    model: "keras.Model", path: PathLike, partial: bool = False, state_dict: str | None = None
) -> LoadReport:
    """Sets every weight of `model` from a PyTorch file, or none of them.

    Args:
        model: a model of `build_model`; of channel_order "bgr" for the published pose_resnets, "cpn" for pytorch-cpn's.
        path: as in `read_checkpoint`.
        partial: leave out the layers that count keypoints if these are others in number. All else must fit.
        state_dict: as in `read_checkpoint`.

    Returns:
        A `LoadReport`.

    Raises:
        InputError: as `read_checkpoint`, or weights missing, unexpected, of another shape or not finite;
            they are counted and the first ones named, and the model is left as it was.
    """
    checkpoint = read_checkpoint(path, state_dict)
    match = match_state_dict(model, checkpoint.state_dict)
    has_other_head = _has_other_head(match)
    not_taken, kept_fresh = match.leave_out(lambda name: partial and has_other_head and name in _HEAD)
    hint = ""
    if checkpoint.dialect == IMAGENET:
        hint = "; ImageNet weights can only initialise training (initialize_from)"
    elif has_other_head and not partial:
        hint = "; partial=True leaves out a head for other keypoints"
    _assign(model, path, checkpoint, match, hint)
    _warn_of_order(model, path, checkpoint)
    return _report(checkpoint, match, not_taken, kept_fresh)


def initialize_from(model: "keras.Model", path: PathLike, state_dict: str | None = None) -> LoadReport:
    """Starts a model from weights of another task: an ImageNet classifier, or a pose network of other keypoints or
    of another kind, as a HigherHRNet from an HRNet.

    Every weight of the stem and of the stages must be in the file. Heads of classifiers and of pose networks of another
    kind are not taken, and weights that such files have nothing for (final layers, a pose_resnet's and a HigherHRNet's
    transposed convolutions, what an HRNetV2 has after its branches and a CPN after its ResNet) stay as they are. So do
    the layers that count keypoints if these are others in number.

    Args:
        model: a model of `build_model`.
        path: as in `read_checkpoint`, with names of the official repositories, timm, torchvision or MMPose.
        state_dict: as in `read_checkpoint`.

    Returns:
        A `LoadReport`.

    Raises:
        InputError: as `load_pytorch_weights`.
    """
    checkpoint = read_checkpoint(path, state_dict)
    arrays = checkpoint.state_dict
    match = match_state_dict(model, arrays)
    is_of_another_kind = set(match.missing) >= set(_head(match))
    keep_head = is_of_another_kind or _has_other_head(match)
    kept = tuple(part for part in _BEFORE_HEAD if not any(name.startswith(part) for name in arrays))
    unexpected = set(match.unexpected)

    def is_left_out(name: str) -> bool:
        if name in unexpected:
            is_of_other_head = is_of_another_kind and (name in _HEAD or name.startswith(_BEFORE_HEAD))
            return is_of_classifier(name) or is_of_other_head or _UNUSED_FUSION.match(name) is not None
        return (keep_head and name in _HEAD) or name.startswith(kept)

    not_taken, kept_fresh = match.leave_out(is_left_out)
    _assign(model, path, checkpoint, match)
    _warn_of_order(model, path, checkpoint)
    return _report(checkpoint, match, not_taken, kept_fresh)


def _head(match: Match) -> list[str]:
    """The names of the model's weights that count keypoints."""
    return [name for name in match.in_model if name in _HEAD]


def _has_other_head(match: Match) -> bool:
    """Whether the layers that count keypoints differ from the model's in that number alone."""
    found = {}
    for name in _head(match):
        shape, wanted = match.misshapen.get(name, ((), (0,)))
        if not shape or shape[1:] != wanted[1:]:
            return False
        found[name] = shape[0]
    return all(found[name.replace("bias", "weight")] == count for name, count in found.items() if name.endswith("bias"))


def _assign(model, path, checkpoint, match, hint=""):
    problems = match.problems(_LISTED)
    if problems:
        raise InputError(
            f"{path} ({checkpoint.dialect} weights) does not fit the model {model.name!r}. {problems}{hint}"
        )
    match.assign()


def _report(checkpoint, match, not_taken, kept_fresh):
    taken = list(match.values)
    return LoadReport(checkpoint.dialect, checkpoint.container, taken, not_taken, kept_fresh, checkpoint.said)


def _warn_of_order(model, path, checkpoint):
    order = checkpoint.channel_order
    if order != "rgb" and order != channel_order_of(model):
        which = (
            "published pose_resnet weights were trained on BGR" if order == "bgr" else f"weights of {CPN} have a mean"
        )
        warnings.warn(f"{path}: the {which}; build the model with channel_order={order!r}", stacklevel=3)
