"""A trained network as one kind of function, or two, whichever file or runtime it comes from.

Shape legend: B batch, H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import PathLike, check_readable, reason
from hrnet_tf.model_files import check_model_file
from hrnet_tf.models.clones import bfloat16_clone, check_precision, last_output
from hrnet_tf.models.fold import fold_batch_norm
from hrnet_tf.models.sums import subtract_convolutions
from hrnet_tf.models.variants import BOTTOM_UP, HEATMAP_STRIDE, HEATMAPS, HEATMAPS_TAGS, MAX_SIDE, TOP_DOWN
from hrnet_tf.prediction.runners import Runner, check_whole_images, heatmap_runner
from hrnet_tf.pretrained.local import model_file

_SIGNATURE = HEATMAPS
# Of whole images where no model card says it: what the first of HigherHRNets were published for.
_WHOLE_SIZE = (512, 512)
_SAVED_MODEL = "saved_model.pb"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to predict with.

    Attributes:
        heatmaps: called in a TensorFlow graph as a Keras model is, images [B,H,W,3] uint8 RGB and
            `training=False` -> heatmaps [B,h,w,K] float32; or a `Runner`, which does the same outside of one. Of a
            network of whole images it gives its two outputs in a dict.
        input_size: (H, W) of the crops in pixels; of a network of whole images what is taken without a model card.
        num_keypoints: K.
        kind: `TOP_DOWN` or `BOTTOM_UP`.
    """

    heatmaps: Callable[..., tf.Tensor] | Runner
    input_size: tuple[int, int]
    num_keypoints: int
    kind: str = TOP_DOWN


def load_network(path: PathLike, trusted: bool = False) -> tuple[Network, Path]:
    """Reads a trained network.

    Args:
        path: a `.keras`, `.onnx` or `.tflite` file, a SavedModel folder with the signature "heatmaps", or a
            folder of versions of one, of which the highest is read; or a name or address of `pretrained.model_file`,
            whose file is downloaded where it is not there yet.
        trusted: whether a SavedModel may do more than compute, such as read or write files.

    Returns:
        a `Network`, and the path that was read: another one for a name or a folder of versions.

    Raises:
        InputError: none of these is there, or it cannot be downloaded or loaded, or is no pose network, or is a
            SavedModel that does more than compute.
    """
    path = model_file(path)
    check_readable(path, "model")
    path = _saved_version(path)
    loaders = {".keras": _load_keras, ".onnx": _load_export, ".tflite": _load_export}
    load = _load_saved_model if path.is_dir() else loaders.get(path.suffix)
    if load is None or not path.exists():
        raise InputError(
            "a model must be an existing .keras, .onnx or .tflite file or a SavedModel folder. "
            f"Received: {path}{hint(path)}"
        )
    check_model_file(path, trusted)
    try:
        return load(path), path
    except InputError:
        raise
    except Exception as error:  # each library raises many types on a damaged file
        raise InputError(f"model {path} cannot be loaded: {reason(error)}") from error


def hint(path: PathLike) -> str:
    """What to do with a file of PyTorch that is given as a network, for the end of an error; "" of another."""
    if Path(path).suffix.lower() not in (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".tar"):
        return ""
    command = f"hrnet-tf convert --model=NAME --input_size=HxW --weights={path} --out=OUT.keras"
    return f". Convert PyTorch weights first: {command}"


def network_of(model: keras.Model, name: str = "model") -> Network:
    """The `Network` of a `keras.Model`, of its last output if the others are for training.

    Raises:
        InputError: it is no pose network.
    """
    model = last_output(model)
    input_shape, output_shape = (getattr(model, side, None) for side in ("input_shape", "output_shape"))
    if isinstance(getattr(model, "output", None), dict):  # Keras gives the shapes without their names
        output_shape = {key: tuple(tensor.shape) for key, tensor in model.output.items()}
    return _checked(model, input_shape, output_shape, name)


def for_inference(network: Network, precision: str = "float32") -> Network:
    """The network as it is fastest to predict with: batch normalisation folded, in the given precision.

    What TensorFlow makes of it can be called from several threads at once: see `subtract_convolutions`.

    A Keras model is copied, and later changes of it do not count; what comes from another file was written as it
    is to be run.

    Args:
        network: a `Network`.
        precision: "float32", or "bfloat16" for computing in it between the first layer and the last.

    Raises:
        InputError: a precision other than float32 is asked of a network that is no Keras model.
        ValueError: an unknown precision.
    """
    check_precision(precision)
    if isinstance(network.heatmaps, keras.Model):
        model = subtract_convolutions(fold_batch_norm(network.heatmaps))
        return dataclasses.replace(network, heatmaps=bfloat16_clone(model) if precision == "bfloat16" else model)
    if precision != "float32":
        raise InputError(
            f"precision {precision!r} is for .keras files: an export has the precision it was written with"
        )
    return network


def _load_keras(path):
    return network_of(keras.models.load_model(path, compile=False), f"model {path}")


def _load_saved_model(path):
    loaded = tf.saved_model.load(str(path))
    if _SIGNATURE not in loaded.signatures:
        raise InputError(f"model {path} must have the signature {_SIGNATURE!r}. Received: {list(loaded.signatures)}")
    signature = loaded.signatures[_SIGNATURE]
    ((name, images),) = signature.structured_input_signature[1].items()
    shapes = {key: output.shape for key, output in signature.structured_outputs.items()}

    def outputs(batch, training=False):
        # A signature does not keep the variables alive: `loaded` does.
        return loaded.signatures[_SIGNATURE](**{name: tf.cast(batch, images.dtype)})

    def heatmaps(batch, training=False):
        return outputs(batch)[_SIGNATURE]

    if set(shapes) == {HEATMAPS_TAGS, HEATMAPS}:
        return _checked(outputs, images.shape, shapes, f"model {path}")
    return _checked(heatmaps, images.shape, shapes[_SIGNATURE], f"model {path}")


def _load_export(path):
    runner = heatmap_runner(path, on_gpu=True)
    if runner.input_size is None:
        return Network(runner, _WHOLE_SIZE, runner.num_keypoints, BOTTOM_UP)
    return _checked(
        runner, (None, *runner.input_size, 3), (None, *runner.heatmap_size, runner.num_keypoints), f"model {path}"
    )


def _saved_version(path: Path) -> Path:
    """The highest numbered folder in `path` where that is a folder of versions, as TensorFlow Serving has them."""
    if not path.is_dir() or (path / _SAVED_MODEL).is_file():
        return path
    versions = [entry for entry in path.iterdir() if entry.name.isdecimal() and (entry / _SAVED_MODEL).is_file()]
    if not versions:
        raise InputError(f"folder {path} is no SavedModel: it has neither {_SAVED_MODEL} nor numbered versions of one")
    return max(versions, key=lambda version: int(version.name))


def _checked(heatmaps, input_shape, output_shape, name):
    """The `Network` of a function with these shapes, or InputError if they are not a pose network's."""
    if isinstance(output_shape, dict) and set(output_shape) == {HEATMAPS_TAGS, HEATMAPS}:
        num_keypoints = check_whole_images(input_shape, output_shape, name)
        return Network(heatmaps, _WHOLE_SIZE, num_keypoints, BOTTOM_UP)
    shapes = [
        list(shape) if isinstance(shape, list | tuple | tf.TensorShape) else [] for shape in (input_shape, output_shape)
    ]
    (batch, *input_size, channels), (_, *heatmap_size, num_keypoints) = (
        shape if len(shape) == 4 else [None] * 4 for shape in shapes
    )
    known = all(isinstance(length, int) for length in (*input_size, num_keypoints))
    if not known or channels != 3 or heatmap_size != [length // HEATMAP_STRIDE for length in input_size]:
        raise InputError(
            f"{name} is not a pose network (images [B,H,W,3] to heatmaps [B,H/{HEATMAP_STRIDE},W/{HEATMAP_STRIDE},K]). "
            f"Received: {shapes[0] or shown(input_shape)} to {shapes[1] or shown(output_shape)}"
        )
    if max(input_size) > MAX_SIDE:
        raise InputError(f"{name} takes images of {input_size} pixels, of at most {MAX_SIDE} a side")
    if batch is not None:
        raise InputError(f"{name} takes batches of {batch} alone: save it with a first axis of any length")
    return Network(heatmaps, tuple(input_size), num_keypoints)
