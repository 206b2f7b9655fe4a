"""The published keypoint sets by name."""

import difflib
import functools
from collections.abc import Sequence

from hrnet_tf.errors import InputError, listed
from hrnet_tf.sides import pairs_by_name
from hrnet_tf.skeletons.sets import NAMES, facts, find, sigmas_of
from hrnet_tf.skeletons.skeleton import Skeleton

_NUM_SUGGESTED = 3


@functools.cache
def named(name: str) -> Skeleton:
    """The published keypoint set of a name, such as "coco_wholebody".

    Args:
        name: of `NAMES`.

    Raises:
        InputError: there is no such set; the nearest names are in it.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name).lower(), NAMES, _NUM_SUGGESTED, cutoff=0.5)
        advice = f"The nearest: {', '.join(near)}" if near else f"There are: {listed(NAMES, 300)}"
        raise InputError(f"no keypoint set is called {name!r}. {advice}")
    return _made(facts(name))


def known(names: Sequence[str]) -> Skeleton | None:
    """The published set that has exactly these keypoint names, in this order; None where there is none.

    Args:
        names: K different names, in any order.
    """
    name = find(names)
    if name is None:
        return None
    skeleton = named(name)
    if skeleton.names == tuple(names):
        return skeleton
    new = [names.index(keypoint) for keypoint in skeleton.names]
    return Skeleton(
        names=tuple(names),
        flip_pairs=tuple((new[left], new[right]) for left, right in skeleton.flip_pairs),
        limbs=tuple((new[a], new[b]) for a, b in skeleton.limbs),
        oks_sigmas=sigmas_of(names),
        upper_body=tuple(sorted(new[i] for i in skeleton.upper_body)),
    )


def _made(entry):
    names = tuple(entry["keypoints"])
    by_name, _ = pairs_by_name(names)
    return Skeleton(
        names=names,
        flip_pairs=(*by_name, *map(tuple, entry.get("pairs", ()))),
        limbs=tuple(map(tuple, entry["limbs"])),
        oks_sigmas=sigmas_of(names),
        upper_body=tuple(entry.get("upper_body", range(len(names)))),
    )


COCO = named("coco")
MPII = named("mpii")
