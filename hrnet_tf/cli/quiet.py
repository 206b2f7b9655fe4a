"""TensorFlow as commands start it: without what it says of itself, and sharing GPUs with others."""

import os

from hrnet_tf.stderr import without_notes

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 2: errors
# Whether memory of GPUs is taken as it is needed, and not all of it at once; read when the first GPU is used.
_MEMORY_GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"


def start_tensorflow(tf32: bool = True) -> None:
    """Imports TensorFlow and has it look for devices, and leaves out what it notes on the way; errors come through.

    Memory of GPUs is taken as it is needed, unless the environment says otherwise.

    Args:
        tf32: whether GPUs since Ampere may multiply float32 with 10 bits of the mantissa, as TensorFlow has it.
    """
    os.environ.setdefault(_MEMORY_GROWTH, "true")
    if os.environ.get(_LOG_LEVEL) in (None, "1"):  # 1 is what TensorFlow leaves there, also for processes it starts
        os.environ[_LOG_LEVEL] = "2"
    with without_notes():
        import absl.logging
        import tensorflow as tf

        tf.config.list_physical_devices()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    tf.get_logger().setLevel("WARNING")
    absl.logging.set_verbosity(absl.logging.WARNING)
