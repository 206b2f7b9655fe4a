"""What the samples of a training run show: whose turn it is, and how the crop is drawn.

It is drawn and computed for a block of turns at a time, as numpy takes as long for one person as for a hundred.

Shape legend: n samples, K keypoints.
"""

import threading
from typing import NamedTuple

import numpy as np

from hrnet_tf import geometry, heatmaps
from hrnet_tf.data.augment import Augmentation, sample_crops
from hrnet_tf.data.order import EpochOrder, steps_per_epoch
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.skeletons import flip_order

# To be raised whenever a seed comes to give other samples: a run that began with others is not continued then.
SEQUENCE_VERSION = 2

_BLOCK = 4096  # turns
# As many are wanted at the border of two epochs, by samples whose image is read ahead of their turn; 1 MB each.
_KEPT_BLOCKS = 4


class Frames(NamedTuple):
    """How crops are cut and what is in them, of n samples or, without the first axis, of one.

    Attributes:
        matrices: [n,2,3] float32, from image to crop pixels.
        keypoints: [n,K,2] float32, in crop pixels.
        visible: [n,K] float32, 1 for annotated keypoints.
    """

    matrices: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray


class CropSequence:
    """The samples of a training run, which follow from the seed and the number of the sample alone.

    Attributes:
        epoch_samples: samples in an epoch: a turn of everybody, and second turns that fill up the last batch.
    """

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
        self.epoch_samples = steps_per_epoch(len(records), batch_size) * batch_size
        self._records, self._input_size, self._augmentation, self._seed = records, input_size, augmentation, seed
        self._align_corners = heatmaps.get_codec(codec).align_corners
        self._center, self._size = records.crops(input_size)
        self._flip_order = flip_order(records.skeleton.flip_pairs, records.skeleton.num_keypoints)
        self._order = EpochOrder(records.image_index, seed)
        self._blocks: dict[tuple[int, int], Frames] = {}  # by epoch and number in it
        self._lock = threading.Lock()

    def person(self, sample: int) -> int:
        """Whose turn it is in sample number `sample`."""
        epoch, turn = divmod(sample, self.epoch_samples)
        return int(self._order.people(epoch)[turn % len(self._records)])

    def is_second_turn(self, sample: int) -> bool:
        """Whether the sample fills up the last batch of its epoch."""
        return sample % self.epoch_samples >= len(self._records)

    def of_image(self, epoch: int, image: int) -> list[int]:
        """Numbers of the samples that show people of an image, second turns left out."""
        return (epoch * self.epoch_samples + self._order.turns_of_image(epoch, image)).tolist()

    def frame(self, sample: int) -> Frames:
        """How sample number `sample` is cut from the image of its person."""
        epoch, number, row = self._place(sample)
        with self._lock:
            if (epoch, number) not in self._blocks:
                turns = np.arange(number * _BLOCK, min((number + 1) * _BLOCK, self.epoch_samples))
                people = self._order.people(epoch)[turns % len(self._records)]
                newest = [*self._blocks.items()][1 - _KEPT_BLOCKS :]
                self._blocks = dict(newest) | {(epoch, number): self._draw(people, epoch, 1 + number)}
            block = self._blocks[epoch, number]
        return Frames(block.matrices[row], block.keypoints[row], block.visible[row])

    def substitute(self, sample: int, person: int) -> Frames:
        """How it is cut from the image of another person, who takes the place of the one whose turn it is."""
        epoch, number, row = self._place(sample)
        return Frames(*(part[0] for part in self._draw(np.array([person]), epoch, 1 + number, 1 + row)))

    def _place(self, sample):
        """Epoch, block in it and row of that."""
        epoch, turn = divmod(sample, self.epoch_samples)
        return epoch, *divmod(turn, _BLOCK)

    def _draw(self, people, *numbers):
        """`Frames` of `people` [n], drawn by a generator of the seed and these numbers.

        Numbers but the first begin at 1: [seed, epoch] and [seed, epoch, 0] are the generator of the epoch's order.
        """
        records = self._records
        keypoints, visible = records.keypoints[people], records.visible[people]
        center, size, rotation, flip = sample_crops(
            np.random.default_rng([self._seed, *numbers]),
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
        sides = np.where(flip[:, None], self._flip_order, np.arange(len(self._flip_order)))  # [n,K]
        points = np.take_along_axis(keypoints, sides[..., None], axis=1)
        return Frames(matrices, geometry.transform_points(points, matrices), np.take_along_axis(visible, sides, axis=1))
