"""The one way to a network of any family: HRNet, HigherHRNet, SimpleBaselines, Stacked Hourglass and CPN.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels, K keypoints.
"""

from collections.abc import Sequence

import keras
from keras import layers

from hrnet_tf.models import blocks, cpn, higher_hrnet, hourglass, hrnet, pose_resnet, preprocess
from hrnet_tf.models.variants import (
    BOTTOM_UP,
    CPNS,
    HEATMAPS,
    HOURGLASSES,
    HRNETS,
    MODEL_NAMES,
    check_input_size,
    kind_of,
)


def build_model(
    name: str,
    input_size: Sequence[int] | None = (256, 192),
    num_keypoints: int = 17,
    dtype: str = "float32",
    channel_order: str = "rgb",
) -> keras.Model:
    """Builds a pose network as a Functional model of stock Keras layers.

    The input "images" is [B,H,W,3], RGB from 0 to 255 (uint8 or float); normalisation is the
    model's first layer. The output "heatmaps" is [B,H/4,W/4,K], float32 whatever `dtype` is. A HigherHRNet
    has two outputs in a dict: "heatmaps_tags" [B,H/4,W/4,2K], of K heatmaps and K maps of tags, and
    "heatmaps" [B,H/2,W/2,K]. Networks that are supervised at several places, hourglass_104 and the CPNs, have a list
    of outputs alike for training, "heatmaps_1" and so on, of which "heatmaps" is the last:
    `hrnet_tf.models.clones.last_output` is for predicting.

    Args:
        name: one of `hrnet_tf.models.variants.MODEL_NAMES`.
        input_size: (height, width) in pixels, multiples of 32, of an Hourglass 128. None leaves both open, to any
            multiples of 32, of a HigherHRNet alone.
        num_keypoints: K, at least 1.
        dtype: Keras dtype policy of the layers between normalisation and heatmaps, such as
            "float32" or "mixed_bfloat16".
        channel_order: "rgb", or "bgr" for weights of a network that was trained on BGR normalised with
            the mean and deviation of RGB, as the published pose_resnets were, or "cpn" for those of pytorch-cpn,
            trained on RGB less a mean of its own and on heatmaps with peaks of 255. The images are RGB and peaks
            are 1 all the same: normalisation differs here, and `load_state_dict` turns the first convolution
            round, or scales what gives the heatmaps.

    Returns:
        An uncompiled `keras.Model` with freshly initialised weights.

    Raises:
        ValueError: an unknown name or channel order, a size that the network cannot halve so often, or no keypoints.
    """
    if name not in MODEL_NAMES:
        raise ValueError(f"`name` must be one of {', '.join(MODEL_NAMES)}. Received: {name!r}")
    is_bottom_up = kind_of(name) == BOTTOM_UP
    size = (None, None) if input_size is None and is_bottom_up else check_input_size(input_size, name)
    if isinstance(num_keypoints, bool) or not isinstance(num_keypoints, int) or num_keypoints < 1:
        raise ValueError(f"`num_keypoints` must be a positive integer. Received: {num_keypoints!r}")
    images = keras.Input((*size, 3), name="images")
    x = preprocess.normalize(images, channel_order)
    if is_bottom_up:
        return keras.Model(images, higher_hrnet.maps(x, name, num_keypoints, dtype), name=name)
    if name in HOURGLASSES or name in CPNS:
        maps = (cpn if name in CPNS else hourglass).maps(x, name, num_keypoints, dtype)  # each [B,h,w,K]
    else:
        x = (hrnet if name in HRNETS else pose_resnet).features(x, name, dtype)  # [B,h,w,C]
        maps = [blocks.conv(x, num_keypoints, 1, "final_layer", use_bias=True, dtype="float32")]
    keys = [*(f"{HEATMAPS}_{i}" for i in range(1, len(maps))), HEATMAPS]
    outputs = [layers.Identity(dtype="float32", name=key)(tensor) for key, tensor in zip(keys, maps, strict=True)]
    return keras.Model(images, outputs if len(outputs) > 1 else outputs[0], name=name)
