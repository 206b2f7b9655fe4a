"""The facts of the published keypoint sets, as `sets.json` has them.

Of each set, by its name,

    title         what is found with it
    of_people     true where these are people's, from head to hips at least: a detector of people finds their boxes
    same_as       the set whose keypoints it has: then this, the title and what differs are all there is
    source        where it is defined
    keypoints     K names: those of its annotation files, and COCO's where there are none
    pairs         left and right beyond those that the names tell (`hrnet_tf.sides`): [left, right], numbers from 0
    limbs         what is joined by a line when drawn
    sigmas        K tolerances of object keypoint similarity; where none are published, `sigmas_of` says which
    upper_body    what half-body augmentation may keep as the upper half; everything where it is left out
    common        its names of keypoints that other sets have too, and what these call them
    middles       keypoints that are half way between two others by definition

Sets of the same names have the same pairs, limbs and tolerances.
"""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

# Tolerance of a keypoint without a published one: the mean of COCO's 17, to two digits.
DEFAULT_OKS_SIGMA = 0.062

_SETS: dict[str, dict[str, Any]] = json.loads(resources.files(__package__).joinpath("sets.json").read_bytes())

NAMES = tuple(sorted(_SETS))


def facts(name: str) -> Mapping[str, Any]:
    """What `sets.json` says of a set of `NAMES`, with its own title; KeyError for another name."""
    entry = _SETS[name]
    return {**_SETS[entry["same_as"]], **entry} if "same_as" in entry else entry


def find(names: Iterable[str]) -> str | None:
    """The set that has exactly these keypoint names, in any order; None where there is none."""
    return _by_keypoints().get(frozenset(names))


def sigmas_of(names: Sequence[str]) -> tuple[float, ...]:
    """K tolerances of keypoints without given ones: those of the set that has exactly these names, else 0.062 each.

    Sets without published tolerances have COCO's for the keypoints that COCO has too.
    """
    name = find(names)
    if name is None:
        return (DEFAULT_OKS_SIGMA,) * len(names)
    of_set = _SETS[name] if "sigmas" in _SETS[name] else _SETS["coco"]
    sigmas = dict(zip(of_set["keypoints"], of_set["sigmas"], strict=True))
    return tuple(sigmas.get(name, DEFAULT_OKS_SIGMA) for name in names)


def is_of_people(names: Iterable[str]) -> bool:
    """Whether keypoint names are those of a published set of people: not of faces or hands, nor of animals."""
    name = find(names)
    return name is not None and facts(name).get("of_people", False)


@functools.cache
def _by_keypoints():
    return {frozenset(entry["keypoints"]): name for name, entry in _SETS.items() if "same_as" not in entry}
