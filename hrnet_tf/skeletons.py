"""Keypoint sets: names, left/right pairs, limbs to draw and OKS tolerances.

The one home of the COCO constants; a custom set is read from the category of a COCO-format
annotation file (`skeleton_from_category`), so that no code is needed for it.
"""

import dataclasses

from hrnet_tf.errors import InputError

# Names that put a keypoint below the waist, for half-body augmentation of custom sets.
_LOWER_BODY_WORDS = ("hip", "thigh", "knee", "shin", "calf", "ankle", "foot", "feet", "heel", "toe")

# Tolerance of a keypoint without a published one: the mean of COCO's 17, to two digits.
DEFAULT_OKS_SIGMA = 0.062


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
    def num_keypoints(self):
        return len(self.names)


def flip_order(flip_pairs, num_keypoints):
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


def _mirrored(name):
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


def skeleton_from_category(category, source="annotation file"):
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
            f"{source}: category {category.get('name')!r} must list its keypoint names under 'keypoints'. "
            f"Received: {category.get('keypoints')!r}. Use a keypoint annotation file (person_keypoints_*.json)."
        )
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InputError(f"{source}: keypoint names must be strings, each used once. Received: {list(names)!r}")
    index = {name: i for i, name in enumerate(names)}
    pairs = tuple(
        (i, index[_mirrored(name)])
        for i, name in enumerate(names)
        if _mirrored(name) in index and i < index[_mirrored(name)]
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
                f"{source}: 'skeleton' must hold pairs of numbers from 1 to {len(names)}. Received: {pair!r}"
            )
    return tuple((a - 1, b - 1) for a, b in pairs)


def _sigmas(sigmas, names, source):
    if sigmas is None:
        return COCO.oks_sigmas if names == COCO.names else (DEFAULT_OKS_SIGMA,) * len(names)
    if (
        not isinstance(sigmas, list)
        or len(sigmas) != len(names)
        or not all(isinstance(s, int | float) and s > 0 for s in sigmas)
    ):
        raise InputError(f"{source}: 'sigmas' must be {len(names)} positive numbers. Received: {sigmas!r}")
    return tuple(float(s) for s in sigmas)
