"""HRNet human pose estimation for TensorFlow and Keras 3.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019.
"""

from hrnet_tf import checkpoints, evaluation, geometry, heatmaps, losses, skeletons, visualize
from hrnet_tf.checkpoints import load_pytorch_weights
from hrnet_tf.errors import InputError
from hrnet_tf.models.build import build_model
from hrnet_tf.models.weights import load_state_dict
from hrnet_tf.prediction import PosePredictor
from hrnet_tf.version import __version__

__all__ = [
    "InputError",
    "PosePredictor",
    "__version__",
    "build_model",
    "checkpoints",
    "evaluation",
    "geometry",
    "heatmaps",
    "load_pytorch_weights",
    "load_state_dict",
    "losses",
    "skeletons",
    "visualize",
]
