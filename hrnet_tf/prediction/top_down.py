"""People by their boxes: crops through a network, for `PosePredictor`.

Crops, flip test, decoding and the way back are those of evaluation (`hrnet_tf.prediction.keypoints`).

Shape legend: B batch, H and W image or crop, N people, K keypoints.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hrnet_tf import geometry
from hrnet_tf.ahead import THREADS, ahead, one_late
from hrnet_tf.data.pipeline import crop_matrices
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.devices import has_gpu, use_xla
from hrnet_tf.files import PathLike
from hrnet_tf.inputs import checked_boxes, load_image
from hrnet_tf.models.sums import may_fuse_sums
from hrnet_tf.prediction.keypoints import heatmap_matrices, make_heatmap_function, make_predict_function, to_image
from hrnet_tf.prediction.network import Network
from hrnet_tf.prediction.people import People, scored_people
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.prediction.settings import Settings
from hrnet_tf.timing import timed


class TopDownPredictor:
    """Predicts the keypoints of people in boxes; what its methods take is as of `PosePredictor`."""

    def __init__(self, network: Network, settings: Settings):
        """Makes the functions of a network of crops.

        Args:
            network: as it is to be run.
            settings: how.
        """
        self._settings = settings
        self.input_size, self.batch_size, self.codec = settings.input_size, settings.batch_size, settings.codec
        jit_compile = use_xla() if settings.jit_compile is None else settings.jit_compile
        self._heatmaps = make_heatmap_function(network.heatmaps, settings.flip_pairs, self.codec)
        predict = make_predict_function(
            tf.distribute.get_strategy(),
            network.heatmaps,
            settings.flip_pairs,
            use_xla=jit_compile,
            codec=self.codec,
            refine=settings.refine,
        )
        # Batches of few different sizes, as GPUs and XLA prepare for every new one. CPUs do not.
        self._few_sizes = jit_compile or has_gpu()
        self._predict = predict
        self._one_at_a_time: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if not isinstance(network.heatmaps, Runner):
            # One graph for all batch sizes.
            self._predict = predict.get_concrete_function(tf.TensorSpec((None, *self.input_size, 3), tf.uint8))
            if may_fuse_sums(self._predict.graph):
                self._one_at_a_time = threading.Lock()

    def heatmap(self, image: ArrayLike | PathLike, keypoint: int, boxes_xywh: ArrayLike | None) -> np.ndarray:
        """The heatmaps of keypoint number `keypoint` of the results, [H,W] float32 in pixels of the image."""
        k = self._settings.order[keypoint]
        image = load_image(image)
        height, width = image.shape[:2]
        people, crops = self._cut((image, boxes_xywh, None))
        matrices = heatmap_matrices(people, self.input_size, self.codec)
        found = np.zeros((height, width), np.float32)
        left = iter(crops)
        for start in range(0, len(people), self.batch_size):
            batch = tf.constant(np.stack(list(itertools.islice(left, self.batch_size))))
            with self._one_at_a_time, self._settings.float32():
                maps = np.asarray(self._heatmaps(batch)[..., k])
            for one, matrix in zip(maps, matrices[start:], strict=False):
                np.maximum(found, cv2.warpAffine(one, matrix.astype(np.float64), (width, height)), out=found)
        return found

    def people_batches(
        self, batches: Iterable[Sequence[tuple[ArrayLike | PathLike, ArrayLike | None, ArrayLike | None]]]
    ) -> Iterator[list[People]]:
        """The people of images with boxes and their scores, a list for each list of these."""

        def started():
            for batch in batches:
                people, crops = [], []
                # A thread more would take longer to start than one image takes.
                for group, found in map(self._cut, batch) if len(batch) == 1 else self._cut_ahead(batch):
                    people.append(group)
                    for crop in found:
                        if len(crops) == self.batch_size:
                            yield self._start(crops), None
                            crops = []
                        crops.append(crop)
                yield self._start(crops), people

        points = []
        for part, people in one_late(started()):
            points.append(part())
            if people is not None:
                yield self._in_images(np.concatenate(points), people)
                points = []

    def check_image_size(self, size: tuple[int, int], path: PathLike) -> None:
        """As of `PosePredictor`: there are crops of any image."""

    def warm_up(self, batch_sizes: Iterable[int] | None) -> None:
        """Has the network ready for batches of these sizes."""
        sizes = range(1, self.batch_size + 1 if self._few_sizes else 2) if batch_sizes is None else list(batch_sizes)
        if any(size < 1 for size in sizes):
            raise ValueError(f"`batch_sizes` must be positive. Received: {list(sizes)}")
        for size in sorted({self._padded(min(size, self.batch_size)) for size in sizes}):
            self._start([np.zeros((*self.input_size, 3), np.uint8)] * size)()

    def _cut(self, image_and_boxes):
        """The `PersonRecords` of one image's boxes, and their crops."""
        image, boxes, scores = image_and_boxes
        image = load_image(image)
        people = self._people(checked_boxes(boxes, image), scores)
        matrices = crop_matrices(people, self.input_size, self.codec)
        if len(people) > self.batch_size:  # thousands of crops would not fit in memory: they are cut as batches fill
            return people, (self._warped(image, matrix) for matrix in matrices)
        return people, [self._warped(image, matrix) for matrix in matrices]

    def _warped(self, image, matrix):
        with timed("cropping"):
            return geometry.warp(image, matrix, self.input_size)

    def _cut_ahead(self, images_and_boxes):
        """The same of several, in threads: while the network computes a batch, that of the next one."""
        return ahead(self._cut, images_and_boxes, waiting=2 * THREADS)

    def _padded(self, count: int) -> int:
        """How many crops `count` people are run as: up to a power of two where a network prepares for each size."""
        return min(1 << (count - 1).bit_length(), self.batch_size) if self._few_sizes else count

    def _start(self, crops: Sequence[np.ndarray]) -> Callable[[], np.ndarray]:
        """Gives a list of n crops to the network; returns what waits for their keypoints [n,K,3] in heatmap pixels."""
        count = len(crops)
        if not count:
            return lambda: np.zeros((0, self._settings.skeleton.num_keypoints, 3), np.float32)
        batch = np.zeros((self._padded(count), *self.input_size, 3), np.uint8)
        batch[:count] = crops
        with self._one_at_a_time, self._settings.float32(), timed("network", count):
            points = self._predict(tf.constant(batch))

        def waited_for() -> np.ndarray:
            with timed("network", 0):
                return points.numpy()[:count, self._settings.order]

        return waited_for

    def _in_images(self, points: np.ndarray, people: Sequence[PersonRecords]) -> list[People]:
        """The people of several images, by image, of their keypoints [N,K,3] in heatmap pixels."""
        keypoints = np.split(points, np.cumsum([len(group) for group in people]))
        for group, found in zip(people, keypoints, strict=False):  # the last of the split is empty
            found[..., :2] = to_image(found[..., :2], group, self.input_size, self.codec)
        pairs = zip(people, keypoints, strict=False)
        return [scored_people(found, group.boxes, group.box_scores, group.skeleton) for group, found in pairs]

    def _people(self, boxes: np.ndarray, scores: ArrayLike | None) -> PersonRecords:
        """`PersonRecords` of the boxes [N,4] of one image, which is no file."""
        count, num_keypoints = len(boxes), self._settings.skeleton.num_keypoints
        return PersonRecords(
            skeleton=self._settings.skeleton,
            image_paths=[""],
            image_ids=np.zeros(1, np.int64),
            image_index=np.zeros(count, np.int32),
            boxes=boxes,
            box_scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            keypoints=np.zeros((count, num_keypoints, 2), np.float32),
            visible=np.zeros((count, num_keypoints), np.float32),
        )
