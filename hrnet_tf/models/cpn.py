"""Cascaded Pyramid Network: a ResNet, a pyramid of features from it with heatmaps of each, and a network that refines.

Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018, in the form of
github.com/GengDavid/pytorch-cpn. Imports keras and numpy alone, so that the network runs on every Keras backend.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels, K keypoints.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from hrnet_tf.models import blocks, pose_resnet
from hrnet_tf.models.variants import CPNS

CHANNELS = 256
# What heatmaps deviate by: in those with peaks of 1, about as much. From 1, as in pytorch-cpn, whose peaks are 255, it
# would take Adam a thousand steps to come down to.
HEATMAP_DEVIATION = 0.1


def maps(x: keras.KerasTensor, name: str, num_keypoints: int, dtype: str) -> list[keras.KerasTensor]:
    """Heatmaps of each level of the pyramid, the coarsest first, and refined ones, [B,H,W,3] -> each [B,h,w,K]."""
    levels = pose_resnet.trunk(x, CPNS[name], dtype)[::-1]
    size = levels[-1].shape[1:3]
    levels = pyramid(levels, dtype)
    found = []
    for i, level in enumerate(levels):
        prefix = f"global_net_predict_{i}"
        names = f"{prefix}_0", f"{prefix}_1"
        level = blocks.conv_bn(level, CHANNELS, 1, *names, use_relu=True, dtype=dtype)
        level = resize(
            blocks.conv(level, num_keypoints, 3, f"{prefix}_3", dtype="float32"), size, f"{prefix}_4", "float32"
        )
        found.append(blocks.batch_norm(level, f"{prefix}_5", scale=HEATMAP_DEVIATION, dtype="float32"))
    refined = refine(levels, size, dtype)
    x = blocks.conv(refined, num_keypoints, 3, "refine_net_final_predict_1", dtype="float32")
    refined = blocks.batch_norm(x, "refine_net_final_predict_2", scale=HEATMAP_DEVIATION, dtype="float32")
    return [*found, refined]


def pyramid(levels: Sequence[keras.KerasTensor], dtype: str) -> list[keras.KerasTensor]:
    """Features [B,h/2^i,w/2^i,C] of each level, the coarsest first, with what comes down from the coarser ones."""
    found: list[keras.KerasTensor] = []
    for i, level in enumerate(levels):
        prefix = f"global_net_laterals_{i}"
        x = blocks.conv_bn(level, CHANNELS, 1, f"{prefix}_0", f"{prefix}_1", use_relu=True, dtype=dtype)
        if found:
            prefix = f"global_net_upsamples_{i - 1}"
            above = resize(found[-1], x.shape[1:3], f"{prefix}_0", dtype)
            above = blocks.conv_bn(above, CHANNELS, 1, f"{prefix}_1", f"{prefix}_2", dtype=dtype)
            x = layers.Add(name=f"{prefix}_add", dtype=dtype)([x, above])
        found.append(x)
    return found


def refine(levels: Sequence[keras.KerasTensor], size: Sequence[int], dtype: str) -> keras.KerasTensor:
    """All levels at the heatmaps' size, the coarser the more bottlenecks before, and one over all, -> [B,h,w,C]."""
    resized = []
    for i, x in enumerate(levels):
        for j in range(len(levels) - 1 - i):
            x = _bottleneck(x, f"refine_net_cascade_{i}_{j}", dtype)
        resized.append(resize(x, size, f"refine_net_cascade_{i}_up", dtype))
    x = layers.Concatenate(name="refine_net_concatenate", dtype=dtype)(resized)
    return _bottleneck(x, "refine_net_final_predict_0", dtype)


def _bottleneck(x, name, dtype):
    return blocks.bottleneck(x, CHANNELS // 2, name, expansion=2, project=True, dtype=dtype)


def resize(x: keras.KerasTensor, size: Sequence[int], name: str, dtype: str) -> keras.KerasTensor:
    """Bilinear interpolation in which pixels in corners stay there (align_corners), [B,h,w,C] -> [B,*size,C].

    `UpSampling2D` has pixels' areas in corners. Along each axis it is a product with a matrix, which is a weight that
    is not trained.
    """
    for axis, equation in ((1, "bhwc,hy->bywc"), (2, "bhwc,wx->bhxc")):
        length, new_length = x.shape[axis], size[axis - 1]
        if length != new_length:
            shape = [*x.shape[1:axis], new_length, *x.shape[axis + 1 :]]
            layer = layers.EinsumDense(equation, shape, trainable=False, dtype=dtype, name=f"{name}_{'yx'[axis - 1]}")
            x = layer(x)
            layer.kernel.assign(interpolation(length, new_length))
    return x


def interpolation(length: int, new_length: int) -> np.ndarray:
    """[length,new_length] weights of pixels in those of a row that is longer, the first and last being the same."""
    position = np.linspace(0, length - 1, new_length)
    return np.maximum(0, 1 - np.abs(np.arange(length)[:, None] - position)).astype(np.float32)
