"""tf.data pipelines: people or whole images in, batches of crops out.

Every batch has the same static shape. Random numbers follow from (seed, number of the sample), so
that batches do not depend on threads and a run can be resumed at any step.

Shape legend: B batch, H and W crop, h = H/4 and w = W/4 heatmap, K keypoints.
"""

import os
import weakref
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hrnet_tf import geometry, heatmaps
from hrnet_tf.data.augment import Augmentation, ImageAugmentation
from hrnet_tf.data.crops import TrainingCrops
from hrnet_tf.data.images import ImageRecords
from hrnet_tf.data.order import steps_per_epoch
from hrnet_tf.data.records import PersonRecords, read_image
from hrnet_tf.data.sequence import CropSequence, ImageSequence
from hrnet_tf.data.targets import Targets
from hrnet_tf.errors import InputError
from hrnet_tf.workers import WHOLE, Share

# Batches made at a time: more than there are processors, as some wait for an image that another is reading; and no
# more than Python's lock, held for 6 % of the work, can make use of.
_PARALLEL_CALLS = min(2 * (os.cpu_count() or 1), 16)
_PREFETCHED = 2  # batches, beside those in the making


def keypoint_dataset(
    records: PersonRecords,
    input_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    first_step: int,
    last_step: int,
    on_bad_image: Callable[[InputError], None] | None = None,
    codec: str = "msra",
    share: Share = WHOLE,
    reduced: bool = False,
) -> tf.data.Dataset:
    """Batches of augmented crops with their keypoints, for steps `first_step` up to `last_step`.

    Training makes the targets of them on its devices, by `targets.Targets`: they are larger than the crops.

    Args:
        records: `PersonRecords`.
        input_size: (H, W).
        batch_size: B, people of all replicas together.
        augmentation: an `Augmentation`.
        seed: integer; the same seed gives the same batches.
        first_step: number of the first batch, counted from the start of training.
        last_step: number of the batch to stop before.
        on_bad_image: called with the InputError of an image that cannot be read; somebody else
            takes the person's place then. By default the error ends the iteration
            (as a tf.errors.OpError; see `input_error`).
        codec: of the crops, a name in `heatmaps.CODECS`.
        share: the part of every batch that is wanted.
        reduced: read JPEG images at a half, quarter or eighth of their sides where their crops are no finer.

    Returns:
        tf.data.Dataset of (images [B,H,W,3] uint8 RGB, keypoints [B,K,2] float32 in crop pixels,
        visible [B,K] float32, whether a keypoint is annotated).

    Raises:
        ValueError: an unknown `codec`.
    """
    sequence = CropSequence(records, input_size, batch_size, augmentation, seed, codec)
    return _training(TrainingCrops(sequence, first_step, last_step, on_bad_image, share, reduced))


def image_dataset(
    records: ImageRecords,
    input_size: tuple[int, int],
    batch_size: int,
    augmentation: ImageAugmentation,
    seed: int,
    first_step: int,
    last_step: int,
    on_bad_image: Callable[[InputError], None] | None = None,
    share: Share = WHOLE,
    reduced: bool = False,
) -> tf.data.Dataset:
    """Batches of augmented crops of whole images with everybody in them, for steps `first_step` up to `last_step`.

    Training makes the targets of them on its devices, by `targets.ImageTargets`.

    Args:
        records: `ImageRecords`.
        input_size: (H, W), both the same.
        batch_size: B, images of all replicas together.
        augmentation: an `ImageAugmentation`.
        seed, first_step, last_step, on_bad_image, share, reduced: of `keypoint_dataset`.

    Returns:
        tf.data.Dataset of (images [B,H,W,3] uint8 RGB, keypoints [B,P,K,2] float32 in crop pixels, visible [B,P,K]
        float32, mask [B,H/2,W/2] uint8, 1 where the loss counts), with P = `images.MAX_PEOPLE`.
    """
    sequence = ImageSequence(records, input_size, batch_size, augmentation, seed)
    return _training(TrainingCrops(sequence, first_step, last_step, on_bad_image, share, reduced))


def _training(crops):
    """Batches of `TrainingCrops`, as a dataset."""
    sequence, samples = crops.sequence, crops.samples

    def load(step):
        arrays = tf.numpy_function(_weakly(crops), [step], sequence.dtypes, stateful=False)
        shapes = [(len(crops.own), *shape) for shape in sequence.shapes]
        return tuple(tf.ensure_shape(*pair) for pair in zip(arrays, shapes, strict=True))

    steps = samples.start // sequence.batch_size, samples.stop // sequence.batch_size
    return _unsharded(tf.data.Dataset.range(*steps).map(load, num_parallel_calls=_PARALLEL_CALLS))


def training_dataset(
    records: PersonRecords,
    input_size: tuple[int, int],
    batch_size: int,
    sigma: float,
    augmentation: Augmentation,
    seed: int,
    first_step: int,
    last_step: int,
    on_bad_image: Callable[[InputError], None] | None = None,
    codec: str = "msra",
    keypoint_weights: ArrayLike | None = None,
    supervise_absent: bool = False,
) -> tf.data.Dataset:
    """Batches of augmented crops with their targets: those of `keypoint_dataset`, and of `Targets`.

    Args:
        records, input_size, batch_size, augmentation, seed, first_step, last_step, on_bad_image, codec: of
            `keypoint_dataset`.
        sigma, keypoint_weights, supervise_absent: of `Targets`.

    Returns:
        tf.data.Dataset of (images [B,H,W,3] uint8 RGB, heatmaps [B,h,w,K] float32,
        target_weight [B,K] float32).

    Raises:
        ValueError: an unknown `codec`, or not K `keypoint_weights`.
    """
    targets = Targets(
        input_size, records.skeleton.num_keypoints, sigma, codec, keypoint_weights, supervise_absent=supervise_absent
    )
    crops = keypoint_dataset(
        records, input_size, batch_size, augmentation, seed, first_step, last_step, on_bad_image, codec
    )
    return _unsharded(
        crops.map(lambda images, *labels: (images, *targets(*labels)), num_parallel_calls=_PARALLEL_CALLS)
    )


def evaluation_dataset(
    records: PersonRecords,
    input_size: tuple[int, int],
    batch_size: int,
    on_bad_image: Callable[[InputError], None] | None = None,
    codec: str = "msra",
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Batches of everybody's crop, each person once and in order.

    Args:
        records: `PersonRecords`.
        input_size: (H, W).
        batch_size: B; the last batch is filled up with black crops.
        on_bad_image: as in `training_dataset`; the crop is black then.
        codec: of the crops, a name in `heatmaps.CODECS`.
        share: of `keypoint_dataset`.

    Returns:
        tf.data.Dataset of (images [B,H,W,3] uint8 RGB, person [B] int64: index into `records`, -1
        for a black crop).
    """
    matrices = crop_matrices(records, input_size, codec)

    def cut(people):
        """Crops [B,H,W,3] of `people` [B], and who they are; a person of -1 is a black crop."""
        images, people = np.zeros((len(people), *input_size, 3), np.uint8), people.copy()
        path, image = None, None
        for slot, person in enumerate(people):
            if person < 0:
                continue
            if records.path(person) != path:
                path = records.path(person)
                try:
                    image = read_image(path)
                except InputError as error:
                    if on_bad_image is None:
                        raise
                    on_bad_image(error)
                    image = None
            if image is None:
                people[slot] = -1
            else:
                images[slot] = geometry.warp(image, matrices[person], input_size)
        return images, people

    def load(people):
        images, people = tf.numpy_function(_weakly(cut), [people], (tf.uint8, tf.int64), stateful=False)
        size = batch_size // share.count
        return tf.ensure_shape(images, (size, *input_size, 3)), tf.ensure_shape(people, (size,))

    padded = np.full(steps_per_epoch(len(records), batch_size) * batch_size, -1, np.int64)
    padded[: len(records)] = np.arange(len(records))
    dataset = tf.data.Dataset.from_tensor_slices(padded.reshape(-1, batch_size)[:, share.of(batch_size)])
    return _unsharded(dataset.map(load, num_parallel_calls=_PARALLEL_CALLS))


def crop_matrices(records: PersonRecords, input_size: tuple[int, int], codec: str = "msra") -> np.ndarray:
    """[N,2,3] matrices from image to crop pixels of everybody's plain crop, cut as `codec` does."""
    align_corners = heatmaps.get_codec(codec).align_corners
    return geometry.affine_matrix(*records.crops(input_size), 0, input_size, align_corners=align_corners)


def input_error(error: tf.errors.OpError) -> InputError | None:
    """The InputError behind the tf.errors.OpError that a failed read becomes in a pipeline, else None."""
    _, found, text = str(error).partition("InputError: ")
    return InputError(text.splitlines()[0]) if found else None


def _weakly(function):
    """`function`, but not kept alive by whoever holds this.

    TensorFlow never lets go of what a `tf.numpy_function` has been given. The dataset holds `function` itself, in the
    closure of what it maps.
    """
    reference = weakref.ref(function)
    return tf.autograph.experimental.do_not_convert(lambda *arrays: reference()(*arrays))


def _unsharded(dataset):
    """Prefetches, and keeps a distribution strategy from splitting the dataset by files.

    Without tf.data's tuning: an iterator that is done with waits until that wakes up, which is up to as long again
    as it was in use, and a minute at most.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(_PREFETCHED).with_options(options)
