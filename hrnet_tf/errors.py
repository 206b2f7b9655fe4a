"""The error for input that cannot be used."""

import reprlib

_MAX_SHOWN = 300


class InputError(ValueError):
    """Data, files or settings given by the user that cannot be used.

    Its text is one line: what, the rule, what was received, what to do. The command-line tools
    print that line and exit with code 1; anything else that they raise is a bug and keeps its
    traceback.
    """


def shown(value: object) -> str:
    """A value that was received, for an error: in one line, and cut where it is long or deep."""
    text = reprlib.repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
