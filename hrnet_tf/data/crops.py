"""Augmented crops for training, of which an image is decoded once an epoch for all its people.

Shape legend: B batch, H and W crop, K keypoints, n samples of one image.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import SupportsInt

import numpy as np

from hrnet_tf import geometry
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.records import PersonRecords, read_image
from hrnet_tf.data.sequence import CropSequence, Frames
from hrnet_tf.errors import InputError

# A crop [H,W,3] uint8, its keypoints [K,2] float32 and visible [K] float32.
_Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


class TrainingCrops:
    """Cuts the batches of a training run; called from the pipeline's threads.

    When the first person of an image has its turn, the crops of the others whose turn comes in the
    same epoch are cut too and kept until then: at most some `order.WINDOW` crops, 150 MB of 256x192.
    What a sample shows follows from the seed and its number, so that it makes no difference when it is cut.
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
        self.on_bad_image = on_bad_image
        self.samples = range(first_step * batch_size, last_step * batch_size)
        self.sequence = CropSequence(records, input_size, batch_size, augmentation, seed, codec)
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

    def cut(self, image: np.ndarray, samples: Sequence[int]) -> list[_Sample]:
        """Cuts n samples whose people are in one image.

        Args:
            image: [height,width,3] uint8.
            samples: their numbers.

        Returns:
            n times crop [H,W,3] uint8, keypoints [K,2] float32 in crop pixels, visible [K] float32.
        """
        return [self._cut(image, self.sequence.frame(sample)) for sample in samples]

    def _cut(self, image, frame: Frames):
        return geometry.warp(image, frame.matrices, self.input_size), frame.keypoints, frame.visible

    def _take(self, sample):
        """One sample: kept, or cut now with the rest of its image."""
        person = self.sequence.person(sample)
        if self.sequence.is_second_turn(sample):
            return self._cut_alone(sample, person)
        key = sample // self.sequence.epoch_samples, int(self.records.image_index[person])
        with self._lock:
            kept = self._kept.get(key)
            is_first = kept is None
            if is_first:
                kept = self._kept[key] = futures.Future()
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
        samples = [sample for sample in self.sequence.of_image(epoch, image) if sample in self.samples]
        try:
            pixels = read_image(self.records.image_paths[image])
        except InputError as error:
            if self.on_bad_image is None:
                raise
            self.on_bad_image(error)
            return dict.fromkeys(samples)
        return dict(zip(samples, self.cut(pixels, samples), strict=True))

    def _cut_alone(self, sample, person):
        """One sample of `person`, whose turn it is, or of the next one whose image can be read."""
        for candidate in range(person, person + len(self.records)):
            candidate %= len(self.records)
            try:
                image = read_image(self.records.path(candidate))
            except InputError as error:
                if self.on_bad_image is None:
                    raise
                self.on_bad_image(error)
                continue
            is_own = candidate == person
            frame = self.sequence.frame(sample) if is_own else self.sequence.substitute(sample, candidate)
            return self._cut(image, frame)
        raise InputError("none of the images can be read")
