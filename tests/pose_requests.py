"""A network whose SavedModel is asked for poses, and what it is asked with."""

import cv2
import keras
import numpy as np
import seeded
import tensorflow as tf

from hrnet_tf.model_card import ModelCard
from hrnet_tf.skeletons import Skeleton

SIZE = (96, 64)
SKELETON = Skeleton(("nose", "left_eye", "right_eye"), ((1, 2),), (), (0.1,) * 3, ())
BOXES = np.array([[20, 10, 60, 90], [-15.5, -20.25, 70, 80], [100, 60, 90, 45], [30, 30, 0, 12]], np.float32)


def card(codec="msra", refine=None):
    return ModelCard("smooth", SIZE, SKELETON, codec, refine)


def smooth_model():
    """A network of one convolution whose heatmaps are as smooth as the images, so that maxima stand out."""
    images = keras.Input((*SIZE, 3), name="images")
    x = keras.layers.AveragePooling2D(8, 4, padding="same")(keras.layers.Rescaling(1 / 255)(images))
    maps = keras.layers.Conv2D(3, 1, name="heatmaps")(x)
    model = keras.Model(images, maps, name="smooth")
    model.layers[-1].set_weights([np.random.default_rng(0).normal(0, 1, (1, 1, 3, 3)), np.zeros(3)])
    return model


def smooth_image():
    """[H,W,3] uint8 RGB."""
    return cv2.GaussianBlur(seeded.images(0, 1, 128, 160)[0], (31, 31), 7)


def encoded(image, extension=".jpg"):
    return cv2.imencode(extension, image[..., ::-1])[1].tobytes()


def signature(path, name):
    return tf.saved_model.load(str(path)).signatures[name]
