"""Stacked Hourglass: halvings down to 1/128 of the input's size and back, of residual blocks, once or several times.

Newell, Yang and Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016; in the form of Law and Deng,
"CornerNet", ECCV 2018, section 3.6, of which MMPose has weights: basic blocks, and strides instead of pooling.
Imports keras alone, so that the network runs on every Keras backend.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels, K keypoints.
"""

import keras
from keras import layers

from hrnet_tf.models import blocks
from hrnet_tf.models.variants import HOURGLASSES

# By how often they are halved, channels of features.
CHANNELS = (256, 256, 384, 384, 384, 512)
STEM_CHANNELS = 128
# Residual blocks at each size, and at the smallest.
NUM_BLOCKS, NUM_INNERMOST_BLOCKS = 2, 4


def maps(x: keras.KerasTensor, name: str, num_keypoints: int, dtype: str) -> list[keras.KerasTensor]:
    """Heatmaps of every stack of the network `name`, [B,H,W,3] -> each [B,h,w,K]."""
    channels, num_stacks, found = CHANNELS[0], HOURGLASSES[name], []
    x = blocks.conv_bn(x, STEM_CHANNELS, 7, "stem_0_conv", "stem_0_bn", strides=2, use_relu=True, dtype=dtype)
    x = blocks.basic_block(x, channels, "stem_1_0", strides=2, dtype=dtype)  # [B,h,w,C]
    for i in range(num_stacks):
        features = hourglass(x, f"hourglass_modules_{i}", dtype)
        names = f"out_convs_{i}_conv", f"out_convs_{i}_bn"
        features = blocks.conv_bn(features, channels, 3, *names, use_relu=True, dtype=dtype)
        head = f"multi_final_layers_{i}"
        found.append(blocks.conv(features, num_keypoints, 1, head, use_bias=True, dtype="float32"))
        if i + 1 < num_stacks:
            x = _between(x, features, i, dtype)
    return found


def hourglass(x: keras.KerasTensor, name: str, dtype: str, depth: int = 0) -> keras.KerasTensor:
    """Blocks at the size of `x`, and blocks of half that, in which there is the next hourglass, [B,h,w,C] likewise.

    Args:
        x: features that have been halved `depth` times.
        name: prefix of the layers.
        dtype: of the layers.
        depth: index in `CHANNELS`.
    """
    channels, inner_channels = CHANNELS[depth : depth + 2]
    beside = _blocks(x, [channels] * NUM_BLOCKS, f"{name}_up1", dtype)
    inner = _blocks(x, [inner_channels] * NUM_BLOCKS, f"{name}_low1", dtype, strides=2)
    if depth + 2 < len(CHANNELS):
        inner = hourglass(inner, f"{name}_low2", dtype, depth + 1)
    else:
        inner = _blocks(inner, [inner_channels] * NUM_INNERMOST_BLOCKS, f"{name}_low2", dtype)
    inner = _blocks(inner, [inner_channels] * (NUM_BLOCKS - 1) + [channels], f"{name}_low3", dtype)
    inner = layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up2", dtype=dtype)(inner)
    return layers.Add(name=f"{name}_add", dtype=dtype)([beside, inner])


def _blocks(x, channels, name, dtype, strides=1):
    """Basic blocks of these channels, one after the other; strides are the first one's."""
    for i, filters in enumerate(channels):
        x = blocks.basic_block(x, filters, f"{name}_{i}", strides=strides if i == 0 else 1, dtype=dtype)
    return x


def _between(x, features, i, dtype):
    """What stack i + 1 takes: what stack i took and what came of it, mixed."""
    terms = [
        blocks.conv_bn(tensor, x.shape[-1], 1, f"{name}_{i}_conv", f"{name}_{i}_bn", dtype=dtype)
        for tensor, name in ((x, "conv1x1s"), (features, "remap_convs"))
    ]
    x = layers.Add(name=f"inters_{i}_mixed_add", dtype=dtype)(terms)
    return blocks.basic_block(
        blocks.relu(x, f"inters_{i}_mixed_relu", dtype=dtype), x.shape[-1], f"inters_{i}", dtype=dtype
    )
