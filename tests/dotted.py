"""A network of whole images that finds painted people: red is the first keypoint, green the second, blue the tag."""

import keras
import numpy as np
from keras import layers

from hrnet_tf.model_card import ModelCard
from hrnet_tf.skeletons import Skeleton

# The network's keypoints are mirrored into themselves.
SKELETON = Skeleton(("red", "green"), (), ((0, 1),), (0.1, 0.1), (0, 1))
SIDE = 128
CARD = ModelCard("dotted", (SIDE, SIDE), SKELETON, kind="bottom_up")
# Tags from 0 to this.
TAGS = 40.0


def network(size=None):
    """images [B,H,W,3] -> "heatmaps_tags" [B,H/4,W/4,4] and "heatmaps" [B,H/2,W/2,2]."""
    images = keras.Input((*(size or (None, None)), 3), name="images")
    x = layers.Rescaling(1 / 255)(images)
    colors = {
        "heatmaps_tags": (4, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, TAGS, TAGS]]),
        "heatmaps": (2, [[1, 0], [0, 1], [0, 0]]),
    }
    outputs = {}
    for name, (pool, kernel) in colors.items():
        kernel = np.array(kernel, np.float32)
        convolution = layers.Conv2D(kernel.shape[1], 1, use_bias=False, name=name)
        outputs[name] = convolution(layers.AveragePooling2D(pool)(x))
        convolution.set_weights([kernel[None, None]])
    return keras.Model(images, outputs, name="dotted")


def paint(people, size, sigma=5.0):
    """An image [H,W,3] of people, for each of whom there are (x, y) of red and green: [N,2,2], None for none."""
    height, width = size
    image = np.zeros((height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    for number, points in enumerate(people, start=1):
        for color, point in enumerate(points):
            if point is not None:
                squared = (columns - point[0]) ** 2 + (rows - point[1]) ** 2
                image[..., color] = np.maximum(image[..., color], 255 * np.exp(-squared / (2 * sigma**2)))
                image[..., 2][squared < (3 * sigma) ** 2] = 255 * number / (len(people) + 1)
    return np.round(image).astype(np.uint8)
