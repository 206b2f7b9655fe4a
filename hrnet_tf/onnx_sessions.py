"""ONNX Runtime, which is imported where a file is opened: for ONNX files alone."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime

_CUDA = "CUDAExecutionProvider"
# What ONNX Runtime says by itself: not how it would have liked a file to be written.
_ERRORS = 3


def open_session(model: str | bytes, on_gpu: bool, use_tf32: bool = False) -> "onnxruntime.InferenceSession":
    """A session of an ONNX file, which may be run from several threads at once.

    Args:
        model: path of the file, or its content.
        on_gpu: whether it may be run on a GPU, where ONNX Runtime can.
        use_tf32: whether a GPU may multiply float32 with 10 bits of the mantissa.

    Raises:
        Exception: of many types, where the file is damaged.
    """
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if on_gpu and _CUDA in onnxruntime.get_available_providers():
        providers.insert(0, (_CUDA, {"use_tf32": str(int(use_tf32))}))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    return onnxruntime.InferenceSession(model, options, providers=providers)
