"""The error for input that cannot be used."""


class InputError(ValueError):
    """Data, files or settings given by the user that cannot be used.

    Its text is one line: what, the rule, what was received, what to do. The command-line tools
    print that line and exit with code 1; anything else that they raise is a bug and keeps its
    traceback.
    """
