"""People out of heatmaps and tags: which keypoints are one person's.

Needs numpy and scipy alone, so that it runs where a server sends the maps to; `graph`, which finds the candidates on
the device that the maps are on, needs TensorFlow and is imported when it is asked for.
"""

from typing import TYPE_CHECKING

from hrnet_tf.grouping.candidates import Candidates, find_candidates
from hrnet_tf.grouping.order import keypoint_order
from hrnet_tf.grouping.people import group, least_score
from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from hrnet_tf.grouping import graph

__all__ = ["Candidates", "find_candidates", "graph", "group", "keypoint_order", "least_score"]
__getattr__ = lazy_attributes(__name__, {})


def __dir__() -> list[str]:
    return __all__
