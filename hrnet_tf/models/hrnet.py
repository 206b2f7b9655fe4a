"""HRNet: parallel branches from 1/4 to 1/32 of the input's size that exchange features by summation.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019; HRNetV2: Wang et al.,
"Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020, section 3.3.
Imports keras alone, so that the network runs on every Keras backend.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels.
"""

from collections.abc import Sequence

import keras
from keras import layers

from hrnet_tf.models import blocks
from hrnet_tf.models.variants import HRNETS


def features(x: keras.KerasTensor, name: str, dtype: str) -> keras.KerasTensor:
    """The network `name` between normalisation and final layer, [B,H,W,3] -> [B,h,w,C]."""
    variant = HRNETS[name]
    upsampling = "bilinear" if variant.concatenated else "nearest"
    x = blocks.conv_bn(x, 64, 3, "conv1", "bn1", strides=2, use_relu=True, dtype=dtype)
    x = blocks.conv_bn(x, 64, 3, "conv2", "bn2", strides=2, use_relu=True, dtype=dtype)  # [B,h,w,64]
    for i in range(variant.layer1_blocks):
        x = blocks.bottleneck(x, variant.layer1_filters, f"layer1_{i}", dtype=dtype)

    branches = [x]
    for stage, num_modules in zip((2, 3, 4), variant.num_modules, strict=True):
        widths = [variant.width * 2**i for i in range(stage)]
        branches = transition(branches, widths, f"transition{stage - 1}", dtype)
        for module in range(num_modules):
            last = stage == 4 and module == num_modules - 1
            outputs = 1 if last and not variant.concatenated else stage
            branches = hr_module(branches, variant.num_blocks, f"stage{stage}_{module}", dtype, outputs, upsampling)
    return concatenate(branches, upsampling, dtype) if variant.concatenated else branches[0]


def concatenate(branches: Sequence[keras.KerasTensor], upsampling: str, dtype: str) -> keras.KerasTensor:
    """All branches at the size of the first, mixed by a 1x1 convolution, -> [B,h,w,C], C being all their channels.

    The convolution has a bias beside its normalisation, as in MMPose's heads.
    """
    resized = [
        layers.UpSampling2D(2**i, interpolation=upsampling, name=f"concatenate_{i}_up", dtype=dtype)(x) if i else x
        for i, x in enumerate(branches)
    ]
    x = layers.Concatenate(name="concatenate", dtype=dtype)(resized)
    x = blocks.conv(x, x.shape[-1], 1, "conv_layers_0", use_bias=True, dtype=dtype)
    return blocks.relu(blocks.batch_norm(x, "conv_layers_1", dtype=dtype), "conv_layers_1_relu", dtype=dtype)


def transition(
    branches: Sequence[keras.KerasTensor], widths: Sequence[int], name: str, dtype: str
) -> list[keras.KerasTensor]:
    """Adapts channels and adds branches, each at half the size of the one above it.

    Args:
        branches: tensors [B, h/2^i, w/2^i, C_i].
        widths: channels of the branches to return; one new branch comes from the lowest that there is.

    Returns:
        A list of `len(widths)` tensors.
    """
    outputs = []
    for i, width in enumerate(widths):
        x = branches[min(i, len(branches) - 1)]
        if i >= len(branches):
            x = blocks.conv_bn(x, width, 3, f"{name}_{i}_0_0", f"{name}_{i}_0_1", strides=2, use_relu=True, dtype=dtype)
        elif x.shape[-1] != width:
            x = blocks.conv_bn(x, width, 3, f"{name}_{i}_0", f"{name}_{i}_1", use_relu=True, dtype=dtype)
        outputs.append(x)
    return outputs


def hr_module(
    branches: Sequence[keras.KerasTensor], num_blocks: int, name: str, dtype: str, num_outputs: int, upsampling: str
) -> list[keras.KerasTensor]:
    """Basic blocks in every branch, then fusion of every branch into each of the first `num_outputs`."""
    branches = list(branches)
    for i, x in enumerate(branches):
        for block in range(num_blocks):
            x = blocks.basic_block(x, x.shape[-1], f"{name}_branches_{i}_{block}", dtype=dtype)
        branches[i] = x
    return [fuse(branches, i, name, dtype, upsampling) for i in range(num_outputs)]


def fuse(branches: Sequence[keras.KerasTensor], i: int, name: str, dtype: str, upsampling: str) -> keras.KerasTensor:
    """ReLU of the sum of all branches brought to the shape of branch `i` (paper, section 3, "exchange unit")."""
    resized = []
    for j, x in enumerate(branches):
        prefix = f"{name}_fuse_layers_{i}_{j}"
        if j > i:
            x = fuse_up(x, branches[i].shape[-1], 2 ** (j - i), prefix, dtype, upsampling)
        elif j < i:
            x = fuse_down(x, branches[i].shape[-1], i - j, prefix, dtype)
        resized.append(x)
    x = layers.Add(name=f"{name}_fuse_{i}_add", dtype=dtype)(resized)
    return blocks.relu(x, f"{name}_fuse_{i}_relu", dtype=dtype)


def fuse_up(x: keras.KerasTensor, width: int, factor: int, name: str, dtype: str, upsampling: str) -> keras.KerasTensor:
    """1x1 convolution, then upsampling by `factor`, [B,h,w,C] -> [B,h*factor,w*factor,width]."""
    x = blocks.conv_bn(x, width, 1, f"{name}_0", f"{name}_1", dtype=dtype)
    return layers.UpSampling2D(factor, interpolation=upsampling, name=f"{name}_up", dtype=dtype)(x)


def fuse_down(x: keras.KerasTensor, width: int, num_steps: int, name: str, dtype: str) -> keras.KerasTensor:
    """A chain of 3x3 stride-2 convolutions; the channels change, and ReLU is left out, in the last one."""
    channels = x.shape[-1]
    for k in range(num_steps):
        last = k == num_steps - 1
        x = blocks.conv_bn(
            x,
            width if last else channels,
            3,
            f"{name}_{k}_0",
            f"{name}_{k}_1",
            strides=2,
            use_relu=not last,
            dtype=dtype,
        )
    return x
