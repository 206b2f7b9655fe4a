"""Where a keypoint is on average: heatmaps as logarithms of probabilities, instead of their largest value.

Sun et al., "Integral Human Pose Regression", ECCV 2018; Nibali et al., "Numerical Coordinate Regression with
Convolutional Neural Networks", arXiv:1801.07372 (DSNT). Of operations of the backend that Keras runs on, which have
gradients and ONNX has too.

Shape legend: B batch, h and w heatmap, K keypoints.
"""

from typing import Any

import numpy as np
from keras import ops

# Of the backend that Keras runs on.
Tensor = Any

# Pixels around a point, in x and in y, in which a keypoint is taken to be there.
_RADIUS = 2


def probabilities(heatmaps: Tensor) -> Tensor:
    """Softmax over the pixels of each heatmap, [B,h,w,K] likewise."""
    exponentials = ops.exp(heatmaps - ops.max(heatmaps, axis=(1, 2), keepdims=True))
    return exponentials / ops.sum(exponentials, axis=(1, 2), keepdims=True)


def expected_points(probabilities: Tensor) -> Tensor:
    """The mean of the positions (x, y) of pixels in probabilities [B,h,w,K], [B,K,2] in heatmap pixels."""
    height, width = probabilities.shape[1:3]
    x = ops.sum(ops.sum(probabilities, axis=1) * np.arange(width, dtype=np.float32)[:, None], axis=1)
    y = ops.sum(ops.sum(probabilities, axis=2) * np.arange(height, dtype=np.float32)[:, None], axis=1)
    return ops.stack([x, y], axis=-1)


def nearby(probabilities: Tensor, points: Tensor) -> Tensor:
    """How much of the probabilities [B,h,w,K] is around points [B,K,2]: [B,K] from 0 to 1.

    All of it up to 1.5 pixels away in x and y, none from 2.5 on, and less and less between, so that it has no steps.
    """

    def near(axis, length):  # [B,length,K]
        distance = ops.abs(np.arange(length, dtype=np.float32)[:, None] - points[:, None, :, axis])
        return ops.clip(_RADIUS + 0.5 - distance, 0.0, 1.0)

    height, width = probabilities.shape[1:3]
    return ops.sum(ops.sum(probabilities * near(1, height)[:, :, None], axis=1) * near(0, width), axis=1)
