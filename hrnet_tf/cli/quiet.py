"""TensorFlow without what it says of itself when it starts: errors still come through."""

import os

from hrnet_tf.stderr import without_notes

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
