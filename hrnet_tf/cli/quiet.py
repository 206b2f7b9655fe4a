"""TensorFlow without what it says of itself when it starts: errors still come through."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Of machines without a GPU: said by TensorFlow's libraries before its logging is set up, whatever the log level is.
_NOTES = re.compile(
    rb"""All\ log\ messages\ before\ absl::InitializeLog
    | Could\ not\ find\ cuda\ drivers
    | failed\ call\ to\ cuInit:.*UNKNOWN\ ERROR\ \(303\)
    | oneDNN\ custom\ operations\ are\ on
    | This\ TensorFlow\ binary\ is\ optimized\ to\ use
    | To\ enable\ the\ following\ instructions
    | Created\ TensorFlow\ Lite\ XNNPACK\ delegate
    | tf_tfl_flatbuffer_helpers\.cc | mlir_graph_optimization_pass\.cc | [a-z_]+\.cc:\d+\]\ MLIR\ V1\ optimization
    | cuda_executor\.cc:\d+\]\ INTERNAL:\ CUDA\ Runtime\ error:.*no\ CUDA-capable\ device
    """,
    re.VERBOSE,
)
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 2: errors


def start_tensorflow() -> None:
    """Imports TensorFlow and has it look for devices, and leaves out what it notes on the way."""
    if os.environ.get(_LOG_LEVEL) in (None, "1"):  # 1 is what TensorFlow leaves there, also for processes it starts
        os.environ[_LOG_LEVEL] = "2"
    with without_notes():
        import absl.logging
        import tensorflow as tf

        tf.config.list_physical_devices()
    tf.get_logger().setLevel("WARNING")
    absl.logging.set_verbosity(absl.logging.WARNING)


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Within it, known notes that libraries write to stderr are left out; everything else follows at the end."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            written.seek(0)
            for line in written:
                if not _NOTES.search(line):
                    os.write(2, line)
