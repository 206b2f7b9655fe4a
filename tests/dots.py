"""A network that finds coloured dots, and images of them: keypoints that are known without any training."""

import keras
import numpy as np

from hrnet_tf.skeletons import Skeleton

SIZE = (64, 48)
COLORS = Skeleton(("red", "l_green", "r_blue"), ((1, 2),), ((0, 1), (0, 2)), (0.1,) * 3, (0, 1, 2))


def color_network():
    """Its heatmaps [B,16,12,3] are the colours of every fourth pixel."""
    inputs = keras.Input((*SIZE, 3), name="images")
    convolution = keras.layers.Conv2D(3, 1, strides=4, use_bias=False)
    model = keras.Model(inputs, convolution(inputs))
    convolution.set_weights([np.eye(3, dtype=np.float32)[None, None] / 255])
    return model


def dotted_image(points, sigma=3, size=(200, 300)):
    """An image with a soft red, green and blue dot at the three (x, y) `points`."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    dots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) for x, y in points]
    return np.uint8(255 * np.stack(dots, -1))
