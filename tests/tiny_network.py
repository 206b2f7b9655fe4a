"""A network of a dozen layers, with every kind that an HRNet has, and crops for it."""

import keras
import numpy as np

from hrnet_tf.models import blocks, hrnet, preprocess
from hrnet_tf.skeletons import Skeleton

SIZE = (96, 64)
SKELETON = Skeleton(
    ("nose", "left_hand", "right_hand", "left_foot", "right_foot"), ((1, 2), (3, 4)), (), (0.1,) * 5, ()
)


def tiny_model(input_size=SIZE, num_keypoints=SKELETON.num_keypoints, dtype="float32"):
    """A dozen layers of every kind that an HRNet has, which convert in a second."""
    images = keras.Input((*input_size, 3), name="images")
    x = preprocess.normalize(images, "rgb")
    for i in (1, 2):
        x = blocks.conv_bn(x, 8, 3, f"conv{i}", f"bn{i}", strides=2, use_relu=True, dtype=dtype)
    branches = hrnet.transition([x], (8, 16), "transition1", dtype)
    (x,) = hrnet.hr_module(branches, 1, "stage2_0", dtype, num_outputs=1, upsampling="nearest")
    x = blocks.conv(x, num_keypoints, 1, "final_layer", use_bias=True, dtype="float32")
    return keras.Model(images, x, name="tiny")


def lively(model, seed=0):
    """Gives `model` weights with which every layer matters and heatmaps are about as large as trained ones."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (weight.shape for weight in weights)
            weights = [rng.uniform(0.5, 1.0, gamma), rng.normal(0, 0.2, beta)]
            weights += [rng.normal(0, 0.1, mean), rng.uniform(0.5, 1.5, variance)]
        elif weights:
            weights[0] = rng.normal(0, np.sqrt(2 / np.prod(weights[0].shape[:3])), weights[0].shape)
        layer.set_weights(weights)
    final = model.get_layer("final_layer")
    kernel, bias = final.get_weights()
    crops = blurred_crops(4, size=model.input_shape[1:3])
    final.set_weights([kernel * 0.3 / model(crops).numpy().std(), rng.normal(0, 0.1, bias.shape)])
    return model


def blurred_crops(count, seed=1, size=SIZE):
    """[count,H,W,3] uint8: coarse squares and noise, of different means."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (count, size[0] // 8, size[1] // 8, 3)).repeat(8, 1).repeat(8, 2)
    return (coarse + rng.integers(0, 56, coarse.shape)).astype(np.uint8)
