"""Names of weights: from those that programs write to the official ones.

Official are those of leoxiaobin/deep-high-resolution-net.pytorch; HRNet/HRNet-Image-Classification, timm
and torchvision use the same for what they share. MMPose has them behind "backbone." and "head."
("keypoint_head." before its 1.0).
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from hrnet_tf.errors import listed

OFFICIAL, MMPOSE, CPN, IMAGENET = "official", "MMPose", "pytorch-cpn", "ImageNet classifier"
_MMPOSE_BACKBONE = "backbone."
_MMPOSE_HEAD = re.compile(r"(?:keypoint_)?head\.((?:(?:multi_)?final_layers?|deconv_layers|conv_layers)\..*)")
# pytorch-cpn has its ResNet behind the first of these, and the second beside it.
_CPN_BACKBONE, _CPN_PART = "resnet.", "global_net."
# MMPose's Hourglasses have a block between two stacks even if there is one alone.
_UNUSED_BLOCK, _SECOND_STACK = "inters.0.", "out_convs.1.conv.weight"
# Before its 1.0 MMPose counted the convolutions, normalisations and ReLUs of an HRNetV2's head on in `final_layer`.
_OLD_MMPOSE_HEAD = {
    "final_layer.0.": "conv_layers.0.",
    "final_layer.1.": "conv_layers.1.",
    "final_layer.3.": "final_layer.",
}
# What only classifiers have; "head.<number>" is of MMPose's ImageNet files.
_CLASSIFIER = re.compile(
    r"(?:incre_modules|downsamp_modules|classifier|fc|neck|final_layer\.[01]|head\.\d+|head\.fc)\.|incre|downsamp_modules"
)
# Parts of a network by their official names and MMPose's: a prefix is none of them.
_PARTS = re.compile(
    r"(?:conv|bn|layer|stage|transition)\d+|final_layers?|multi_final_layers|conv_layers|deconv_layers|incre_modules|downsamp_modules|classifier|fc|head|"
    r"keypoint_head|neck"
)
# What every network here has, to tell what its names begin with; and whose is taken where there are several.
_ANCHORS = ("conv1.weight", "layer1.0.conv1.weight")
_PREFERRED = ("model.", "student.")
_AVERAGE = "ema_"

# The layers of pose networks that tell how many keypoints they have; of HigherHRNet the last one.
HEADS = (
    *("final_layer.weight", "final_layers.1.weight", "multi_final_layers.0.weight"),
    "refine_net.final_predict.1.weight",
)

Arrays = dict[str, np.ndarray]


def official_names(arrays: Arrays) -> tuple[Arrays, str, list[str]]:
    """The weights of a file under their official names.

    Args:
        arrays: {name as in the file: array}.

    Returns:
        {official name, or its own where there is none: array}, the dialect, and what was stripped or left out, a
        line each.
    """
    arrays, without_averages = _without_averages(arrays)
    arrays, unwrapped = _unwrapped(arrays)
    dialect = OFFICIAL
    if any(name.startswith(_MMPOSE_BACKBONE) for name in arrays):
        arrays, dialect = _from_mmpose(arrays), MMPOSE
    elif any(name.startswith(_CPN_PART) for name in arrays):
        dialect = CPN
    if any(is_of_classifier(name) for name in arrays) and not any(name in arrays for name in HEADS):
        dialect = IMAGENET
    return arrays, dialect, [*without_averages, *unwrapped]


def is_of_classifier(name: str) -> bool:
    """Whether only classifiers have a weight of this official name."""
    return _CLASSIFIER.match(name) is not None


def summary(names: Iterable[str]) -> str:
    """How many names there are of each part of the network."""
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{part} {count}" for part, count in counts.items())


def _without_averages(arrays: Arrays) -> tuple[Arrays, list[str]]:
    """Without the second copy of every weight that mmcv's EMAHook keeps, under "ema_" and "_" for "."."""
    flat = {name.replace(".", "_") for name in arrays}
    averages = {name for name in arrays if name.startswith(_AVERAGE) and name.removeprefix(_AVERAGE) in flat}
    if not averages:
        return arrays, []
    kept = {name: array for name, array in arrays.items() if name not in averages}
    return kept, [f"{len(averages)} entries '{_AVERAGE}*' left out, which mmcv keeps beside the weights"]


def _unwrapped(arrays: Arrays) -> tuple[Arrays, list[str]]:
    """Without what names begin with before the parts of a network, as "module." or "model._orig_mod."."""
    arrays, stripped = _without_common_prefix(arrays)
    if any(name.startswith(_CPN_PART) for name in arrays):
        arrays = {name.removeprefix(_CPN_BACKBONE): array for name, array in arrays.items()}
    said = [f"'{stripped}' stripped from all names"] if stripped else []
    found = {
        name.removesuffix(_ANCHORS[0]).removesuffix(_MMPOSE_BACKBONE): None
        for name in arrays
        if name.endswith("." + _ANCHORS[0]) and name.removesuffix(_ANCHORS[0]) + _ANCHORS[1] in arrays
    }
    if not found or _ANCHORS[0] in arrays or _MMPOSE_BACKBONE + _ANCHORS[0] in arrays:
        return arrays, said
    prefix = next((p for p in found if p.endswith(_PREFERRED)), next(iter(found)))
    inside = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    outside = [name for name in arrays if not name.startswith(prefix)]
    others = [other.removesuffix(".") for other in found if other != prefix]
    said.append(f"'{prefix}' stripped from {len(inside)} names, {len(outside)} others left out ({_short(outside)})")
    if others:
        said[-1] += f"; of several, as {listed(map(repr, others))}, convert's --state_dict chooses"
    return inside, said


def _short(names):
    text = summary(names)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _without_common_prefix(arrays: Arrays) -> tuple[Arrays, str]:
    """Without the prefix that all names have in common, and that."""
    prefix = ""
    while True:
        rest = [name.removeprefix(prefix) for name in arrays]
        first = {name.partition(".")[0] for name in rest}
        if len(first) != 1 or not all("." in name for name in rest) or _PARTS.fullmatch(first.pop()):
            break
        prefix += rest[0].partition(".")[0] + "."
    return {name.removeprefix(prefix): array for name, array in arrays.items()}, prefix


def _from_mmpose(arrays: Arrays) -> Arrays:
    """Official names for MMPose's. What has none keeps its own, and is not expected in any model."""
    state_dict: Arrays = {}
    for name, array in arrays.items():
        in_head = _MMPOSE_HEAD.fullmatch(name)
        official = in_head[1] if in_head else name.removeprefix(_MMPOSE_BACKBONE)
        if in_head:
            old = next((old for old in _OLD_MMPOSE_HEAD if official.startswith(old)), "")
            official = _OLD_MMPOSE_HEAD.get(old, "") + official.removeprefix(old)
        state_dict[name if official in state_dict else official] = array
    if _SECOND_STACK not in state_dict:
        state_dict = {name: array for name, array in state_dict.items() if not name.startswith(_UNUSED_BLOCK)}
    return state_dict
