"""All files of a network at once, each checked before it takes the place of an older one."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.export.check import FLOAT32_TOLERANCE, HALF_TOLERANCE, check_heatmaps, check_saved_model
from hrnet_tf.export.formats import DEFAULT_FORMATS, FILE_NAMES, INT8_FILE_NAMES, KEYPOINTS_NAME
from hrnet_tf.export.int8 import quantize_onnx
from hrnet_tf.export.keras_file import export_keras
from hrnet_tf.export.litert import export_litert
from hrnet_tf.export.onnx import export_onnx, export_onnx_pose
from hrnet_tf.export.saved_model import check_replaceable, export_saved_model
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.models.variants import BOTTOM_UP

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How the formats are written.

    Attributes:
        flip_test: the SavedModel's keypoints come from the crop and its mirror image.
        precision: of the SavedModel, "float32" or "bfloat16".
        fold: fold batch normalisation into the convolutions of the SavedModel; other formats always do.
        onnx_layout: of ONNX files that give heatmaps, "nhwc" or "nchw".
        int8_symmetric: `model_int8.onnx` is for TensorRT, as in `quantize_onnx`.
    """

    flip_test: bool = False
    precision: str = "float32"
    fold: bool = True
    onnx_layout: str = "nhwc"
    int8_symmetric: bool = False


PLAIN = ExportOptions()


def export_all(
    model: "keras.Model",
    out_dir: PathLike,
    crops: np.ndarray,
    card: ModelCard,
    formats: Sequence[str] = DEFAULT_FORMATS,
    options: ExportOptions = PLAIN,
    calibration_crops: np.ndarray | None = None,
) -> tuple[list[Path], dict[str, float]]:
    """Writes a network in several formats, which replace older files once all have been run and have passed the check.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        out_dir: the folder to write them in, made if there is none.
        crops: [N,H,W,3] uint8, on which the files are compared with the model.
        card: a `ModelCard`, for all of them.
        formats: names in `FILE_NAMES`; one that is named twice is written once.
        options: `ExportOptions`.
        calibration_crops: [N,H,W,3] uint8 crops of the training set, to write 8-bit files of ONNX and LiteRT too.

    Returns:
        The paths written, and {file name: largest absolute difference from the model}; 8-bit files are not compared.

    Raises:
        InputError: `out_dir` cannot be written, or a file differs from the model.
        ValueError: an unknown format.
    """
    if unknown := set(formats) - set(FILE_NAMES):
        raise ValueError(f"`formats` must be of {', '.join(FILE_NAMES)}. Received: {', '.join(sorted(unknown))}")
    formats = tuple(dict.fromkeys(formats))
    names = [name for format_name in formats for name in FILE_NAMES[format_name]]
    if card.kind == BOTTOM_UP:
        if calibration_crops is not None:
            raise InputError("networks of whole images are not written in 8 bits: leave out the calibration")
        names = [name for name in names if name != KEYPOINTS_NAME]  # people are grouped outside of the graph
    if calibration_crops is not None:
        names += [INT8_FILE_NAMES[format_name] for format_name in formats if format_name in INT8_FILE_NAMES]
    check_replaceable(Path(out_dir, *FILE_NAMES["saved_model"]))
    differences: dict[str, float] = {}
    with _staging_folder(out_dir) as staging:
        for name in progress.track(names, "exporting", "files"):
            path = Path(staging, name)
            found = _write(name, path, model, crops, card, options, calibration_crops)
            differences |= {name: found} if isinstance(found, float) else found
            if path.suffix in (".onnx", ".tflite"):
                write_card(path, card)
        paths = [Path(out_dir, name) for name in names]
        for path, name in zip(paths, names, strict=True):
            _move(Path(staging, name), path)
            if path.suffix == ".tflite":
                _move(Path(staging, name).with_suffix(".json"), path.with_suffix(".json"))
    return paths, differences


def _write(name, path, model, crops, card, options, calibration_crops):
    """Writes one file; returns its difference from the model, or several by what they are of."""
    match name:
        case "model.keras":
            export_keras(model, path, card)
            return check_heatmaps(path, model, crops)
        case "saved_model/1":
            export_saved_model(model, path, card, options.flip_test, options.precision, options.fold)
            tolerance = FLOAT32_TOLERANCE if options.precision == "float32" else HALF_TOLERANCE
            found = check_saved_model(path, model, crops, card, options.flip_test, tolerance)
            return {f"saved_model/1 {output}": difference for output, difference in found.items()}
        case "model.onnx":
            return export_onnx(model, path, options.onnx_layout, crops)
        case "keypoints.onnx":
            return export_onnx_pose(model, path, card.codec, card.refine, crops)
        case "model_float16.onnx":
            return export_onnx(model, path, options.onnx_layout, crops, "float16")
        case "model_int8.onnx":
            quantize_onnx(path.with_name("model.onnx"), path, calibration_crops, options.int8_symmetric)
            return {}
        case "model_int8.tflite":
            export_litert(model, path, "int8", calibration_crops, crops)
            return {}
        case _:
            precision = path.stem.removeprefix("model_")
            return export_litert(model, path, precision, crops=crops)


def _move(source, path):
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        os.replace(source, temporary)


def _staging_folder(out_dir):
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".export.", dir=out_dir, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {out_dir}: {error.strerror}") from error
