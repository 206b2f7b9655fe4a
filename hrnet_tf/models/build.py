"""The one way to a network of any family: HRNet, SimpleBaselines and HigherHRNet.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels, K keypoints.
"""

from collections.abc import Sequence

import keras
from keras import layers

from hrnet_tf.models import blocks, higher_hrnet, hrnet, pose_resnet, preprocess
from hrnet_tf.models.variants import BOTTOM_UP, HEATMAPS, HRNETS, MODEL_NAMES, check_input_size, kind_of


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
    "heatmaps" [B,H/2,W/2,K].

    Args:
        name: one of `hrnet_tf.models.variants.MODEL_NAMES`.
        input_size: (height, width) in pixels, multiples of 32. None leaves both open, to any multiples of 32, of a
            HigherHRNet alone.
        num_keypoints: K, at least 1.
        dtype: Keras dtype policy of the layers between normalisation and heatmaps, such as
            "float32" or "mixed_bfloat16".
        channel_order: "rgb", or "bgr" for weights of a network that was trained on BGR normalised with
            the mean and deviation of RGB, as the published pose_resnets were. The images are RGB either
            way: normalisation differs here, and `load_state_dict` turns the first convolution round.

    Returns:
        An uncompiled `keras.Model` with freshly initialised weights.

    Raises:
        ValueError: an unknown name or channel order, a size that is not a multiple of 32, or no keypoints.
    """
    if name not in MODEL_NAMES:
        raise ValueError(f"`name` must be one of {', '.join(MODEL_NAMES)}. Received: {name!r}")
    is_bottom_up = kind_of(name) == BOTTOM_UP
    size = (None, None) if input_size is None and is_bottom_up else check_input_size(input_size)
    if isinstance(num_keypoints, bool) or not isinstance(num_keypoints, int) or num_keypoints < 1:
        raise ValueError(f"`num_keypoints` must be a positive integer. Received: {num_keypoints!r}")
    images = keras.Input((*size, 3), name="images")
    x = preprocess.normalize(images, channel_order)
    if is_bottom_up:
        return keras.Model(images, higher_hrnet.maps(x, name, num_keypoints, dtype), name=name)
    family = hrnet if name in HRNETS else pose_resnet
    x = family.features(x, name, dtype)  # [B,h,w,C]
    x = blocks.conv(x, num_keypoints, 1, "final_layer", use_bias=True, dtype="float32")
    heatmaps = layers.Identity(dtype="float32", name=HEATMAPS)(x)  # [B,h,w,K]
    return keras.Model(images, heatmaps, name=name)
