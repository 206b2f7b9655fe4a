"""HRNet human pose estimation for TensorFlow and Keras 3.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019.
"""

import os
from typing import TYPE_CHECKING

from hrnet_tf.errors import InputError
from hrnet_tf.lazy import lazy_attributes
from hrnet_tf.version import __version__

if TYPE_CHECKING:
    from hrnet_tf import (
        benchmarks,
        detection,
        evaluation,
        export,
        geometry,
        grouping,
        heatmaps,
        losses,
        model_card,
        pretrained,
        skeletons,
        tracking,
        visualize,
        weights,
    )
    from hrnet_tf.models.build import build_model
    from hrnet_tf.prediction.predictor import PosePredictor
    from hrnet_tf.pretrained.local import load_pretrained
    from hrnet_tf.weights.load import load_pytorch_weights
    from hrnet_tf.weights.state_dict import load_state_dict

# ONNX Runtime writes a number for the machine into the home folder and sends what is done with it to its makers, unless
# this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "InputError",
    "PosePredictor",
    "__version__",
    "benchmarks",
    "build_model",
    "detection",
    "evaluation",
    "export",
    "geometry",
    "grouping",
    "heatmaps",
    "load_pretrained",
    "load_pytorch_weights",
    "load_state_dict",
    "losses",
    "model_card",
    "pretrained",
    "skeletons",
    "tracking",
    "visualize",
    "weights",
]
_HOMES = {
    "models.build": ("build_model",),
    "prediction.predictor": ("PosePredictor",),
    "pretrained.local": ("load_pretrained",),
    "weights.load": ("load_pytorch_weights",),
    "weights.state_dict": ("load_state_dict",),
}
__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
