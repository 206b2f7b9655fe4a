"""Exported files as functions from crops to heatmaps, or from whole images to heatmaps and tags.

Shape legend: B batch, H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

import dataclasses
import functools
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.schema_py_generated import Model

from hrnet_tf.devices import out_of_memory
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable, reason
from hrnet_tf.model_files import check_model_file
from hrnet_tf.models.variants import HEATMAPS, HEATMAPS_TAGS, MAX_SIDE
from hrnet_tf.onnx_sessions import open_session
from hrnet_tf.stderr import without_notes


@dataclasses.dataclass(frozen=True)
class Runner:
    """An exported network, called with crops [B,H,W,3] uint8 RGB, for any B: -> heatmaps [B,h,w,K] float32, in numpy.

    It may be called from several threads at once. A network of whole images takes images of any size and gives a dict
    of heatmaps and tags, and has neither size.

    Attributes:
        run: does it.
        input_size: (H, W), or None.
        heatmap_size: (h, w), or None.
        num_keypoints: K.
    """

    run: Callable[[np.ndarray], Any]
    input_size: tuple[int, int] | None
    heatmap_size: tuple[int, int] | None
    num_keypoints: int

    def __call__(self, crops: np.ndarray) -> Any:
        return self.run(crops)


def heatmap_runner(path: PathLike, on_gpu: bool = False) -> Runner:
    """Loads an exported file to run it.

    Args:
        path: a `.keras` file, a SavedModel folder of `export_saved_model`, an `.onnx` file of `export_onnx` or
            `quantize_onnx`, or a `.tflite` file of `export_litert`.
        on_gpu: whether an `.onnx` file may be run on a GPU, where ONNX Runtime can.

    Returns:
        a `Runner`.

    Raises:
        InputError: it is none of these, cannot be loaded, does not give heatmaps, or is a SavedModel that does more
            than compute; or a network of whole images that takes one size alone.
    """
    check_readable(path, "model")
    onnx_runner = functools.partial(_onnx_runner, on_gpu=on_gpu)
    loaders: dict[str, Callable] = {".keras": _keras_runner, ".onnx": onnx_runner, ".tflite": _litert_runner}
    load = _saved_model_runner if Path(path).is_dir() else loaders.get(Path(path).suffix)
    if load is None or not Path(path).exists():
        raise InputError(
            f"an export to run must be an existing .keras, .onnx or .tflite file or a SavedModel. Received: {path}"
        )
    check_model_file(path)
    try:
        run, input_shape, output_shape = load(str(path))
        if isinstance(output_shape, dict):
            return Runner(_refusing(run, path), None, None, check_whole_images(input_shape, output_shape, str(path)))
        fixed = len(input_shape) == 4 and all(isinstance(length, int) for length in input_shape[1:])
        if fixed and max(input_shape[1:3]) > MAX_SIDE:  # not run: LiteRT ends the process without the memory
            raise InputError(f"{path} takes images of {input_shape[1:3]} pixels, of at most {MAX_SIDE} a side")
        if fixed and not all(isinstance(length, int) for length in output_shape[1:]):  # known once it has run
            output_shape = run(np.zeros((2, *input_shape[1:]), np.uint8)).shape
    except InputError:
        raise
    except Exception as error:  # each library raises many types on a damaged file
        raise InputError(f"{path} cannot be loaded: {reason(error)}") from error
    if not fixed or input_shape[3] != 3 or len(output_shape) != 4:
        raise InputError(
            f"{path} must take images [B,H,W,3] of a fixed size and give heatmaps [B,h,w,K]. "
            f"Received: {list(input_shape)}, {list(output_shape)}"
        )
    return Runner(_refusing(run, path), tuple(input_shape[1:3]), tuple(output_shape[1:3]), output_shape[3])


def _refusing(run, path):
    """`run`, of whose errors those that are no lack of memory become an InputError: some files load and cannot run."""

    def checked(crops):
        try:
            return run(crops)
        except Exception as error:  # each library raises many types
            if out_of_memory(error, ""):
                raise
            raise InputError(f"{path} cannot be run: {reason(error)}") from error

    return checked


def check_whole_images(
    input_shape: Sequence[int | None], output_shapes: Mapping[str, Sequence[int | None]], name: str
) -> int:
    """K of a network of whole images with an input and outputs of these shapes.

    Raises:
        InputError: they are none of such a network's, or it takes one size alone.
    """
    shapes = {key: list(shape) for key, shape in output_shapes.items()}
    both, num_keypoints = (shapes[key][-1] or 0 if len(shapes[key]) == 4 else 0 for key in (HEATMAPS_TAGS, HEATMAPS))
    if len(input_shape) != 4 or input_shape[3] != 3 or not num_keypoints or both != 2 * num_keypoints:
        raise InputError(
            f"{name} must take images [B,H,W,3] and give {HEATMAPS_TAGS} [B,H/4,W/4,2K] and {HEATMAPS} [B,H/2,W/2,K]. "
            f"Received: {list(input_shape)}, {shapes}"
        )
    if any(isinstance(side, int) for side in input_shape[1:3]):
        raise InputError(
            f"{name} takes images of {list(input_shape[1:3])} pixels alone, and whole images come in all sizes: build "
            "the network with input_size=None"
        )
    return num_keypoints


def _keras_runner(path):
    """The function of a Keras file, and the shapes of its input and output."""
    model = keras.models.load_model(path, compile=False)
    if isinstance(model.output, dict) and len(model.output) > 1:
        shapes = {key: output.shape for key, output in model.output.items()}
        return lambda images: _numpy(model(images, training=False)), model.input_shape, shapes
    return lambda crops: model(crops, training=False).numpy(), model.input_shape, model.output_shape


def _saved_model_runner(path):
    """The function of a SavedModel's signature "heatmaps", and the shapes of its input and output."""
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["heatmaps"]
    _, inputs = signature.structured_input_signature
    if len(signature.structured_outputs) > 1:
        shapes = {key: output.shape for key, output in signature.structured_outputs.items()}
        return (
            lambda images: _numpy(loaded.signatures["heatmaps"](images=tf.constant(images))),
            inputs["images"].shape,
            shapes,
        )
    output = signature.structured_outputs["heatmaps"]

    def run(crops):
        # A signature does not keep the variables alive: `loaded` does.
        return loaded.signatures["heatmaps"](images=tf.constant(crops))["heatmaps"].numpy()

    return run, inputs["images"].shape, output.shape


def _onnx_runner(path, on_gpu):
    """The function of an ONNX file of either layout, and the shapes of its input and output in NHWC."""
    session = open_session(path, on_gpu, tf.config.experimental.tensor_float_32_execution_enabled())
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) == 1 and {output.name for output in outputs} == {HEATMAPS_TAGS, HEATMAPS}:
        return _whole_onnx_runner(session)
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(f"{path} must have one input and one output. Received: {len(inputs)} and {len(outputs)}")
    (images,), (heatmaps,) = inputs, outputs
    if images.shape and isinstance(images.shape[0], int):
        raise InputError(f"{path} takes batches of {images.shape[0]} alone: export it with a first axis of any length")
    if len(images.shape) != 4 or images.shape[1] != 3:

        def run(crops):
            return session.run([heatmaps.name], {images.name: crops.astype(np.float32)})[0]

        return run, images.shape, heatmaps.shape

    def run_channels_first(crops):
        (maps,) = session.run([heatmaps.name], {images.name: crops.transpose(0, 3, 1, 2).astype(np.float32)})
        return maps.transpose(0, 2, 3, 1)

    return run_channels_first, *([shape[axis] for axis in (0, 2, 3, 1)] for shape in (images.shape, heatmaps.shape))


def _whole_onnx_runner(session):
    """The function of an ONNX file of whole images, of either layout, and the shapes of its ends in NHWC."""
    (images,), outputs = session.get_inputs(), session.get_outputs()
    channels_first = images.shape[1] == 3
    to_file, from_file = ((0, 3, 1, 2), (0, 2, 3, 1)) if channels_first else ((0, 1, 2, 3), (0, 1, 2, 3))
    names = [output.name for output in outputs]

    def run(batch):
        found = session.run(names, {images.name: batch.transpose(to_file).astype(np.float32)})
        return {name: maps.transpose(from_file) for name, maps in zip(names, found, strict=True)}

    def lengths(value):  # axes of any length have names in ONNX
        sides = [value.shape[axis] for axis in from_file]
        return [side if isinstance(side, int) else None for side in sides]

    return run, lengths(images), {output.name: lengths(output) for output in outputs}


def _litert_runner(path):
    """The function of a LiteRT file, and the shapes of its input and output."""
    content = Path(path).read_bytes()
    if not Model.GetRootAsModel(content, 0).SubgraphsLength():  # which ends the process
        raise InputError(f"{path} cannot be loaded: there is no graph in it")
    with warnings.catch_warnings(), without_notes():
        # TensorFlow announces that its interpreter moves to the package ai_edge_litert; the two are alike.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated", category=UserWarning)
        # From its content, which is looked at first: by its path a file that is cut off ends the process.
        interpreter = tf.lite.Interpreter(model_content=content)
        interpreter.allocate_tensors()
    in_use = threading.Lock()  # an interpreter holds the tensors of one call
    (images,), outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(crops):
        with in_use:
            if tuple(interpreter.get_input_details()[0]["shape"]) != crops.shape:
                interpreter.resize_tensor_input(images["index"], crops.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(images["index"], crops.astype(images["dtype"]))
            interpreter.invoke()
            return [interpreter.get_tensor(output["index"]) for output in outputs]

    if len(outputs) == 1:
        return lambda crops: run(crops)[0], images["shape"].tolist(), outputs[0]["shape"].tolist()
    (signature,) = interpreter.get_signature_list().values()
    tensor_of = interpreter.get_signature_runner().get_output_details()
    index_of = {tensor_of[name]["index"]: name for name in signature["outputs"]}
    names = [index_of[output["index"]] for output in outputs]
    shapes = {
        name: [side if side >= 0 else None for side in output["shape_signature"].tolist()]
        for name, output in zip(names, outputs, strict=True)
    }
    input_shape = [side if side >= 0 else None for side in images["shape_signature"].tolist()]
    return lambda images: dict(zip(names, run(images), strict=True)), input_shape, shapes


def _numpy(outputs):
    return {name: output.numpy() for name, output in outputs.items()}
