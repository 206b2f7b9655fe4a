"""GPUs: how TensorFlow uses them, and what to do when their memory does not suffice."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from hrnet_tf.errors import InputError

# What TensorFlow, XLA and ONNX Runtime say; a full disk is a `ResourceExhaustedError` too.
_OUT_OF_MEMORY = re.compile(r"\bOOM\b|out of memory|\ballocat", re.IGNORECASE)
_NODE = re.compile(r"\{\{.*?\}\}")
_MAX_SAID = 200

# Major compute capabilities for which XLA ends the process, as its PTX is of a version that does not know them: 12 is
# the RTX 50's (tensorflow issue 111958, of 2.21 and 2.22's nightly builds; no release without it is known).
_XLA_ABORTS = (12,)
# Compute capability of the first GPUs that compute in bfloat16: Ampere's.
_BFLOAT16_SINCE = (8, 0)
_CHANNELS_LAST, _DETERMINISTIC = "xla_gpu_force_conv_nhwc", "xla_gpu_deterministic_ops"

# Of TensorFlow: threads that share one operation.
_THREADS = "TF_NUM_INTRAOP_THREADS"

_switching = threading.Lock()
_precise_calls = 0  # in progress, in all threads
_was_on = True


def has_gpu() -> bool:
    """Whether there is a GPU that TensorFlow may use."""
    return bool(tf.config.get_visible_devices("GPU"))


def _compute_capabilities():
    details = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    return [found.get("compute_capability", (0, 0)) for found in details]


def use_xla() -> bool:
    """Whether networks are compiled with XLA unless somebody says otherwise: where there are GPUs, all known to it."""
    capabilities = _compute_capabilities()
    return bool(capabilities) and all(major not in _XLA_ABORTS for major, _ in capabilities)


@contextlib.contextmanager
def without_tensor_float_32() -> Iterator[None]:
    """Within it, GPUs multiply float32 with all its bits: TF32, on by default since Ampere, keeps 10 of the mantissa.

    TensorFlow has one switch for the process, which kernels read when they run and XLA when it compiles. What other
    threads compute meanwhile is as precise, and the switch is back where it was once the last of them has left.
    """
    global _precise_calls, _was_on
    switch = tf.config.experimental
    with _switching:
        if not _precise_calls:
            _was_on = switch.tensor_float_32_execution_enabled()
            switch.enable_tensor_float_32_execution(False)
        _precise_calls += 1
    try:
        yield
    finally:
        with _switching:
            _precise_calls -= 1
            if not _precise_calls:
                switch.enable_tensor_float_32_execution(_was_on)


def training_precision() -> str:
    """What "auto" means: mixed_bfloat16 where all GPUs multiply it faster than float32, else float32."""
    capabilities = _compute_capabilities()
    return "mixed_bfloat16" if capabilities and min(capabilities) >= _BFLOAT16_SINCE else "float32"


def convolve_channels_last() -> None:
    """Makes XLA keep channels last around float32's convolutions on GPUs, as it does for bfloat16's by itself.

    It would put them first, and transpose before and after each. To be called before anything is compiled; what
    the variable XLA_FLAGS says of it already stays.
    """
    _switch_on(_CHANNELS_LAST)


def compute_deterministically() -> None:
    """Has GPUs compute the same bits each time, TensorFlow's kernels and what XLA compiles; slower.

    To be called after the seeds are set, and before anything is computed. CPUs do so anyway, with as many threads.
    """
    tf.config.experimental.enable_op_determinism()
    _switch_on(_DETERMINISTIC)


def _switch_on(xla_flag):
    given = os.environ.get("XLA_FLAGS", "")
    if xla_flag not in given:
        os.environ["XLA_FLAGS"] = f"{given} --{xla_flag}=true".strip()


def in_words() -> dict[str, str | int]:
    """What results follow from besides a program: the device, threads of a CPU and versions; {what it is: which}."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    names = ", ".join(sorted({details.get("device_name", "GPU") for details in gpus}))
    threads = tf.config.threading.get_intra_op_parallelism_threads() or int(os.environ.get(_THREADS) or 0)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = {"TensorFlow": tf.__version__, "Keras": keras.__version__}
    return {"device": names or "CPU", "threads": threads or available, **versions}


def out_of_memory(error: BaseException, advice: str) -> InputError | None:
    """What to raise instead of an error of a network's call that is due to a lack of memory; None for any other.

    Args:
        error: of TensorFlow or ONNX Runtime.
        advice: what to do, the end of the line.
    """
    if not (isinstance(error, tf.errors.ResourceExhaustedError) or type(error).__module__.startswith("onnxruntime")):
        return None
    # The cause stands somewhere below "Graph execution error" or "2 root error(s) found".
    lines = (_NODE.sub("", line).strip() for line in str(error).splitlines())
    said = next(filter(_OUT_OF_MEMORY.search, lines), None)
    return None if said is None else InputError(f"out of memory: {said[:_MAX_SAID]}; {advice}")


@contextlib.contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Around calls of networks: a lack of memory becomes the InputError of `out_of_memory`."""
    try:
        yield
    except Exception as error:
        instead = out_of_memory(error, advice)
        if instead is None:
            raise
        raise instead from error
