"""A keypoint set: names, left/right pairs, limbs to draw and OKS tolerances."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from hrnet_tf.errors import InputError, listed, shown
from hrnet_tf.skeletons.sets import DEFAULT_OKS_SIGMA, is_of_people, sigmas_of

# Pairs are told in a line of so many characters before the rest is counted.
_PAIRS_LENGTH = 1000


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

    @property
    def is_of_people(self) -> bool:
        """Whether these are a published set of people's keypoints: not those of faces, hands or animals."""
        return is_of_people(self.names)

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
        return dataclasses.replace(self, names=new, oks_sigmas=self.oks_sigmas if is_given else sigmas_of(new))

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
