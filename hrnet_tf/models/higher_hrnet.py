"""HigherHRNet: an HRNet whose heatmaps come with tags, and a second time at twice the size.

Cheng et al., "HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation", CVPR 2020. Tags
tell whose a keypoint is: those of one person are alike (Newell et al., "Associative Embedding", NeurIPS 2017).
Imports keras alone, so that the network runs on every Keras backend.

Shape legend: B batch, H and W input, h = H/4 and w = W/4, C channels, K keypoints.
"""

import keras
from keras import layers

from hrnet_tf.models import blocks, hrnet
from hrnet_tf.models.variants import HEATMAPS, HEATMAPS_TAGS, HIGHER_HRNETS

# Basic blocks after the transposed convolution.
NUM_BLOCKS = 4


def maps(x: keras.KerasTensor, name: str, num_keypoints: int, dtype: str) -> dict[str, keras.KerasTensor]:
    """The outputs of the network `name` from normalised images [B,H,W,3].

    Returns:
        {"heatmaps_tags": [B,h,w,2K], K heatmaps and K maps of tags, "heatmaps": [B,2h,2w,K]}, float32.
    """
    x = hrnet.features(x, HIGHER_HRNETS[name], dtype)  # [B,h,w,C]
    width = x.shape[-1]
    low = blocks.conv(x, 2 * num_keypoints, 1, "final_layers_0", use_bias=True, dtype="float32")
    x = layers.Concatenate(name="deconv_layers_0_concatenate", dtype=dtype)([x, low])  # [B,h,w,C+2K]
    x = blocks.deconv_bn(x, width, "deconv_layers_0_0_0", "deconv_layers_0_0_1", dtype=dtype)  # [B,2h,2w,C]
    for i in range(1, NUM_BLOCKS + 1):
        x = blocks.basic_block(x, width, f"deconv_layers_0_{i}_0", dtype=dtype)
    high = blocks.conv(x, num_keypoints, 1, "final_layers_1", use_bias=True, dtype="float32")
    outputs = {HEATMAPS_TAGS: low, HEATMAPS: high}
    return {key: layers.Identity(dtype="float32", name=key)(tensor) for key, tensor in outputs.items()}
