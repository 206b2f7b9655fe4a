"""Keypoint sets: names, left/right pairs, limbs to draw and OKS tolerances.

The one home of the COCO and MPII constants; a custom set is read from the category of a COCO-format
annotation file (`skeleton_from_category`), so that no code is needed for it. Which keypoint of a network
is which of the data is told by their names (`match`).
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from hrnet_tf.errors import InputError, listed, shown
from hrnet_tf.sides import pairs_by_name

# Names that put a keypoint below the waist, for half-body augmentation of custom sets.
_LOWER_BODY_WORDS = ("hip", "thigh", "knee", "shin", "calf", "ankle", "foot", "feet", "heel", "toe")

# Tolerance of a keypoint without a published one: the mean of COCO's 17, to two digits.
DEFAULT_OKS_SIGMA = 0.062
# Sigmas are fractions of a person's size: what is beyond these is a mistake, such as pixels.
MIN_OKS_SIGMA, MAX_OKS_SIGMA = 1e-4, 10

# Pairs are told in a line of so many characters before the rest is counted.
_PAIRS_LENGTH = 1000

_USE_KEYPOINT_FILE = "Use a keypoint annotation file (person_keypoints_*.json)"


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A set of K keypoints.

    Attributes:
        names: K keypoint names, in annotation order.
        flip_pairs: index pairs (left, right) exchanged when an image is mirrored.
        limbs: index pairs joined by a line when drawn.
        oks_sigmas: K tolerances of object keypoint similarity, as fractions of object size.
        upper_body: indices that half-body augmentation may keep as the upper half.
        unpaired: indices of keypoints that have a side by name, but no partner: `check_mirroring` refuses these.

    Raises:
        ValueError: a keypoint is in two of the flip pairs.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    oks_sigmas: tuple[float, ...]
    upper_body: tuple[int, ...]
    unpaired: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        paired = [i for pair in self.flip_pairs for i in pair]
        if len(set(paired)) != len(paired):
            raise ValueError(f"each keypoint must be in one of the flip pairs at most. Received: {self.flip_pairs}")

    @property
    def num_keypoints(self) -> int:
        return len(self.names)

    def with_flip_pairs(self, pairs: Sequence[Sequence[str | int]], source: str = "flip_pairs") -> Self:
        """The same keypoints with other pairs, which are all there are.

        Args:
            pairs: pairs of two names, or of two numbers from 1 to K, as in COCO's `skeleton`.
            source: what to name in errors.

        Raises:
            InputError: a pair is no such pair, or a keypoint is in two.
        """
        return dataclasses.replace(self, flip_pairs=_flip_pairs(pairs, self.names, source), unpaired=())

    def renamed(self, names: Mapping[str, str], source: str = "keypoint_names") -> Self:
        """The same keypoints under other names; where none were given, with the tolerances of these names.

        Args:
            names: {name: new name}; keypoints that are not in it keep theirs.
            source: what to name in errors.

        Raises:
            InputError: a name is none of the set's, or two keypoints would have the same.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise InputError(f"{source}: no keypoint is called {listed(unknown)}. There are: {listed(self.names)}")
        new = tuple(names.get(name, name) for name in self.names)
        if len(set(new)) != len(new):
            twice = [name for name in dict.fromkeys(new) if new.count(name) > 1]
            raise InputError(f"{source}: several keypoints would be called {listed(twice)}")
        is_given = set(self.oks_sigmas) != {DEFAULT_OKS_SIGMA}
        return dataclasses.replace(
            self, names=new, oks_sigmas=self.oks_sigmas if is_given else _sigmas(None, new, source)
        )

    def pairs_in_words(self) -> str:
        """One line that says which keypoints change places when an image is mirrored."""
        pairs = [f"{self.names[i]}/{self.names[j]}" for i, j in self.flip_pairs]
        lonely = f"; without a partner: {listed([self.names[i] for i in self.unpaired])}" if self.unpaired else ""
        return f"mirrored pairs: {listed(pairs, _PAIRS_LENGTH) or 'none'}{lonely}"

    def check_mirroring(self, instead: str) -> None:
        """Raises InputError where mirroring would exchange some sides, but not all.

        Args:
            instead: how mirroring can be done without, such as "pass flip_test=False".
        """
        if self.unpaired:
            raise InputError(
                "mirroring needs the pairs of left and right, but by name there is no partner of "
                f"{listed(self.names[i] for i in self.unpaired)}. Rename them, say what the pairs are "
                f"(flip_pairs: all of them, or none), or {instead}"
            )


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
    flip_pairs=((5, 0), (4, 1), (3, 2), (15, 10), (14, 11), (13, 12)),
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


def match(model: Skeleton, data: Skeleton) -> list[int]:
    """Where a network's keypoints are in data, by name.

    Names that are the numbers 0 to K-1 are none: the keypoints are then taken to be in the same order.

    Args:
        model: the K keypoints of the network.
        data: the K keypoints of the annotations.

    Returns:
        K indices: keypoint k of the network is keypoint `order[k]` of the data.

    Raises:
        InputError: the names are not the same, or not equally many.
    """
    if model.num_keypoints != data.num_keypoints:
        raise InputError(f"the model has {model.num_keypoints} keypoints, the annotations {data.num_keypoints}")
    if _has_names(model) and _has_names(data) and set(model.names) != set(data.names):
        ours = [name for name in model.names if name not in data.names]
        theirs = [name for name in data.names if name not in model.names]
        raise InputError(
            f"the model's keypoints are not the annotations': by name the model has {listed(ours) or 'no others'} "
            f"and the annotations {listed(theirs) or 'no others'}. If they are the same points, say which is which: "
            "--keypoint_names=annotations_name:model_name,... (in Python Skeleton.renamed)"
        )
    if set(model.names) != set(data.names):
        return list(range(model.num_keypoints))
    return [data.names.index(name) for name in model.names]


def match_in_words(model: Skeleton, data: Skeleton) -> str | None:
    """One line that says what `match` did, None where both are the same names in the same order."""
    if model.names == data.names:
        return None
    if set(model.names) == set(data.names):
        moved = sum(a != b for a, b in zip(model.names, data.names, strict=True))
        return (
            f"the annotations have the model's keypoints in another order ({moved} of {len(data.names)} moved): "
            "they are matched by name"
        )
    if _has_names(model):
        return "the annotations name no keypoints: they are taken to be in the model's order"
    return "the model names no keypoints: they are taken to be in the annotations' order"


def _has_names(skeleton: Skeleton) -> bool:
    return skeleton.names != tuple(map(str, range(skeleton.num_keypoints)))


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

    Flip pairs are found by name (`hrnet_tf.sides`), unless the category has a list `flip_pairs`.
    COCO's own names get COCO's OKS sigmas, in any order; other sets get an optional list `sigmas` of the
    category, else 0.062 for every keypoint.

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
    lower = {i for i, name in enumerate(names) if any(word in name.lower() for word in _LOWER_BODY_WORDS)}
    pairs, unpaired = pairs_by_name(names)
    skeleton = Skeleton(
        names=names,
        flip_pairs=pairs,
        limbs=_limbs(category.get("skeleton") or (), names, source),
        oks_sigmas=_sigmas(category.get("sigmas"), names, source),
        upper_body=tuple(i for i in range(len(names)) if i not in lower),
        unpaired=unpaired,
    )
    given = category.get("flip_pairs")
    return skeleton if given is None else skeleton.with_flip_pairs(given, f"{source}: 'flip_pairs'")


def _flip_pairs(pairs, names, source):
    """0-based pairs of pairs of names, or of numbers from 1."""
    if not isinstance(pairs, list | tuple):
        raise InputError(f"{source} must be a list of pairs of keypoints. Received: {shown(pairs)}")
    numbers = {name: i for i, name in enumerate(names)} | {i + 1: i for i in range(len(names))}
    found = []
    for pair in pairs:
        ends = pair if isinstance(pair, list | tuple) and len(pair) == 2 else ()
        kinds = {type(end) for end in ends}
        indices = [numbers.get(end) for end in ends] if kinds in ({str}, {int}) else [None]
        if None in indices:
            raise InputError(
                f"{source} must be pairs of two names of keypoints, or of two numbers from 1 to {len(names)}, as in "
                f"COCO's 'skeleton'. Received: {shown(pair)}. Keypoints are {listed(names)}"
            )
        taken = [i for i in indices if i in itertools.chain(*found)]
        if taken or indices[0] == indices[1]:
            raise InputError(f"{source}: {names[(taken or indices)[0]]!r} is there twice; a keypoint has one partner")
        found.append(tuple(indices))
    return tuple(found)


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
        of_coco = dict(zip(COCO.names, COCO.oks_sigmas, strict=True)) if set(names) == set(COCO.names) else {}
        return tuple(of_coco.get(name, DEFAULT_OKS_SIGMA) for name in names)
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
