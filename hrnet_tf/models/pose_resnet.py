"""SimpleBaselines: a ResNet down to 1/32 of the input's size, then three transposed convolutions up to 1/4.

Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
Imports keras alone, so that the network runs on every Keras backend.

Shape legend: B batch, H and W input, h = H/4 and w = W/4 heatmap, C channels.
"""

import keras
from keras import layers

from hrnet_tf.models import blocks
from hrnet_tf.models.variants import POSE_RESNETS, PoseResNet

NUM_DECONVOLUTIONS = 3
DECONVOLUTION_FILTERS = 256


def features(x: keras.KerasTensor, name: str, dtype: str) -> keras.KerasTensor:
    """The network `name` between normalisation and final layer, [B,H,W,3] -> [B,h,w,256]."""
    x = trunk(x, POSE_RESNETS[name], dtype)[-1]  # [B,H/32,W/32,C]
    for i in range(NUM_DECONVOLUTIONS):
        # In PyTorch's Sequential, convolution, normalisation and ReLU count one each.
        names = f"deconv_layers_{3 * i}", f"deconv_layers_{3 * i + 1}"
        x = blocks.deconv_bn(x, DECONVOLUTION_FILTERS, *names, dtype=dtype)
    return x


def trunk(x: keras.KerasTensor, variant: PoseResNet, dtype: str) -> list[keras.KerasTensor]:
    """The ResNet, [B,H,W,3] -> outputs of its four layers, [B,h/2^i,w/2^i,C_i]."""
    block = blocks.bottleneck if variant.use_bottleneck else blocks.basic_block
    x = stem(x, dtype)  # [B,h,w,64]
    outputs = []
    for i, num_blocks in enumerate(variant.num_blocks):
        for j in range(num_blocks):
            strides = 2 if i > 0 and j == 0 else 1
            x = block(x, 64 * 2**i, f"layer{i + 1}_{j}", strides=strides, dtype=dtype)
        outputs.append(x)
    return outputs


def stem(x: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
    """7x7 stride-2 convolution and 3x3 stride-2 maximum, [B,H,W,3] -> [B,h,w,64]."""
    x = blocks.conv_bn(x, 64, 7, "conv1", "bn1", strides=2, use_relu=True, dtype=dtype)
    # PyTorch pads the maximum with minus infinity. After ReLU zero does as well: no value is below it.
    x = layers.ZeroPadding2D(1, name="maxpool_pad", dtype=dtype)(x)
    return layers.MaxPooling2D(3, strides=2, name="maxpool", dtype=dtype)(x)
