"""Export of trained networks to `.keras`, SavedModel, ONNX and LiteRT."""

from typing import TYPE_CHECKING

from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from hrnet_tf.export.check import check_heatmaps, check_saved_model
    from hrnet_tf.export.files import ExportOptions, export_all
    from hrnet_tf.export.int8 import quantize_onnx
    from hrnet_tf.export.keras_file import export_keras
    from hrnet_tf.export.litert import export_litert
    from hrnet_tf.export.onnx import export_onnx, export_onnx_pose
    from hrnet_tf.export.saved_model import export_saved_model

__all__ = [
    "ExportOptions",
    "check_heatmaps",
    "check_saved_model",
    "export_all",
    "export_keras",
    "export_litert",
    "export_onnx",
    "export_onnx_pose",
    "export_saved_model",
    "quantize_onnx",
]
_HOMES = {
    "check": ("check_heatmaps", "check_saved_model"),
    "files": ("ExportOptions", "export_all"),
    "int8": ("quantize_onnx",),
    "keras_file": ("export_keras",),
    "litert": ("export_litert",),
    "onnx": ("export_onnx", "export_onnx_pose"),
    "saved_model": ("export_saved_model",),
}
__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
