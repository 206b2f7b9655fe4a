"""Augmented crops for training, of which an image is decoded once an epoch for all samples of it.

Shape legend: B batch, n samples of one image.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import SupportsInt

import numpy as np

from hrnet_tf import geometry
from hrnet_tf.data.records import read_image, read_shrunk
from hrnet_tf.data.sequence import SampleSequence
from hrnet_tf.errors import InputError
from hrnet_tf.workers import WHOLE, Share

# The arrays of a sample, as its sequence cuts it.
_Sample = tuple[np.ndarray, ...]


class TrainingCrops:
    """Cuts the batches of a training run; called from the pipeline's threads.

    When the first person of an image has its turn, the crops of the others whose turn comes in the
    same epoch are cut too and kept until then: at most some `order.WINDOW` crops, 150 MB of 256x192.
    Of whole images, which have one turn each, nothing is kept.
    What a sample shows follows from the seed and its number, so that it makes no difference when it is cut.
    """

    def __init__(
        self,
        sequence: SampleSequence,
        first_step: int,
        last_step: int,
        on_bad_image: Callable[[InputError], None] | None = None,
        share: Share = WHOLE,
        reduced: bool = False,
    ):
        """Takes what the samples are, and the other arguments of `pipeline.keypoint_dataset`."""
        self.sequence, self.records, self.batch_size = sequence, sequence.records, sequence.batch_size
        self.on_bad_image, self.reduced = on_bad_image, reduced
        self.own = range(self.batch_size)[share.of(self.batch_size)]
        self.samples = range(first_step * self.batch_size, last_step * self.batch_size)
        self._kept: dict[tuple[int, int], futures.Future[dict[int, _Sample | None]]] = {}  # crops by epoch and image
        self._lock = threading.Lock()

    def __call__(self, step: SupportsInt) -> tuple[np.ndarray, ...]:
        """Cuts this worker's share of batch number `step`: the arrays of its b samples, [b,...] each."""
        first = int(step) * self.batch_size
        crops = [self._take(first + turn) for turn in self.own]
        return tuple(np.stack(parts) for parts in zip(*crops, strict=True))

    def cut(self, image: np.ndarray, samples: Sequence[int], factor: int = 1) -> list[_Sample]:
        """Cuts n samples of one image.

        Args:
            image: [height,width,3] uint8.
            samples: their numbers.
            factor: of `SampleSequence.cut`.

        Returns:
            n times the arrays of `SampleSequence.cut`.
        """
        return [self.sequence.cut(image, self.sequence.frame(sample), factor) for sample in samples]

    def _take(self, sample):
        """One sample: kept, or cut now with the rest of its image."""
        subject = self.sequence.subject(sample)
        if self.sequence.is_second_turn(sample):
            return self._cut_alone(sample, subject)
        key = sample // self.sequence.epoch_samples, int(self.records.image_index[subject])
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
        return crop or self._cut_alone(sample, subject)

    def _cut_image(self, epoch, image):
        """{sample: crop, or None if the image cannot be read} of an image in this epoch and run."""
        everyone = self.sequence.of_image(epoch, image)  # of other workers and runs too: all read it alike
        samples = [sample for sample in everyone if self._is_own(sample)]
        try:
            pixels, factor = self._read(self.records.image_paths[image], map(self.sequence.frame, everyone))
        except InputError as error:
            if self.on_bad_image is None:
                raise
            self.on_bad_image(error)
            return dict.fromkeys(samples)
        return dict(zip(samples, self.cut(pixels, samples, factor), strict=True))

    def _read(self, path, frames):
        """An image, and by how much its sides are shorter than in the file; it must not be too coarse for `frames`."""
        if not self.reduced:
            return read_image(path), 1
        return read_shrunk(path, geometry.reduction([frame.matrices for frame in frames]))

    def _of_image(self, sample):
        """The frames of all samples of its image and epoch, those of other workers and of runs before too.

        So it does not matter who reads the image and when. They are drawn as they are iterated.
        """
        epoch, image = sample // self.sequence.epoch_samples, self.records.image_index[self.sequence.subject(sample)]
        return map(self.sequence.frame, self.sequence.of_image(epoch, int(image)))

    def _is_own(self, sample):
        return sample in self.samples and sample % self.batch_size in self.own

    def _cut_alone(self, sample, subject):
        """One sample of `subject`, whose turn it is, or of the next one whose image can be read."""
        for candidate in range(subject, subject + len(self.records)):
            candidate %= len(self.records)
            is_own = candidate == subject
            frame = self.sequence.frame(sample) if is_own else self.sequence.substitute(sample, candidate)
            with_others = is_own and not self.sequence.is_second_turn(sample)
            try:
                frames = self._of_image(sample) if with_others else [frame]
                image, factor = self._read(self.records.path(candidate), frames)
            except InputError as error:
                if self.on_bad_image is None:
                    raise
                self.on_bad_image(error)
                continue
            return self.sequence.cut(image, frame, factor)
        raise InputError("none of the images can be read")
