"""Export of trained networks to `.keras`, SavedModel and ONNX."""

import os
import tempfile
from pathlib import Path

from hrnet_tf.errors import InputError
from hrnet_tf.export.check import check_exports
from hrnet_tf.export.keras_file import export_keras
from hrnet_tf.export.onnx import export_onnx
from hrnet_tf.export.saved_model import check_replaceable, export_saved_model
from hrnet_tf.files import replacing

__all__ = ["check_exports", "export_all", "export_keras", "export_onnx", "export_saved_model"]

FILE_NAMES = {"keras": "model.keras", "saved_model": "saved_model", "onnx": "model.onnx"}


def export_all(model, out_dir, crops, codec="msra", refine=None):
    """Writes `model.keras`, `saved_model/` and `model.onnx`, which replace older ones once all have passed the check.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        out_dir: the folder to write them in, made if there is none.
        crops: [N,H,W,3] uint8, on which `check_exports` compares.
        codec: as in `export_saved_model`.
        refine: as in `export_saved_model`.

    Returns:
        The paths written, {"keras": ..., "saved_model": ..., "onnx": ...}, and the differences that
        `check_exports` returns.

    Raises:
        InputError: `out_dir` cannot be written, or as `check_exports`.
    """
    paths = {name: Path(out_dir, file_name) for name, file_name in FILE_NAMES.items()}
    check_replaceable(paths["saved_model"])
    with _staging_folder(out_dir) as staging:
        staged = {name: Path(staging, path.name) for name, path in paths.items()}
        export_keras(model, staged["keras"])
        export_saved_model(model, staged["saved_model"], codec, refine)
        export_onnx(model, staged["onnx"])
        differences = check_exports(
            model, crops, staged["keras"], staged["saved_model"], staged["onnx"], codec=codec, refine=refine
        )
        for name, path in paths.items():
            with replacing(path) as temporary:
                os.replace(staged[name], temporary)
    return paths, differences


def _staging_folder(out_dir):
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".export.", dir=out_dir, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {out_dir}: {error.strerror}") from error
