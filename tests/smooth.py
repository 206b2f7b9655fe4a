"""A small network whose gradients can be compared to the last digits, on every processor."""

import keras
import numpy as np

from hrnet_tf import build_model


def smooth_network(dtype="float32"):
    """An HRNet [B,64,64,3] -> [B,16,16,3] with weights of a useful size, and softplus in the place of ReLU.

    The derivative of ReLU jumps: where an activation is about 0, another order of summation changes gradients by
    percents.
    """
    keras.utils.set_random_seed(0)
    network = build_model("hrnet_w18_small_v1", (64, 64), num_keypoints=3, dtype=dtype)

    def clone(layer):
        if isinstance(layer, keras.layers.ReLU):
            return keras.layers.Activation("softplus", name=layer.name, dtype=layer.dtype_policy)
        return type(layer).from_config(layer.get_config())

    network = keras.models.clone_model(network, clone_function=clone)
    for i, v in enumerate(network.trainable_variables):
        if v.name == "kernel":
            v.assign(np.random.default_rng(i).normal(0, 1 / np.sqrt(np.prod(v.shape[:-1])), v.shape))
    return network
