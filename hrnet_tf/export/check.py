"""The check that exports compute what the network does, on real crops.

Shape legend: B batch, N crops, H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hrnet_tf.devices import memory_advice, without_tensor_float_32
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.heatmaps import crop_pixels, decode, flip_back, get_codec
from hrnet_tf.models.clones import float32_clone
from hrnet_tf.models.variants import BOTTOM_UP, HEATMAP_STRIDE
from hrnet_tf.prediction.runners import heatmap_runner
from hrnet_tf.prediction.whole_images import average, enlarge

if TYPE_CHECKING:
    import keras

    from hrnet_tf.model_card import ModelCard

# Largest difference from the Keras model, relative to its largest heatmap value or 1. Half precision rounds every
# weight by up to 0.05 % (bfloat16 0.4 %): by 0.001 the trained network of the demo was found to differ in float16, a
# W32 of random weights by 0.04.
FLOAT32_TOLERANCE = 1e-3
HALF_TOLERANCE = 5e-2

_BATCH_SIZE = 8
# Of images for networks that take any.
_SOME_SIZE = (64, 96)
_MEMORY_ADVICE = "end what else uses the GPU, or export on the CPU: CUDA_VISIBLE_DEVICES=-1 in the environment"
# More than what two runs of one network differ by, relative to its largest output.
_ROUNDING = 1e-5


def check_heatmaps(
    path: PathLike, model: "keras.Model", crops: np.ndarray | None, tolerance: float | None = FLOAT32_TOLERANCE
) -> float:
    """Runs an exported file on crops and compares its heatmaps with those of the model.

    Args:
        path: as in `heatmap_runner`.
        model: the Functional model that was exported, of any dtype policy.
        crops: [N,H,W,3] uint8, or None for two of noise.
        tolerance: largest difference allowed, relative to the model's largest heatmap value or 1; None for any.

    Returns:
        The largest absolute difference.

    Raises:
        InputError: the difference is larger or not finite, `crops` do not suit the model, or the file does not load.
    """
    crops = checked_crops(crops, model)
    expected = model_heatmaps(model, crops)
    with without_tensor_float_32():
        difference = largest_difference(_in_batches(heatmap_runner(path), crops), expected)
    check_difference(difference, np.inf if tolerance is None else tolerance * _scale(expected), Path(path).name)
    return float(difference)


def check_saved_model(
    path: PathLike,
    model: "keras.Model",
    crops: np.ndarray | None,
    card: "ModelCard",
    flip_test: bool = False,
    tolerance: float = FLOAT32_TOLERANCE,
) -> dict[str, float]:
    """Runs a SavedModel on crops and compares its heatmaps with those of the model, its keypoints with its heatmaps'.

    Keypoints are compared as by `keypoint_difference`.

    Args:
        path: a folder of `export_saved_model`.
        model, crops, tolerance: as in `check_heatmaps`; keypoints may differ by `tolerance` crop pixels or in score.
        card: the `ModelCard` that it was exported with.
        flip_test: whether it was exported with the flip test.

    Returns:
        {"heatmaps" or "keypoints": largest absolute difference}; of a network of whole images {"heatmaps" (the
        network's outputs) or "maps": ...}.

    Raises:
        InputError: as in `check_heatmaps`.
    """
    if card.kind == BOTTOM_UP:
        return _check_whole_images(path, model, crops, card, flip_test, tolerance)
    crops = checked_crops(crops, model)
    expected = model_heatmaps(model, crops)
    loaded = tf.saved_model.load(str(path))
    with without_tensor_float_32():
        run = heatmap_runner(path)
        heatmaps = _in_batches(run, crops)
        decoded = heatmaps
        if flip_test:
            mirrored = _in_batches(run, crops[:, :, ::-1])
            shift = get_codec(card.codec).flip_shift
            decoded = 0.5 * (heatmaps + flip_back(mirrored, card.skeleton.flip_pairs, shift).numpy())
        serve = loaded.signatures["serving_default"]
        keypoints = _in_batches(lambda batch: serve(images=tf.constant(batch))["keypoints"].numpy(), crops)
    differences = {
        "heatmaps": float(np.abs(heatmaps - expected).max()),
        "keypoints": float(keypoint_difference(keypoints, decoded, tolerance, card.codec, card.decoding)),
    }
    check_difference(differences["heatmaps"], tolerance * _scale(expected), f"{Path(path).name} (heatmaps)")
    check_difference(differences["keypoints"], tolerance, f"{Path(path).name} (keypoints)")
    return differences


def _check_whole_images(path, model, crops, card, flip_test, tolerance):
    """`check_saved_model` of a network of whole images: its outputs, and the maps that are made of them."""
    crops = checked_crops(crops, model)
    flip_pairs = card.skeleton.flip_pairs if flip_test else None
    expected = model_heatmaps(model, crops)
    mirrored = {} if flip_pairs is None else model_heatmaps(model, crops[:, :, ::-1])
    both = {key: np.concatenate([maps, mirrored.get(key, maps[:0])]) for key, maps in expected.items()}
    heatmaps, tags = enlarge(average(both, flip_pairs), crops.shape[1:3])
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    with without_tensor_float_32():
        outputs = _in_batches(heatmap_runner(path), crops)
        maps = _in_batches(lambda batch: tf.nest.map_structure(np.array, serve(images=tf.constant(batch))), crops)
    differences = {
        "heatmaps": float(largest_difference(outputs, expected)),
        "maps": float(largest_difference(maps, {"heatmaps": heatmaps.numpy(), "tags": tags.numpy()})),
    }
    for name, difference in differences.items():
        check_difference(difference, tolerance * _scale(expected), f"{Path(path).name} ({name})")
    return differences


def model_heatmaps(model: "keras.Model", crops: np.ndarray) -> Any:
    """Heatmaps [N,h,w,K] of `crops` by `model` in float32, whatever its dtype policy and the processor's habits.

    Of a network of whole images its outputs, in a dict.
    """
    network = float32_clone(model)
    with without_tensor_float_32():
        return _in_batches(lambda batch: tf.nest.map_structure(np.array, network(batch, training=False)), crops)


def largest_difference(found: Any, expected: Any) -> float:
    """The largest absolute difference of arrays, or of arrays in dicts."""
    tf.nest.assert_same_structure(found, expected)
    pairs = zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True)
    return np.max([np.abs(one - other).max() for one, other in pairs])  # not a number where one is not


def _in_batches(run, crops):
    """The arrays that `run` gives for batches of `crops`, as one."""
    with memory_advice(_MEMORY_ADVICE):
        parts = [run(crops[start : start + _BATCH_SIZE]) for start in range(0, len(crops), _BATCH_SIZE)]
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _scale(heatmaps):
    """What tolerances are relative to."""
    return max(1.0, *(np.abs(maps).max() for maps in tf.nest.flatten(heatmaps)))


def check_difference(difference: float, allowed: float, name: str) -> None:
    """Raises InputError unless the difference of the export `name` is a number up to `allowed`."""
    if np.isnan(difference) or difference > allowed:
        raise InputError(
            f"the export {name} differs from the model by {difference:.3g}, more than the {allowed:.3g} "
            "allowed (nan: a heatmap is not finite)"
        )


def checked_crops(crops: np.ndarray | None, model: "keras.Model") -> np.ndarray:
    """`crops` as an array, or noise for None; InputError unless they are [N,H,W,3] uint8 as `model` takes them."""
    size = model.input_shape[1:3]
    if None in size:  # of whole images, which may be of any
        size = _SOME_SIZE if crops is None else np.shape(crops)[1:3]
    if crops is None:
        return np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    crops = np.asarray(crops)
    if crops.dtype != np.uint8 or crops.shape[1:] != (*size, 3) or not len(crops):
        raise InputError(
            f"crops must be [N,{size[0]},{size[1]},3] uint8, at least one. Received: {list(crops.shape)} {crops.dtype}"
        )
    return crops


def keypoint_difference(
    keypoints: np.ndarray, heatmaps: np.ndarray, tolerance: float, codec: str = "msra", refine: str = "quarter"
) -> float:
    """Largest difference of keypoints from those of heatmaps, in score and, where it is clear, in position.

    A position is clear if no change of the heatmaps within the tolerance could move it to another pixel or
    quarter: of two equal maxima, rounding decides which one is the keypoint.

    Args:
        keypoints: [B,K,3] x and y in crop pixels and score.
        heatmaps: [B,h,w,K].
        tolerance: in crop pixels, and in heatmap values relative to their largest or 1.
        codec: a name in `hrnet_tf.heatmaps.CODECS`.
        refine: one of `hrnet_tf.heatmaps.REFINEMENTS`.
    """
    height, width = heatmaps.shape[1:3]
    stride = crop_pixels((height * HEATMAP_STRIDE, width * HEATMAP_STRIDE), codec)

    def locate(heatmaps):
        return decode(heatmaps, refine).numpy() * [*stride, 1]

    expected = locate(heatmaps)
    of_maximum = refine != "integral"
    clear = _is_clear(heatmaps, tolerance * _scale(heatmaps)) if of_maximum else np.ones(expected.shape[:2], bool)
    if refine in ("dark", "udp", "integral"):
        # These move with every value around the maximum, the further the flatter it is, or with all values.
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
