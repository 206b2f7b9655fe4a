"""The order in which keypoints are given to people: head and trunk, whose tags are the surest, before limbs."""

import re

from hrnet_tf.skeletons.skeleton import Skeleton

_TRUNK = re.compile(
    r"nose|eye|head|neck|throat|shoulder|thorax|chest|spine|hip|pelvis|wither|tail|(?<![a-z])(?:l|r|left|right)?ear(?![a-z])"
)
# Many and near one another.
_DETAILS = re.compile(r"face|eyebrow|lip|mouth|thumb|finger|toe|heel")


def keypoint_order(skeleton: Skeleton) -> tuple[int, ...]:
    """K indices: keypoints of head and trunk by their names, then limbs, then faces and fingers, each as they come.

    For COCO that is the order of the reference implementation. Where no name is of a trunk, those come first that are
    nearest the middle of the skeleton, by the limbs that are drawn.

    Args:
        skeleton: the K keypoints.
    """
    ranks = [_rank(name.lower()) for name in skeleton.names]
    if 0 not in ranks:
        ranks = _eccentricities(skeleton)
    return tuple(sorted(range(len(ranks)), key=ranks.__getitem__))


def _rank(name):
    if _DETAILS.search(name):
        return 2
    return 0 if _TRUNK.search(name) else 1


def _eccentricities(skeleton):
    """[K] how many limbs a keypoint is from the one furthest from it; more than any for those without limbs."""
    count = skeleton.num_keypoints
    neighbours: list[set[int]] = [set() for _ in range(count)]
    for a, b in skeleton.limbs:
        neighbours[a].add(b)
        neighbours[b].add(a)
    found = []
    for start in range(count):
        reached, edge, steps = {start}, {start}, -1
        while edge:
            edge = {other for keypoint in edge for other in neighbours[keypoint]} - reached
            reached |= edge
            steps += 1
        found.append(steps or count)
    return found
