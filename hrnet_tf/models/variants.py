"""The networks there are, as names and a few numbers, and what each may be told.

Imports nothing heavy, so that command lines can list the names without TensorFlow.
"""

import dataclasses
from collections.abc import Sequence

# Every family goes down to 1/32 of the input, Hourglasses to 1/128, and gives heatmaps of 1/4 (HigherHRNet of 1/2 too).
SIZE_DIVISOR, HOURGLASS_DIVISOR = 32, 128
# Of crops, in pixels: more is a slip, and no memory holds what a network makes of them.
MAX_SIDE = 4096
HEATMAP_STRIDE = 4
CHANNEL_ORDERS = ("rgb", "bgr", "cpn")
# Of networks for inference; and the Keras dtype policies that training takes.
PRECISIONS = ("float32", "bfloat16")
TRAINING_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class HRNet:
    """What tells one HRNet from another; branch i has `width * 2**i` channels.

    HRNetV1 gives its highest branch, HRNetV2 (`concatenated`) all four, brought to the highest one's size, and mixes
    them by a 1x1 convolution before the final layer. It upsamples by bilinear interpolation, HRNetV1 by repetition.
    """

    width: int
    num_modules: tuple[int, int, int] = (1, 4, 3)  # of stages 2, 3, 4
    num_blocks: int = 4  # basic blocks of a branch of a module
    layer1_blocks: int = 4
    layer1_filters: int = 64
    concatenated: bool = False


HRNETS = {
    "hrnet_w32": HRNet(width=32),
    "hrnet_w48": HRNet(width=48),
    # The small ones come from the authors' ImageNet repository.
    "hrnet_w18_small_v1": HRNet(width=16, num_modules=(1, 1, 1), num_blocks=2, layer1_blocks=1, layer1_filters=32),
    "hrnet_w18_small_v2": HRNet(width=18, num_modules=(1, 3, 2), num_blocks=2, layer1_blocks=2),
    # MMPose's, for hands and faces.
    "hrnetv2_w18": HRNet(width=18, concatenated=True),
}


@dataclasses.dataclass(frozen=True)
class PoseResNet:
    """What tells one ResNet from another (He et al. 2016, table 1); layer i has blocks of `64 * 2**i` filters."""

    num_blocks: tuple[int, int, int, int]
    use_bottleneck: bool = True


POSE_RESNETS = {
    "pose_resnet18": PoseResNet((2, 2, 2, 2), use_bottleneck=False),
    "pose_resnet34": PoseResNet((3, 4, 6, 3), use_bottleneck=False),
    "pose_resnet50": PoseResNet((3, 4, 6, 3)),
    "pose_resnet101": PoseResNet((3, 4, 23, 3)),
    "pose_resnet152": PoseResNet((3, 8, 36, 3)),
}

# HigherHRNets, each by the HRNet that it is built on: they find everybody in a whole image.
HIGHER_HRNETS = {
    "higher_hrnet_w32": "hrnet_w32",
    "higher_hrnet_w48": "hrnet_w48",
    "higher_hrnet_w18_small_v1": "hrnet_w18_small_v1",
}

# Stacked Hourglasses, by how many stacks they have.
HOURGLASSES = {"hourglass_52": 1, "hourglass_104": 2}
# Cascaded Pyramid Networks, by the ResNet that they are built on.
CPNS = {"cpn_50": POSE_RESNETS["pose_resnet50"], "cpn_101": POSE_RESNETS["pose_resnet101"]}
# Of the ResNet's four layers, and of all together.
_CPN_OUTPUTS = 5

TOP_DOWN_NAMES = (*HRNETS, *POSE_RESNETS, *HOURGLASSES, *CPNS)
BOTTOM_UP_NAMES = tuple(HIGHER_HRNETS)
MODEL_NAMES = (*TOP_DOWN_NAMES, *BOTTOM_UP_NAMES)
# What a network is: of crops with one person each, or of whole images with everybody in them.
TOP_DOWN, BOTTOM_UP = "top_down", "bottom_up"
# The outputs of a HigherHRNet; the only output of others, or the last, is called as the second.
HEATMAPS_TAGS, HEATMAPS = "heatmaps_tags", "heatmaps"


def num_outputs(name: str) -> int:
    """How many outputs with heatmaps a network of crops has in training, of which the last predicts."""
    return _CPN_OUTPUTS if name in CPNS else HOURGLASSES.get(name, 1)


def kind_of(name: str) -> str:
    """`TOP_DOWN` or `BOTTOM_UP`, of a network of this name."""
    return BOTTOM_UP if name in BOTTOM_UP_NAMES else TOP_DOWN


def size_to_build(name: str, input_size: tuple[int, int]) -> tuple[int, int] | None:
    """The `input_size` to build a network with that is trained on images of one: of whole images None, which is any."""
    return input_size if kind_of(name) == TOP_DOWN else None


def size_divisor(name: str) -> int:
    """What sides of the input of a network of this name are multiples of, in pixels."""
    return HOURGLASS_DIVISOR if name in HOURGLASSES else SIZE_DIVISOR


def check_input_size(input_size: Sequence[int] | None, name: str = "") -> tuple[int, int]:
    """Returns `input_size` as two integers, or raises ValueError if a network, or that of a name, cannot take it."""
    size = () if input_size is None else tuple(input_size)
    divisor = size_divisor(name)
    if len(size) != 2 or any(int(s) != s or not divisor <= s <= MAX_SIDE or s % divisor for s in size):
        raise ValueError(
            f"`input_size` must be (height, width) in pixels, multiples of {divisor} up to {MAX_SIDE}"
            f"{f' for {name}' if name else ''}. Received: {input_size!r}"
        )
    return int(size[0]), int(size[1])
