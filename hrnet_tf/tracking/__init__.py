"""People from frame to frame: who is who, keypoints without trembling, and boxes for frames without a detector.

NumPy and SciPy alone: nothing here needs TensorFlow, a network or an image.
"""

from hrnet_tf.tracking.boxes import boxes_from_keypoints
from hrnet_tf.tracking.smoothing import LiveSmoother, smooth_whole
from hrnet_tf.tracking.tracker import NO_TRACK, Tracker

__all__ = ["NO_TRACK", "LiveSmoother", "Tracker", "boxes_from_keypoints", "smooth_whole"]
