"""What a reading leaves out, reads in another way or assumes, in one sentence each; and numbers as they were meant."""

import dataclasses
import re

from hrnet_tf.errors import shown

# Malformed entries are left out up to this share of their kind; where there are more, the file is refused.
FEW = 0.1
_MAX_SHOWN = 120
_WHOLE = re.compile(r"\s*[+-]?\d{1,19}(\.0*)?\s*")


@dataclasses.dataclass(frozen=True)
class Omission:
    """What was not taken as it is written.

    Attributes:
        action: "left out", "read", "assumed" or "not evaluated".
        what: what it was done to, and why.
        count: to how many.
        total: of how many, 0 where that says nothing.
        example: one of them.
    """

    action: str
    what: str
    count: int
    total: int = 0
    example: str = ""

    def __str__(self) -> str:
        of = f" of {self.total}" if self.total > self.count else ""
        example = f" ({self.example})" if self.example else ""
        return f"{self.action}: {self.count}{of} {self.what}{example}"


def short(value: object) -> str:
    """A value of a file for a sentence, shorter than `errors.shown` gives it."""
    text = shown(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def whole_number(value: object, limit: int = 2**62) -> int | None:
    """The integer that a value of a JSON file stands for, as 7, 7.0, "7" and "7.0" do; None where it is none.

    Args:
        value: of the file.
        limit: what is beyond ±`limit` is a damaged file's.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= limit or value != int(value):
        return None
    return int(value)
