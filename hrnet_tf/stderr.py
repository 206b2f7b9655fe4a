"""What libraries write to stderr past Python, kept from it for a while."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

# Said by TensorFlow's libraries before its logging is set up or past it, whatever the log level is.
_NOTES = re.compile(
    rb"""All\ log\ messages\ before\ absl::InitializeLog
    | Could\ not\ find\ cuda\ drivers
    | failed\ call\ to\ cuInit:.*UNKNOWN\ ERROR\ \(303\)
    | oneDNN\ custom\ operations\ are\ on
    | This\ TensorFlow\ binary\ is\ optimized\ to\ use
    | To\ enable\ the\ following\ instructions
    | Created\ TensorFlow\ Lite\ XNNPACK\ delegate
    """,
    re.VERBOSE,
)


# What a GPU that is hidden on purpose looks like.
_HIDDEN = re.compile(rb"failed call to cuInit:.*CUDA_ERROR_NO_DEVICE")


@contextlib.contextmanager
def held_back() -> Iterator[BinaryIO]:
    """Within it, what is written to stderr by anybody goes into the file that this yields, which is then deleted."""
    with tempfile.TemporaryFile() as written:
        sys.stderr.flush()
        shown = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield written
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Within it, known notes that libraries write to stderr are left out; everything else follows at the end."""
    patterns = [_NOTES, _HIDDEN] if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") else [_NOTES]
    lines: list[bytes] = []
    try:
        with held_back() as written:
            try:
                yield
            finally:
                sys.stderr.flush()
                written.seek(0)
                lines = [line for line in written if not any(note.search(line) for note in patterns)]
    finally:
        for line in lines:
            os.write(2, line)
