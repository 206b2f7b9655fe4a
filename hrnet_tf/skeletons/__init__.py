"""Keypoint sets: names, left/right pairs, limbs to draw and OKS tolerances.

The published ones have names (`named`), and their facts are in `sets.json`; a custom set is read from the category of a
COCO-format annotation file (`skeleton_from_category`), so that no code is needed for it. Which keypoint of a network is
which of the data is told by their names (`match`), and so is what two sets have in common (`convert`).
"""

from hrnet_tf.skeletons.category import MAX_OKS_SIGMA, MIN_OKS_SIGMA, keypoint_category, skeleton_from_category
from hrnet_tf.skeletons.conversion import convert
from hrnet_tf.skeletons.known import COCO, MPII, known, named
from hrnet_tf.skeletons.matching import match, match_in_words
from hrnet_tf.skeletons.sets import DEFAULT_OKS_SIGMA, NAMES, find
from hrnet_tf.skeletons.skeleton import Skeleton, flip_order

__all__ = [
    "COCO",
    "DEFAULT_OKS_SIGMA",
    "MAX_OKS_SIGMA",
    "MIN_OKS_SIGMA",
    "MPII",
    "NAMES",
    "Skeleton",
    "convert",
    "find",
    "flip_order",
    "keypoint_category",
    "known",
    "match",
    "match_in_words",
    "named",
    "skeleton_from_category",
]
