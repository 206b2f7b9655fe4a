"""Augmented crops for training, of which an image is decoded once an epoch for all its people.

Shape legend: B batch, H and W crop, K keypoints, n people of one image.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import SupportsInt

import numpy as np

from hrnet_tf import geometry, heatmaps
from hrnet_tf.data.augment import Augmentation, sample_crop
from hrnet_tf.data.order import EpochOrder, steps_per_epoch
from hrnet_tf.data.records import PersonRecords, read_image
from hrnet_tf.errors import InputError
from hrnet_tf.skeletons import flip_order

# A crop [H,W,3] uint8, its keypoints [K,2] float32 and visible [K] float32.
_Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


class TrainingCrops:
    """Cuts the batches of a training run; called from the pipeline's threads.

    When the first person of an image has its turn, the crops of the others whose turn comes in the
    same epoch are cut too and kept until then: at most some `order.WINDOW` crops, 150 MB of 256x192.
    Random numbers follow from the seed and the number of the sample, so that it makes no difference
    when a crop is cut.
    """

    def __init__(
        self,
        records: PersonRecords,
        input_size: tuple[int, int],
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        first_step: int,
        last_step: int,
        on_bad_image: Callable[[InputError], None] | None = None,
        codec: str = "msra",
    ):
        """Takes the arguments of `pipeline.training_dataset`."""
        self.records, self.input_size, self.batch_size = records, input_size, batch_size
        self.augmentation, self.seed, self.on_bad_image = augmentation, seed, on_bad_image
        self.samples = range(first_step * batch_size, last_step * batch_size)
        self.epoch_samples = steps_per_epoch(len(records), batch_size) * batch_size
        self.align_corners = heatmaps.get_codec(codec).align_corners
        self.center, self.size = records.crops(input_size)
        self.flip_order = flip_order(records.skeleton.flip_pairs, records.skeleton.num_keypoints)
        self._order = EpochOrder(records.image_index, seed)
        self._kept: dict[tuple[int, int], futures.Future[dict[int, _Sample | None]]] = {}  # crops by epoch and image
        self._lock = threading.Lock()

    def __call__(self, step: SupportsInt) -> tuple[np.ndarray, ...]:
        """Cuts batch number `step`.

        Returns:
            crops [B,H,W,3] uint8, keypoints [B,K,2] float32 in crop pixels, visible [B,K] float32.
        """
        first = int(step) * self.batch_size
        crops = [self._take(sample) for sample in range(first, first + self.batch_size)]
        return tuple(np.stack(parts) for parts in zip(*crops, strict=True))

    def person(self, sample: int) -> int:
        """Whose turn it is in sample number `sample`."""
        epoch, turn = divmod(sample, self.epoch_samples)
        return int(self._order.people(epoch)[turn % len(self.records)])

    def cut(self, image: np.ndarray, people: Sequence[int] | np.ndarray, samples: Sequence[int]) -> list[_Sample]:
        """Cuts samples of n people of one image.

        Args:
            image: [height,width,3] uint8.
            people: n indices into the records.
            samples: their n numbers.

        Returns:
            n times crop [H,W,3] uint8, keypoints [K,2] float32 in crop pixels, visible [K] float32.
        """
        records = self.records
        drawn = [
            sample_crop(
                np.random.default_rng([self.seed, 1, sample]),
                self.center[person],
                self.size[person],
                records.keypoints[person],
                records.visible[person],
                records.skeleton.upper_body,
                self.augmentation,
            )
            for sample, person in zip(samples, people, strict=True)
        ]
        center, size, rotation, flip = (np.array(column) for column in zip(*drawn, strict=True))
        mirror = np.where(flip[:, None, None], geometry.mirror_matrix(image.shape[1]), np.eye(2, 3, dtype=np.float32))
        center = geometry.transform_points(center[:, None], mirror)[:, 0]
        crop = geometry.affine_matrix(center, size, rotation, self.input_size, align_corners=self.align_corners)
        matrices = geometry.compose(crop, mirror)
        sides = np.where(flip[:, None], self.flip_order, np.arange(len(self.flip_order)))  # [n,K]
        points = np.take_along_axis(records.keypoints[people], sides[..., None], axis=1)
        points = geometry.transform_points(points, matrices)
        visible = np.take_along_axis(records.visible[people], sides, axis=1)
        crops = [geometry.warp(image, matrix, self.input_size) for matrix in matrices]
        return list(zip(crops, points, visible, strict=True))

    def _take(self, sample):
        """One sample: kept, or cut now with the rest of its image."""
        person, (epoch, turn) = self.person(sample), divmod(sample, self.epoch_samples)
        if turn >= len(self.records):
            return self._cut_alone(sample, person)  # fills up the last batch, a second time in this epoch
        key = epoch, int(self.records.image_index[person])
        with self._lock:
            is_first = key not in self._kept
            kept = self._kept.setdefault(key, futures.Future())
        if is_first:
            try:
                kept.set_result(self._cut_image(*key))
            except Exception as error:
                kept.set_exception(error)
        crops = kept.result()
        with self._lock:
            crop = crops.pop(sample, None)
            if not crops:
                self._kept.pop(key, None)
        # Nothing was kept of an image that cannot be read, or by an iteration that was broken off.
        return crop or self._cut_alone(sample, person)

    def _cut_image(self, epoch, image):
        """{sample: crop, or None if the image cannot be read} of its people in this epoch and run."""
        people, turns = self._order.of_image(epoch, image)
        samples = epoch * self.epoch_samples + turns
        wanted = [sample in self.samples for sample in samples.tolist()]
        people, samples = people[wanted], samples[wanted].tolist()
        try:
            pixels = read_image(self.records.image_paths[image])
        except InputError as error:
            if self.on_bad_image is None:
                raise
            self.on_bad_image(error)
            return dict.fromkeys(samples)
        return dict(zip(samples, self.cut(pixels, people, samples), strict=True))

    def _cut_alone(self, sample, person):
        """One sample of `person`, or of the next one whose image can be read."""
        for candidate in range(person, person + len(self.records)):
            candidate %= len(self.records)
            try:
                image = read_image(self.records.path(candidate))
            except InputError as error:
                if self.on_bad_image is None:
                    raise
                self.on_bad_image(error)
                continue
            return self.cut(image, [candidate], [sample])[0]
        raise InputError("none of the images can be read")
