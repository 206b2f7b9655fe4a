"""Export to LiteRT (formerly TensorFlow Lite), for phones and small machines."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from hrnet_tf.export.check import FLOAT32_TOLERANCE, HALF_TOLERANCE, check_heatmaps, checked_crops
from hrnet_tf.export.portable import portable_clone
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.models.variants import HEATMAPS
from hrnet_tf.stderr import held_back

if TYPE_CHECKING:
    import keras

# By precision, what the export may differ by from the model; whole numbers are measured by their AP instead.
TOLERANCES = {"float32": FLOAT32_TOLERANCE, "float16": HALF_TOLERANCE, "int8": None}


def export_litert(
    model: "keras.Model",
    path: PathLike,
    precision: str = "float32",
    calibration_crops: np.ndarray | None = None,
    crops: np.ndarray | None = None,
) -> float:
    """Writes a `.tflite` file, once LiteRT has run it and it has passed the comparison with `model`.

    Signature "serving_default": "images" [B,H,W,3], RGB from 0 to 255, to "heatmaps" [B,H/4,W/4,K] float32.
    "images" is float32, or uint8 where the precision is "int8". B is 1 until the interpreter is told another
    (`resize_tensor_input`).

    "float16" stores the weights in half the space and computes in float32, or in float16 where the processor
    does. "int8" computes in whole numbers, weights by output channel; the ranges of activations are those met
    in `calibration_crops`.

    Args:
        model: Functional model of stock layers, of any dtype policy.
        path: the file to write.
        precision: a name in `TOLERANCES`.
        calibration_crops: [N,H,W,3] uint8 crops of the training set, some hundred, for "int8".
        crops: [N,H,W,3] uint8 to compare on; by default noise.

    Returns:
        The largest absolute difference from the heatmaps of `model`.

    Raises:
        InputError: `path` cannot be written, crops do not suit the model, or the file differs from the model by
            more than its precision explains.
        ValueError: an unknown precision, or no crops for "int8".
    """
    if precision not in TOLERANCES:
        raise ValueError(f"`precision` must be one of {', '.join(TOLERANCES)}. Received: {precision!r}")
    if precision == "int8":
        if calibration_crops is None:
            raise ValueError("precision 'int8' needs `calibration_crops`. Received: None")
        calibration_crops = checked_crops(calibration_crops, model)
    content = _convert(portable_clone(model), precision, calibration_crops)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        return check_heatmaps(temporary, model, crops, TOLERANCES[precision])


def _convert(model, precision, calibration_crops):
    """`model` as the bytes of a LiteRT file."""
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]

    def run(images):
        found = model(images, training=False)
        return found if isinstance(found, dict) else {HEATMAPS: found}

    module.serve = tf.function(run, input_signature=[images])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.representative_dataset = lambda: ([crop[None].astype(np.float32)] for crop in calibration_crops)
    with held_back():  # what the converter fails with, it raises
        return converter.convert()
