"""Normalisation, the first layer of every network, so that all of them take RGB from 0 to 255."""

import keras
import numpy as np
from keras import layers

from hrnet_tf.models.variants import CHANNEL_ORDERS

# Of ImageNet, for RGB from 0 to 1; what the published weights were trained with.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
# Of RGB from 0 to 255, what pytorch-cpn subtracts; it divides by 255 alone.
CPN_MEAN = (122.7717, 115.9465, 102.9801)
LAYER_NAME = "normalize"


def normalize(images: keras.KerasTensor, channel_order: str) -> keras.KerasTensor:
    """RGB from 0 to 255 in, means of 0 and deviations of 1 out, [B,H,W,3] float32 whatever the images are.

    Args:
        images: [B,H,W,3], RGB whatever `channel_order` is.
        channel_order: "rgb", or "bgr" to normalise as a network does that is fed BGR and applies mean and
            deviation in RGB's order all the same: blue with those of red, red with those of blue, or "cpn" as
            pytorch-cpn. Channels stay where they are; for such networks' weights, see `load_state_dict`.

    Raises:
        ValueError: another channel order.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f"`channel_order` must be one of {', '.join(CHANNEL_ORDERS)}. Received: {channel_order!r}")
    mean, std = _statistics(channel_order)
    return layers.Rescaling(
        scale=[1 / (255 * s) for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name=LAYER_NAME,
    )(images)


def channel_order_of(model: keras.Model) -> str:
    """The channel order that `model`, built or loaded from a file, normalises for; "rgb" if it is none of these."""
    deviations = 1 / (255 * np.asarray(model.get_layer(LAYER_NAME).scale))
    orders = (order for order in CHANNEL_ORDERS if np.allclose(deviations, _statistics(order)[1], rtol=1e-4))
    return next(orders, "rgb")


def _statistics(channel_order):
    """Mean and deviation of RGB from 0 to 1, in that order."""
    if channel_order == "cpn":
        return tuple(mean / 255 for mean in CPN_MEAN), (1.0, 1.0, 1.0)
    step = -1 if channel_order == "bgr" else 1
    return IMAGE_MEAN[::step], IMAGE_STD[::step]
