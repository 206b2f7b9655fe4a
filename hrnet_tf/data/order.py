"""Whose turn it is in training: every epoch in another order."""

import math
import threading

import numpy as np
from numpy.typing import ArrayLike

# The people of an image are mixed with those of so many others: large enough that a batch is as good as
# drawn from all of them, small enough that the crops of an image, once decoded, can wait for their turn.
WINDOW = 1024


def steps_per_epoch(num_people: int, batch_size: int) -> int:
    """Batches in which everyone is seen once; the last one is filled up with people of the same epoch."""
    return math.ceil(num_people / batch_size)


class EpochOrder:
    """The people of every batch, which follow from the seed and the number of the batch alone.

    Images are in random order, and a person's turn is delayed by up to `WINDOW` others: people of one
    image are near one another, but apart.
    """

    def __init__(self, image_index: ArrayLike, seed: int):
        """Takes the image of everybody, [N] integers, and the seed."""
        self._image_index, self._seed = np.asarray(image_index), seed
        self._counts = np.bincount(self._image_index)
        self._members = np.split(np.argsort(self._image_index, kind="stable"), np.cumsum(self._counts)[:-1])
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def people(self, epoch: int) -> np.ndarray:
        """[N] people by turn."""
        return self._of_epoch(epoch)[0]

    def turns_of_image(self, epoch: int, image: int) -> np.ndarray:
        """The turns of the people of an image."""
        return self._of_epoch(epoch)[1][self._members[image]]

    def _of_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """People by turn, and turns by person; kept for the last two epochs that were asked for."""
        with self._lock:
            if epoch not in self._epochs:
                people = self._draw(epoch)
                turns = np.empty_like(people)
                turns[people] = np.arange(len(people))
                self._epochs = dict([*self._epochs.items()][-1:]) | {epoch: (people, turns)}
            return self._epochs[epoch]

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, epoch])
        images = rng.permutation(len(self._counts))
        start = np.empty(len(images), np.int64)
        start[images] = np.cumsum(self._counts[images]) - self._counts[images]
        return np.argsort(start[self._image_index] + rng.uniform(0, WINDOW, len(self._image_index)), kind="stable")
