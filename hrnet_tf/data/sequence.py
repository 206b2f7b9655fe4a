"""What the samples of a training run show: whose turn it is, and how the crop is drawn.

It is drawn and computed for a block of turns at a time, as numpy takes as long for one sample as for a hundred.

Shape legend: n samples, H and W crop, P people of an image, K keypoints.
"""

import abc
import threading
from typing import NamedTuple, Self

import numpy as np

from hrnet_tf import geometry, heatmaps
from hrnet_tf.data.augment import Augmentation, ImageAugmentation, sample_crops, sample_image_crops
from hrnet_tf.data.images import MAX_PEOPLE, STRIDES, ImageRecords
from hrnet_tf.data.order import EpochOrder, steps_per_epoch
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.regions import counted
from hrnet_tf.skeletons import flip_order

# To be raised whenever a seed comes to give other samples: a run that began with others is not continued then.
SEQUENCE_VERSION = 2

_BLOCK = 4096  # people
# As many are wanted at the border of two epochs, by samples whose image is read ahead of their turn; 1 MB each.
_KEPT_BLOCKS = 4


class Frames(NamedTuple):
    """How crops are cut and what is in them, of n samples or, without the first axis, of one.

    Attributes:
        subjects: [n] whom or which image they show, numbers in the records.
        matrices: [n,2,3] float32, from image to crop pixels.
        keypoints: [n,K,2], or of whole images [n,P,K,2], float32, in crop pixels.
        visible: [n,K] or [n,P,K] float32, 1 for annotated keypoints.
    """

    subjects: np.ndarray
    matrices: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray

    def of(self, row: int) -> Self:
        """The frame of one sample."""
        return type(self)(*(part[row] for part in self))


class SampleSequence(abc.ABC):
    """The samples of a training run, which follow from the seed and the number of the sample alone.

    Attributes:
        records: whom or what the samples show, the subjects.
        batch_size: samples in a batch.
        epoch_samples: samples in an epoch: a turn of every subject, and second turns that fill up the last batch.
        shapes: of the arrays that `cut` gives.
        dtypes: of them.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[type, ...]
    _people = 1  # of a sample at most

    def __init__(
        self, records: PersonRecords | ImageRecords, input_size: tuple[int, int], batch_size: int, seed: int
    ) -> None:
        self.records, self.batch_size = records, batch_size
        self.epoch_samples = steps_per_epoch(len(records), batch_size) * batch_size
        self._input_size, self._seed = input_size, seed
        self._flip_order = flip_order(records.skeleton.flip_pairs, records.skeleton.num_keypoints)
        self._order = EpochOrder(records.image_index, seed)
        self._blocks: dict[tuple[int, int], Frames] = {}  # by epoch and number in it
        self._lock = threading.Lock()

    @abc.abstractmethod
    def cut(self, image: np.ndarray, frame: Frames, factor: int = 1) -> tuple[np.ndarray, ...]:
        """The arrays of a sample.

        Args:
            image: [height,width,3] uint8.
            frame: of the one sample.
            factor: by how much the image's sides are shorter than those that the frame is of.
        """

    @abc.abstractmethod
    def _frames(self, rng: np.random.Generator, subjects: np.ndarray) -> Frames:
        """`Frames` of n samples that show `subjects` [n]."""

    def subject(self, sample: int) -> int:
        """Whose turn it is in sample number `sample`."""
        epoch, turn = divmod(sample, self.epoch_samples)
        return int(self._order.people(epoch)[turn % len(self.records)])

    def is_second_turn(self, sample: int) -> bool:
        """Whether the sample fills up the last batch of its epoch."""
        return sample % self.epoch_samples >= len(self.records)

    def of_image(self, epoch: int, image: int) -> list[int]:
        """Numbers of the samples of an image, second turns left out."""
        return (epoch * self.epoch_samples + self._order.turns_of_image(epoch, image)).tolist()

    def frame(self, sample: int) -> Frames:
        """How sample number `sample` is cut from its image."""
        epoch, number, row = self._place(sample)
        with self._lock:
            if (epoch, number) not in self._blocks:
                first = number * self._block
                turns = np.arange(first, min(first + self._block, self.epoch_samples))
                subjects = self._order.people(epoch)[turns % len(self.records)]
                newest = [*self._blocks.items()][1 - _KEPT_BLOCKS :]
                self._blocks = dict(newest) | {(epoch, number): self._draw(subjects, epoch, 1 + number)}
            return self._blocks[epoch, number].of(row)

    def substitute(self, sample: int, subject: int) -> Frames:
        """How it is cut from the image of another subject, which takes the place of the one whose turn it is."""
        epoch, number, row = self._place(sample)
        return self._draw(np.array([subject]), epoch, 1 + number, 1 + row).of(0)

    def _crop(self, image, frame, factor):
        """[H,W,3] uint8."""
        matrix = frame.matrices if factor == 1 else geometry.of_reduced(frame.matrices, factor)
        return geometry.warp(image, matrix, self._input_size)

    @property
    def _block(self):
        return max(1, _BLOCK // self._people)

    def _place(self, sample):
        """Epoch, block in it and row of that."""
        epoch, turn = divmod(sample, self.epoch_samples)
        return epoch, *divmod(turn, self._block)

    def _draw(self, subjects, *numbers):
        """`Frames` of `subjects` [n], drawn by a generator of the seed and these numbers.

        Numbers but the first begin at 1: [seed, epoch] and [seed, epoch, 0] are the generator of the epoch's order.
        """
        return self._frames(np.random.default_rng([self._seed, *numbers]), subjects)

    def _mirrored(self, flip, keypoints, visible):
        """Keypoints [n,...,K,2] and visible [n,...,K] with left and right exchanged where an image is mirrored, [n]."""
        flip = flip.reshape(-1, *[1] * (visible.ndim - 1))
        sides = np.where(flip, self._flip_order, np.arange(len(self._flip_order)))
        return np.take_along_axis(keypoints, sides[..., None], axis=-2), np.take_along_axis(visible, sides, axis=-1)


class CropSequence(SampleSequence):
    """Samples of people, each cut by the box."""

    def __init__(
        self,
        records: PersonRecords,
        input_size: tuple[int, int],
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        codec: str = "msra",
    ):
        """Takes the arguments of `pipeline.training_dataset`."""
        super().__init__(records, input_size, batch_size, seed)
        num_keypoints = records.skeleton.num_keypoints
        self.shapes = ((*input_size, 3), (num_keypoints, 2), (num_keypoints,))
        self.dtypes = (np.uint8, np.float32, np.float32)
        self._people_records, self._augmentation = records, augmentation
        self._align_corners = heatmaps.get_codec(codec).align_corners
        self._center, self._size = records.crops(input_size)

    def cut(self, image: np.ndarray, frame: Frames, factor: int = 1) -> tuple[np.ndarray, ...]:
        """Crop [H,W,3] uint8, keypoints [K,2] float32 in crop pixels, visible [K] float32."""
        return self._crop(image, frame, factor), frame.keypoints, frame.visible

    def _frames(self, rng: np.random.Generator, people: np.ndarray) -> Frames:
        records = self._people_records
        keypoints, visible = records.keypoints[people], records.visible[people]
        center, size, rotation, flip = sample_crops(
            rng,
            self._center[people],
            self._size[people],
            keypoints,
            visible,
            records.skeleton.upper_body,
            self._augmentation,
        )
        matrices = geometry.affine_matrix(
            center, size, rotation, self._input_size, align_corners=self._align_corners, mirrored=flip
        )
        keypoints, visible = self._mirrored(flip, keypoints, visible)
        return Frames(people, matrices, geometry.transform_points(keypoints, matrices), visible)


class ImageSequence(SampleSequence):
    """Samples of whole images, with everybody in them."""

    _people = MAX_PEOPLE

    def __init__(
        self,
        records: ImageRecords,
        input_size: tuple[int, int],
        batch_size: int,
        augmentation: ImageAugmentation,
        seed: int,
    ):
        """Takes the arguments of `pipeline.image_dataset`."""
        super().__init__(records, input_size, batch_size, seed)
        num_keypoints = records.skeleton.num_keypoints
        self._mask_size = (input_size[0] // STRIDES[1], input_size[1] // STRIDES[1])
        self.shapes = ((*input_size, 3), (MAX_PEOPLE, num_keypoints, 2), (MAX_PEOPLE, num_keypoints), self._mask_size)
        self.dtypes = (np.uint8, np.float32, np.float32, np.uint8)
        self._images, self._augmentation = records, augmentation

    def cut(self, image: np.ndarray, frame: Frames, factor: int = 1) -> tuple[np.ndarray, ...]:
        """Crop [H,W,3] uint8, keypoints [P,K,2] float32 in it, visible [P,K] float32, mask [H/2,W/2] uint8."""
        width, height = self._images.sizes[frame.subjects].tolist()
        region = self._images.regions[int(frame.subjects)]
        # Pixel (x, y) of the mask is pixel (2x, 2y) of the crop, as the reference's warps of their own have it.
        mask = counted(region, (height, width), frame.matrices / STRIDES[1], self._mask_size)
        return self._crop(image, frame, factor), frame.keypoints, frame.visible, mask

    def _frames(self, rng: np.random.Generator, images: np.ndarray) -> Frames:
        sizes = self._images.sizes[images]
        center, size, rotation, flip = sample_image_crops(rng, sizes, self._augmentation)
        matrices = geometry.affine_matrix(center, size, rotation, self._input_size, mirrored=flip)
        keypoints, visible = self._mirrored(flip, *self._images.padded(images))
        keypoints = geometry.transform_points(keypoints, matrices[:, None]) * visible[..., None]
        return Frames(images, matrices, keypoints, visible)
