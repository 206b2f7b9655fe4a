"""The error for input that cannot be used."""

import reprlib
from collections.abc import Iterable

# What a line of an error may have, "error: " in front included.
MAX_LINE = 500
_MAX_TEXT = MAX_LINE - len("error: ")
_MAX_SHOWN = 300


class InputError(ValueError):
    """Data, files or settings given by the user that cannot be used.

    Its text is one line of at most 500 characters: what, the rule, what was received, what to do. The
    command-line tools print that line and exit with code 1; anything else that they raise is a bug and
    keeps its traceback.
    """

    def __init__(self, text: object = ""):
        super().__init__(cut(printable(str(text))))


def printable(text: str) -> str:
    """`text` with escapes for line breaks and whatever else a terminal would not show, as names in files may have."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, length: int = _MAX_TEXT) -> str:
    """`text`, without its middle if it has more than `length` characters: what it is about and what to do are kept."""
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 5]} ... {text[-end:]}"


def listed(names: Iterable[str], length: int = 120) -> str:
    """Names in a row, as many as find room in `length` characters but at least one, and how many more there are."""
    names = list(map(printable, names))
    shown = names[:1]
    for name in names[1:]:
        if len(", ".join([*shown, name])) > length:
            break
        shown.append(name)
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def shown(value: object) -> str:
    """A value that was received, for an error: in one line, and cut where it is long or deep."""
    text = reprlib.repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
