"""What a reader is to the fuzzer."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from fuzz.mutate import Mutator


@dataclasses.dataclass(frozen=True)
class Reader:
    """Something that reads a file.

    Attributes:
        what: it reads.
        file: where in the folder the file is put, by its relative path.
        prepare: writes what lies beside the file into a folder, and gives valid files to begin with.
        mutate: makes a damaged file of these.
        read: reads a file; whatever it raises but `refusals` and `InputError` is a bug.
        refusals: types of errors that are proper too.
    """

    what: str
    file: str
    prepare: Callable[[Path], list[bytes]]
    mutate: Mutator
    read: Callable[[Path], object]
    refusals: tuple[type[BaseException], ...] = ()
