"""The codecs: what turning keypoints into heatmaps and back has to agree on.

Of names and numbers alone, so that command lines can list them without TensorFlow.
"""

import dataclasses

REFINEMENTS = ("none", "quarter", "dark", "udp", "integral")


@dataclasses.dataclass(frozen=True)
class Codec:
    """What training, evaluation, prediction and export of a network have to agree on.

    Attributes:
        refine: how maxima of heatmaps become keypoints, one of `REFINEMENTS`.
        flip_shift: whether the flip test moves the mirrored crop's heatmaps by a column.
        align_corners: whether sizes of crops and heatmaps count the steps between pixels, one less
            than the pixels, so that the corner pixels of a crop and its heatmap coincide.
    """

    refine: str
    flip_shift: bool
    align_corners: bool


# msra: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
# dark: Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020.
# udp: Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human
#   Pose Estimation", CVPR 2020; with Gaussian heatmaps.
CODECS = {
    "msra": Codec(refine="quarter", flip_shift=True, align_corners=False),
    "dark": Codec(refine="dark", flip_shift=True, align_corners=False),
    "udp": Codec(refine="udp", flip_shift=False, align_corners=True),
}


def get_codec(name: str) -> Codec:
    """The `Codec` of a name in `CODECS`, or ValueError."""
    if name not in CODECS:
        raise ValueError(f"`codec` must be one of {', '.join(CODECS)}. Received: {name!r}")
    return CODECS[name]
