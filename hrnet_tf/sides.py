"""Left and right in the names of keypoints: which of them change places when an image is mirrored.

A name is taken apart into words at what is no letter or digit and at camel-case borders. Its mirrored name has all
sides in it exchanged at once. A side is, the first in this list that another keypoint of the set answers to,

    the words left and right               left_eye, EYE-RIGHT, LeftEyeRightCorner, front_left_paw
    the letters l and r that are a word    l_eye, eye_L, Shoulder.R, LEye, lShoulder, ear_L_tip
    the same as part of a word             lefteye, Lsho, LKNE, wheel_FR, R1

Two keypoints are a pair where each is the other's mirrored name, so that nobody is in two pairs. What is part of a
word is no side without a partner (cleft_chin, Lip, rump); of the others that is a mistake, or half of a set.
"""

import re
from collections.abc import Iterator, Sequence

# Words of a name: HTTPServer2 is HTTP and Server2, lShoulder is l and Shoulder.
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[^\WA-Z_]+")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WHOLE = re.compile("left|right", re.IGNORECASE)


def pairs_by_name(names: Sequence[str]) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """The pairs of keypoints that are left and right by name.

    Args:
        names: K different names.

    Returns:
        index pairs (left, right), of which no two share a keypoint; and the indices of the keypoints that have a side
        by name, but no partner.
    """
    key = str.lower if len({name.lower() for name in names}) == len(names) else str
    index = {key(name): i for i, name in enumerate(names)}

    def partner(i):
        found = (index.get(key(name)) for name in _mirrored(names[i]))
        return next((other for other in found if other not in (None, i)), None)

    partners = [partner(i) for i in range(len(names))]
    found = [(i, j) for i, j in enumerate(partners) if j is not None and i < j and partners[j] == i]
    # Where the two first differ one has an l, the other an r.
    pairs = tuple((i, j) if names[i].lower() < names[j].lower() else (j, i) for i, j in found)
    paired = {i for pair in pairs for i in pair}
    return pairs, tuple(i for i, name in enumerate(names) if i not in paired and _has_side(name))


def _mirrored(name: str) -> Iterator[str]:
    """What the partner of a keypoint may be called, the likeliest first."""
    words = [match.span() for match in _WORD.finditer(name)]
    sides = [span for span in words if name[slice(*span)].lower() in ("left", "right")]
    letters = [span for span in words if name[slice(*span)].lower() in ("l", "r")]
    if sides:
        yield _exchanged(name, sides + letters)
        yield _exchanged(name, sides)
        return
    parts = [match.span() for match in _WHOLE.finditer(name)]
    if parts:
        yield _exchanged(name, parts)
        return
    if letters:
        yield _exchanged(name, letters)
        yield from (_exchanged(name, [span]) for span in letters)
    ends = [end for start, stop in words for end in (start, stop - 1)]
    for end in sorted(set(ends), key=lambda end: end not in (0, len(name) - 1)):
        if name[end].lower() in ("l", "r"):
            yield _exchanged(name, [(end, end + 1)])


def _exchanged(name, spans):
    """The name with the sides at these places exchanged, in the same case."""
    for start, stop in sorted(spans, reverse=True):
        side = name[start:stop]
        other = _OTHER[side.lower()]
        other = other.upper() if side.isupper() else other.capitalize() if side[0].isupper() else other
        name = name[:start] + other + name[stop:]
    return name


def _has_side(name: str) -> bool:
    """Whether a name would be that of one side even if there were no other: not cleft, not Lip."""
    words = [word.lower() for word in _WORD.findall(name)]
    return any(word.startswith(("left", "right")) for word in words) or (
        len(words) > 1 and not {words[0], words[-1]}.isdisjoint({"l", "r"})
    )
