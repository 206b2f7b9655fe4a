"""The one way to a network of either family: HRNet and SimpleBaselines.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels, K keypoints.
"""

from collections.abc import Sequence

import keras
from keras import layers

from hrnet_tf.models import blocks, hrnet, pose_resnet, preprocess
from hrnet_tf.models.variants import HRNETS, MODEL_NAMES, check_input_size


def build_model(
    name: str,
    input_size: Sequence[int] = (256, 192),
    num_keypoints: int = 17,
    dtype: str = "float32",
    channel_order: str = "rgb",
) -> keras.Model:
    """Builds a pose network as a Functional model of stock Keras layers.

    The input "images" is [B,H,W,3], RGB from 0 to 255 (uint8 or float); normalisation is the
    model's first layer. The output "heatmaps" is [B,H/4,W/4,K], float32 whatever `dtype` is.

    Args:
        name: one of `hrnet_tf.models.variants.MODEL_NAMES`.
        input_size: (height, width) in pixels, multiples of 32.
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
    height, width = check_input_size(input_size)
    if isinstance(num_keypoints, bool) or not isinstance(num_keypoints, int) or num_keypoints < 1:
        raise ValueError(f"`num_keypoints` must be a positive integer. Received: {num_keypoints!r}")
    family = hrnet if name in HRNETS else pose_resnet

    images = keras.Input((height, width, 3), name="images")
    x = preprocess.normalize(images, channel_order)
    x = family.features(x, name, dtype)  # [B,h,w,C]
    x = blocks.conv(x, num_keypoints, 1, "final_layer", use_bias=True, dtype="float32")
    heatmaps = layers.Identity(dtype="float32", name="heatmaps")(x)  # [B,h,w,K]
    return keras.Model(images, heatmaps, name=name)
