"""GPUs, none of which is here: what is decided about them, with their details mocked and their errors simulated."""

import pytest
import tensorflow as tf

from hrnet_tf.devices import out_of_memory
from hrnet_tf.errors import MAX_LINE

OOM = "OOM when allocating tensor with shape[1024,256,256,256] and type float on /device:GPU:0"


@pytest.mark.parametrize(
    "text",
    [
        OOM,
        f"Graph execution error:\n\nDetected at node conv1\n{OOM}\n\t [[{{{{node conv1}}}}]]\n" + 9000 * "x",
        f"2 root error(s) found.\n  (0) RESOURCE_EXHAUSTED:  {OOM}\n  (1) CANCELLED: Function was cancelled",
        "Out of memory while trying to allocate 68719476736 bytes.",
    ],
)
def test_lack_of_memory_is_one_line_with_what_to_do(text):
    error = out_of_memory(tf.errors.ResourceExhaustedError(None, None, text), "lower --batch_size")
    assert str(error).startswith("out of memory: ") and str(error).endswith("; lower --batch_size")
    assert OOM in str(error) or "68719476736" in str(error)
    assert "\n" not in str(error) and len(str(error)) < MAX_LINE


def test_what_really_does_not_fit_is_told_from_other_errors(tmp_path):
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        tf.zeros((1 << 24, 1 << 24))
    assert "[16777216,16777216]" in str(out_of_memory(caught.value, "lower it"))
    full = "/memory/a.tmp; No space left on device"
    for other in (tf.errors.ResourceExhaustedError(None, None, full), tf.errors.InternalError(None, None, OOM)):
        assert out_of_memory(other, "lower it") is None
    assert out_of_memory(MemoryError("Unable to allocate 9 TiB"), "lower it") is None
