"""The keypoint set of a category of a COCO-format annotation file, so that no code is needed for a custom one."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from hrnet_tf.errors import InputError, shown
from hrnet_tf.sides import pairs_by_name
from hrnet_tf.skeletons.known import known
from hrnet_tf.skeletons.sets import sigmas_of
from hrnet_tf.skeletons.skeleton import Skeleton

# Names that put a keypoint below the waist, for half-body augmentation of custom sets.
_LOWER_BODY_WORDS = ("hip", "thigh", "knee", "shin", "calf", "ankle", "foot", "feet", "heel", "toe")

# Sigmas are fractions of a person's size: what is beyond these is a mistake, such as pixels.
MIN_OKS_SIGMA, MAX_OKS_SIGMA = 1e-4, 10

_USE_KEYPOINT_FILE = "Use a keypoint annotation file (person_keypoints_*.json)"


def keypoint_category(
    categories: Sequence[dict[str, Any]], source: str | os.PathLike[str] = "annotation file"
) -> dict[str, Any]:
    """The keypoint set of an annotation file: the first of its `categories` (dicts) that lists keypoint names.

    Raises:
        InputError: there is none, or it has no integer `id`.
    """
    for category in categories:
        if category.get("keypoints"):
            if not isinstance(category.get("id"), int):
                raise InputError(f"{source}: a category must have an integer 'id'. Received: {shown(category)}")
            return category
    raise InputError(
        f"{source}: a category must list its keypoints. "
        f"Received: categories {shown([category.get('name') for category in categories])}. {_USE_KEYPOINT_FILE}"
    )


def skeleton_from_category(category: dict[str, Any], source: str | os.PathLike[str] = "annotation file") -> Skeleton:
    """Builds the skeleton of one entry of `categories` in a COCO-format annotation file.

    Exactly the names of a published set, in any order, have its pairs, limbs, tolerances and upper body; other sets
    have the pairs that their names tell (`hrnet_tf.sides`), no limbs and 0.062 for every keypoint. Lists `flip_pairs`,
    `skeleton` and `sigmas` of the category replace these.

    Args:
        category: dict with `keypoints` (K names), optionally `skeleton` (1-based index pairs), `flip_pairs`
            (pairs of names, or of numbers from 1) and `sigmas` (K floats).
        source: what to name in errors.

    Raises:
        InputError: `keypoints` is missing or empty, holds a name twice, `skeleton` points outside
            the set, `flip_pairs` are no pairs of keypoints, or `sigmas` are not K positive numbers.
    """
    names = tuple(category["keypoints"]) if isinstance(category.get("keypoints"), list) else ()
    if not names:
        raise InputError(
            f"{source}: category {shown(category.get('name'))} must list its keypoint names under 'keypoints'. "
            f"Received: {shown(category.get('keypoints'))}. {_USE_KEYPOINT_FILE}"
        )
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InputError(f"{source}: keypoint names must be strings, each used once. Received: {shown(list(names))}")
    skeleton = known(names) or _custom(names)
    skeleton = dataclasses.replace(
        skeleton,
        limbs=_limbs(category.get("skeleton") or (), names, source) or skeleton.limbs,
        oks_sigmas=_sigmas(category.get("sigmas"), names, source),
    )
    given = category.get("flip_pairs")
    return skeleton if given is None else skeleton.with_flip_pairs(given, f"{source}: 'flip_pairs'")


def _custom(names):
    """The set of names that are none of a published one's."""
    lower = {i for i, name in enumerate(names) if any(word in name.lower() for word in _LOWER_BODY_WORDS)}
    pairs, unpaired = pairs_by_name(names)
    return Skeleton(
        names=names,
        flip_pairs=pairs,
        limbs=(),
        oks_sigmas=sigmas_of(names),
        upper_body=tuple(i for i in range(len(names)) if i not in lower),
        unpaired=unpaired,
    )


def _limbs(pairs, names, source):
    """0-based limbs of a category's 1-based `skeleton`."""
    for pair in pairs if isinstance(pairs, list | tuple) else [pairs]:
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(isinstance(i, int) and 1 <= i <= len(names) for i in pair)
        ):
            raise InputError(
                f"{source}: 'skeleton' must hold pairs of numbers from 1 to {len(names)}. Received: {shown(pair)}"
            )
    return tuple((a - 1, b - 1) for a, b in pairs)


def _sigmas(sigmas, names, source):
    if sigmas is None:
        return sigmas_of(names)
    if (
        not isinstance(sigmas, list)
        or len(sigmas) != len(names)
        or not all(isinstance(s, int | float) and MIN_OKS_SIGMA <= s <= MAX_OKS_SIGMA for s in sigmas)
    ):
        raise InputError(
            f"{source}: 'sigmas' must be {len(names)} positive numbers from {MIN_OKS_SIGMA} to {MAX_OKS_SIGMA}. "
            f"Received: {shown(sigmas)}"
        )
    return tuple(float(s) for s in sigmas)
