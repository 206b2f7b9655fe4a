"""GPUs: how TensorFlow uses them, and what to do when their memory does not suffice."""

import re

import tensorflow as tf

from hrnet_tf.errors import InputError

# What TensorFlow, XLA and ONNX Runtime say; a full disk is a `ResourceExhaustedError` too.
_OUT_OF_MEMORY = re.compile(r"\bOOM\b|out of memory|\ballocat", re.IGNORECASE)
_MAX_SAID = 200


def out_of_memory(error: BaseException, advice: str) -> InputError | None:
    """What to raise instead of an error of a network's call that is due to a lack of memory; None for any other.

        except tf.errors.OpError as error:
            raise out_of_memory(error, "lower --batch_size") or error from error

    Args:
        error: of TensorFlow or ONNX Runtime.
        advice: what to do, the end of the line.
    """
    if not (isinstance(error, tf.errors.ResourceExhaustedError) or type(error).__module__.startswith("onnxruntime")):
        return None
    # The cause stands somewhere below "Graph execution error" or "2 root error(s) found".
    said = next((line.strip() for line in str(error).splitlines() if _OUT_OF_MEMORY.search(line)), None)
    return None if said is None else InputError(f"out of memory: {said[:_MAX_SAID]}; {advice}")
