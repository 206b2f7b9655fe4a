"""Keypoints of people in images: crop, network, flip test, decoding and the way back to the image.

Training, evaluation and prediction all go through here.

Shape legend: B batch, H and W crop, h = H/4 and w = W/4 heatmap, N people, K keypoints.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hrnet_tf import geometry, heatmaps, progress
from hrnet_tf.ahead import one_late
from hrnet_tf.data.pipeline import evaluation_dataset, input_error
from hrnet_tf.data.records import PersonRecords, read_image
from hrnet_tf.errors import InputError
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.visualize import contact_sheet, draw_keypoints
from hrnet_tf.workers import distributed, share_of, total


def make_predict_function(
    strategy: tf.distribute.Strategy,
    model: Callable | Runner,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    use_xla: bool = False,
    codec: str = "msra",
    refine: str | None = None,
) -> Any:
    """Builds the function from crops to keypoints.

    Args:
        strategy: the tf.distribute.Strategy that the model was built under.
        model: images [B,H,W,3] -> heatmaps [B,h,w,K], in a TensorFlow graph; or a `Runner`.
        flip_pairs: for the flip test: the mirrored crop's heatmaps are mirrored back and averaged
            with the crop's. None leaves it out.
        use_xla: compile it.
        codec: that the model was trained with, a name in `heatmaps.CODECS`.
        refine: one of `heatmaps.REFINEMENTS`, instead of the codec's own.

    Returns:
        A tf.function: images [B,H,W,3], possibly per replica, -> [B,K,3] likewise, x and y in
        heatmap pixels and score. With a `Runner`, a plain function that gives those of all replicas as one.

    Raises:
        ValueError: an unknown `codec`.
    """
    refine = refine or heatmaps.get_codec(codec).refine

    def locate(maps):
        return heatmaps.decode(_averaged(maps, flip_pairs, codec), refine)

    if isinstance(model, Runner):
        compiled = tf.function(locate, reduce_retracing=True, jit_compile=use_xla)
        return lambda images: compiled(model(_with_mirrored(_gathered(strategy, images), flip_pairs).numpy()))

    @tf.function(jit_compile=use_xla)
    def compiled_replica(images):
        return locate(model(_with_mirrored(images, flip_pairs), training=False))

    @tf.function
    def predict(images):
        # A tf.function itself would become one function over all replicas, with everybody's variables.
        return strategy.run(lambda images: compiled_replica(images), args=(images,))

    return predict


def make_heatmap_function(
    model: Callable | Runner, flip_pairs: Sequence[tuple[int, int]] | None = None, codec: str = "msra"
) -> Callable[[tf.Tensor], Any]:
    """Builds the function from crops [B,H,W,3] to the heatmaps [B,h,w,K] that keypoints are decoded from.

    Args:
        model, flip_pairs, codec: as of `make_predict_function`.

    Returns:
        it; what it gives is a tensor, or of a `Runner` a numpy array.
    """
    if isinstance(model, Runner):
        return lambda images: _averaged(model(_with_mirrored(images, flip_pairs).numpy()), flip_pairs, codec)

    @tf.function(reduce_retracing=True)
    def averaged(images):
        return _averaged(model(_with_mirrored(images, flip_pairs), training=False), flip_pairs, codec)

    return averaged


def _with_mirrored(images, flip_pairs):
    """The images, with the flip test those of them mirrored behind them."""
    return images if flip_pairs is None else tf.concat([images, tf.reverse(images, axis=[2])], axis=0)


def _averaged(maps, flip_pairs, codec):
    """The heatmaps, with the flip test the mean with those of the mirrored images, which are behind them."""
    if flip_pairs is None:
        return maps
    maps, mirrored = tf.split(maps, 2)
    return 0.5 * (maps + heatmaps.flip_back(mirrored, flip_pairs, heatmaps.get_codec(codec).flip_shift))


def _gathered(strategy, images):
    """The images of all replicas in one tensor."""
    return tf.concat(strategy.experimental_local_results(images), axis=0)


def predict_people(
    predict: Callable,
    records: PersonRecords,
    input_size: tuple[int, int],
    batch_size: int,
    strategy: tf.distribute.Strategy,
    on_bad_image: Callable[[InputError], None] | None = None,
    codec: str = "msra",
) -> tuple[np.ndarray, PersonRecords]:
    """Keypoints of everybody in `records`, each person predicted once however many replicas and machines there are.

    Args:
        predict: of `make_predict_function`.
        records: `PersonRecords` of N people.
        input_size: (H, W) of the crops.
        batch_size: people in a batch, on all replicas together.
        strategy: the one that `predict` was made with.
        on_bad_image: as in `evaluation_dataset`; by default an image that cannot be read ends it.
        codec: the one that `predict` was made with.

    Returns:
        keypoints [M,K,3] float32, x and y in image pixels and score, and the `PersonRecords` of
        these M people: all but those whose image could not be read.

    Raises:
        InputError: an image cannot be read, or none of them with `on_bad_image`.
    """
    keypoints = np.zeros((len(records), records.skeleton.num_keypoints, 3), np.float32)
    found = np.zeros(len(records), bool)
    share = share_of(strategy)
    dataset = evaluation_dataset(records, input_size, batch_size, on_bad_image, codec, share)
    try:
        with progress.bar("predicting", len(records), "people") as shown:
            batches = distributed(strategy, dataset)
            for results, people in one_late((predict(images), people) for images, people in batches):
                results, people = (
                    np.concatenate([part.numpy() for part in strategy.experimental_local_results(values)])
                    for values in (results, people)
                )
                keypoints[people[people >= 0]] = results[people >= 0]
                found[people[people >= 0]] = True
                shown.update(min(len(people) * share.count, len(records) - shown.n))
        keypoints, found = total(strategy, keypoints), total(strategy, found.astype(np.int32)) > 0
    except tf.errors.OpError as error:
        raise input_error(error) or error from error
    if not found.any():
        raise InputError("none of the images can be read")
    keypoints[..., :2] = to_image(keypoints[..., :2], records, input_size, codec)
    return keypoints[found], records.take(found)


def to_image(
    points: np.ndarray, records: PersonRecords, input_size: tuple[int, int], codec: str = "msra"
) -> np.ndarray:
    """Points [N,K,2] of everybody's heatmaps, of crops of (H, W) cut as `codec` does, in image pixels."""
    return geometry.transform_points(points, heatmap_matrices(records, input_size, codec))


def heatmap_matrices(records: PersonRecords, input_size: tuple[int, int], codec: str = "msra") -> np.ndarray:
    """[N,2,3] matrices from pixels of everybody's heatmaps, of crops of (H, W) cut as `codec` does, to image pixels."""
    height, width = input_size
    heatmap_size = height // heatmaps.HEATMAP_STRIDE, width // heatmaps.HEATMAP_STRIDE
    align_corners = heatmaps.get_codec(codec).align_corners
    return geometry.affine_matrix(
        *records.crops(input_size), 0, heatmap_size, inverse=True, align_corners=align_corners
    )


def prediction_sheet(
    keypoints: np.ndarray,
    records: PersonRecords,
    num_images: int = 16,
    columns: int = 4,
    cell_size: tuple[int, int] = (320, 320),
) -> np.ndarray:
    """A picture of the predictions in the first images that have any, or where none has in the first images.

    Args:
        keypoints: [N,K,3] in image pixels, of `records`.
        records: `PersonRecords` of N people.
        num_images: at most this many images.
        columns: images in a row.
        cell_size: (height, width) of an image in the picture.

    Returns:
        [H,W,3] uint8 RGB.
    """
    pictures = []
    shown = np.unique(records.image_index) if len(records) else np.arange(len(records.image_paths))
    for index in shown[:num_images]:
        image = read_image(records.image_paths[index])
        pictures.append(draw_keypoints(image, keypoints[records.image_index == index], records.skeleton))
    return contact_sheet(pictures, min(columns, len(pictures)), cell_size)
