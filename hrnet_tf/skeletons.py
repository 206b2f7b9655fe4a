"""Keypoint sets: names, left/right pairs, limbs to draw and OKS tolerances.

The one home of the COCO and MPII constants; a custom set is read from the category of a COCO-format
annotation file (`skeleton_from_category`), so that no code is needed for it.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

from hrnet_tf.errors import InputError, shown

# Names that put a keypoint below the waist, for half-body augmentation of custom sets.
_LOWER_BODY_WORDS = ("hip", "thigh", "knee", "shin", "calf", "ankle", "foot", "feet", "heel", "toe")

# Tolerance of a keypoint without a published one: the mean of COCO's 17, to two digits.
DEFAULT_OKS_SIGMA = 0.062
# Sigmas are fractions of a person's size: what is beyond these is a mistake, such as pixels.
MIN_OKS_SIGMA, MAX_OKS_SIGMA = 1e-4, 10

_USE_KEYPOINT_FILE = "Use a keypoint annotation file (person_keypoints_*.json)"


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A set of K keypoints.

    Attributes:
        names: K keypoint names, in annotation order.
        flip_pairs: index pairs exchanged when an image is mirrored.
        limbs: index pairs joined by a line when drawn.
        oks_sigmas: K tolerances of object keypoint similarity, as fractions of object size.
        upper_body: indices that half-body augmentation may keep as the upper half.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    oks_sigmas: tuple[float, ...]
    upper_body: tuple[int, ...]

    @property
    def num_keypoints(self) -> int:
        return len(self.names)


def flip_order(flip_pairs: Iterable[tuple[int, int]], num_keypoints: int) -> list[int]:
    """K indices: keypoint k of a mirrored image is keypoint `flip_order[k]` of the original."""
    order = list(range(num_keypoints))
    for left, right in flip_pairs:
        order[left], order[right] = right, left
    return order


COCO = Skeleton(
    names=(
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
        *("left_wrist", "right_wrist", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7)),
        *((6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    # COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval
    oks_sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    upper_body=tuple(range(11)),
)

_MPII_NAMES = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "thorax", "upper_neck", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)
MPII = Skeleton(
    names=_MPII_NAMES,
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    limbs=(
        *((0, 1), (1, 2), (2, 6), (3, 6), (4, 3), (5, 4), (7, 6), (8, 7), (9, 8)),
        *((10, 11), (11, 12), (12, 7), (13, 7), (14, 13), (15, 14)),
    ),
    # None are published, MPII being scored by PCKh: COCO's for the twelve keypoints that COCO has too.
    oks_sigmas=tuple(
        dict(zip(COCO.names, COCO.oks_sigmas, strict=True)).get(name, DEFAULT_OKS_SIGMA) for name in _MPII_NAMES
    ),
    upper_body=tuple(range(7, 16)),
)


def mirrored_name(name: str) -> str | None:
    """The name with left and right exchanged, or None where it has no side."""
    for one, other in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if one in name:
            return name.replace(one, other)
        if other in name:
            return name.replace(other, one)
    for one, other in (("l_", "r_"), ("L_", "R_")):
        if name.startswith(one):
            return other + name[2:]
        if name.startswith(other):
            return one + name[2:]
    return None


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

    Flip pairs are found by name (`left_wrist` and `right_wrist`, `l_wrist` and `r_wrist`).
    COCO's own names get COCO's OKS sigmas; other sets get an optional list `sigmas` of the
    category, else 0.062 for every keypoint.

    Args:
        category: dict with `keypoints` (K names), optionally `skeleton` (1-based index pairs)
            and `sigmas` (K floats).
        source: what to name in errors.

    Raises:
        InputError: `keypoints` is missing or empty, holds a name twice, `skeleton` points outside
            the set, or `sigmas` are not K positive numbers.
    """
    names = tuple(category["keypoints"]) if isinstance(category.get("keypoints"), list) else ()
    if not names:
        raise InputError(
            f"{source}: category {shown(category.get('name'))} must list its keypoint names under 'keypoints'. "
            f"Received: {shown(category.get('keypoints'))}. {_USE_KEYPOINT_FILE}"
        )
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InputError(f"{source}: keypoint names must be strings, each used once. Received: {shown(list(names))}")
    index = {name: i for i, name in enumerate(names)}
    pairs = tuple(
        (i, index[mirrored_name(name)])
        for i, name in enumerate(names)
        if mirrored_name(name) in index and i < index[mirrored_name(name)]
    )
    lower = {i for i, name in enumerate(names) if any(word in name.lower() for word in _LOWER_BODY_WORDS)}
    return Skeleton(
        names=names,
        flip_pairs=pairs,
        limbs=_limbs(category.get("skeleton") or (), names, source),
        oks_sigmas=_sigmas(category.get("sigmas"), names, source),
        upper_body=tuple(i for i in range(len(names)) if i not in lower),
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
        return COCO.oks_sigmas if names == COCO.names else (DEFAULT_OKS_SIGMA,) * len(names)
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
