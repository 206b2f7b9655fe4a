"""Where people are in images: what finds them before their keypoints are predicted.

detector = hrnet_tf.detection.PersonDetector("yolox_s")
boxes, scores = detector("photo.jpg")
"""

from typing import TYPE_CHECKING

from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from hrnet_tf.detection.calls import find_people
    from hrnet_tf.detection.detector import PersonDetector

__all__ = ["PersonDetector", "find_people"]
__getattr__ = lazy_attributes(__name__, {"calls": ("find_people",), "detector": ("PersonDetector",)})


def __dir__() -> list[str]:
    return __all__
