"""The check that exports compute what the network does, on real crops."""

import contextlib

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from hrnet_tf.errors import InputError
from hrnet_tf.export.keras_file import float32_clone
from hrnet_tf.heatmaps import crop_pixels, decode, get_codec
from hrnet_tf.models.build import HEATMAP_STRIDE

BATCH_SIZE = 8
# More than what two runs of one network differ by, relative to its largest output.
_ROUNDING = 1e-5


def check_exports(
    model,
    crops,
    keras_path=None,
    saved_model_path=None,
    onnx_path=None,
    tolerance=1e-3,
    codec="msra",
    refine=None,
):
    """Runs exports on `crops` and compares them with `model` in float32.

    Heatmaps are compared in full, and so are the scores of the SavedModel's keypoints. Positions are
    compared, with those of the SavedModel's own heatmaps, where no change of the heatmaps within
    `tolerance` could move them to another pixel or quarter: of two equal maxima, rounding decides
    which one is the keypoint.

    Args:
        model: the Functional model that was exported.
        crops: [N,H,W,3] uint8, N at least 1.
        keras_path: a `.keras` file to compare, if any.
        saved_model_path: a SavedModel folder to compare, if any.
        onnx_path: an ONNX file to compare, if any.
        tolerance: largest difference allowed, in heatmap values and in crop pixels.
        codec: that the SavedModel was exported with.
        refine: that the SavedModel was exported with.

    Returns:
        The largest absolute difference by name: "keras", "saved_model" and "onnx" of the heatmaps,
        "saved_model keypoints" of the keypoints.

    Raises:
        InputError: an export differs by more than `tolerance` or gives NaN, or `crops` do not suit
            the model.
    """
    crops = np.asarray(crops)
    height, width = model.input_shape[1:3]
    if crops.dtype != np.uint8 or crops.shape[1:] != (height, width, 3) or not len(crops):
        raise InputError(
            f"`crops` to check exports on must be [N,{height},{width},3] uint8, at least one. "
            f"Received: {list(crops.shape)} {crops.dtype}"
        )
    refine = refine or get_codec(codec).refine
    with _without_tensor_float_32():
        exports = _load(keras_path, saved_model_path, onnx_path)
        run_model = _keras_function(float32_clone(model))
        batches = np.split(crops, range(BATCH_SIZE, len(crops), BATCH_SIZE))
        by_batch = [_differences(run_model(images), exports, images, tolerance, codec, refine) for images in batches]
    # np.max keeps NaN, max does not.
    differences = {name: float(np.max([batch[name] for batch in by_batch])) for name in exports}
    for name, difference in differences.items():
        if not difference <= tolerance:  # also true of NaN
            raise InputError(
                f"the export {name!r} differs from the model by {difference:.3g}, more than the {tolerance:.3g} "
                "allowed (nan: a heatmap is not finite)"
            )
    return differences


@contextlib.contextmanager
def _without_tensor_float_32():
    """TF32, on by default on GPUs, keeps 10 bits of the mantissa: not enough to compare with a CPU's float32."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)


def _load(keras_path, saved_model_path, onnx_path):
    """The exports as functions from a batch of crops to a numpy array, by name."""
    exports = {}
    if keras_path is not None:
        exports["keras"] = _keras_function(keras.models.load_model(keras_path))
    if saved_model_path is not None:
        loaded = tf.saved_model.load(str(saved_model_path))
        exports["saved_model"] = lambda images: loaded.signatures["heatmaps"](images=images)["heatmaps"].numpy()
        exports["saved_model keypoints"] = lambda images: loaded.signatures["serving_default"](images=images)[
            "keypoints"
        ].numpy()
    if onnx_path is not None:
        session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
        exports["onnx"] = lambda images: session.run(["heatmaps"], {"images": images.astype(np.float32)})[0]
    return exports


def _keras_function(model):
    return lambda images: model(images, training=False).numpy()


def _differences(heatmaps, exports, images, tolerance, codec, refine):
    """Largest absolute differences between the model's `heatmaps` [B,h,w,K] and the exports, by name."""
    outputs = {name: run(images) for name, run in exports.items()}
    return {
        name: _keypoint_difference(output, outputs["saved_model"], tolerance, codec, refine)
        if name == "saved_model keypoints"
        else np.max(np.abs(output - heatmaps))
        for name, output in outputs.items()
    }


def _keypoint_difference(keypoints, heatmaps, tolerance, codec="msra", refine="quarter"):
    """Largest difference of `keypoints` [B,K,3] from those of `heatmaps` in score and, where clear, in position."""
    height, width = heatmaps.shape[1:3]
    stride = crop_pixels((height * HEATMAP_STRIDE, width * HEATMAP_STRIDE), codec)

    def locate(heatmaps):
        return decode(heatmaps, refine).numpy() * [*stride, 1]

    expected = locate(heatmaps)
    clear = _is_clear(heatmaps, tolerance)
    if refine in ("dark", "udp"):
        # These move with every value around the maximum, the further the flatter it is.
        signs = np.random.default_rng(0).choice([-1, 1], heatmaps.shape)
        rounded = heatmaps + np.float32(_ROUNDING) * np.abs(heatmaps).max() * signs
        clear &= np.all(np.abs(locate(rounded) - expected)[..., :2] <= tolerance, axis=-1)
    compared = np.stack([clear, clear, np.ones_like(clear)], -1)
    return np.max(np.where(compared, np.abs(keypoints - expected), 0))


def _is_clear(heatmaps, tolerance):
    """[B,K] bool: whether keypoints stay where they are if every value of `heatmaps` moves by up to `tolerance`."""
    batch, height, width, num_keypoints = heatmaps.shape
    flat = heatmaps.reshape(batch, height * width, num_keypoints)
    second, first = np.moveaxis(np.partition(flat, -2, axis=1)[:, -2:], 1, 0)
    padded = np.pad(heatmaps, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    along_x = np.abs(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    along_y = np.abs(padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    # The quarter of a pixel is towards the larger neighbour, in each axis.
    slope = np.minimum(along_x, along_y).reshape(flat.shape)
    slope = np.take_along_axis(slope, flat.argmax(1)[:, None], axis=1)[:, 0]  # [B,K]
    return (first - second > 2 * tolerance) & (slope > 2 * tolerance) & (np.abs(first) > tolerance)
