"""`PosePredictor`: keypoints of people in any images, from any file of a trained network.

Crops, flip test, decoding and the way back are those of evaluation (`hrnet_tf.prediction.keypoints`).

Shape legend: B batch, H and W crop, N people, K keypoints.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hrnet_tf import geometry
from hrnet_tf.ahead import THREADS, ahead, one_late
from hrnet_tf.data.pipeline import crop_matrices
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.detection.calls import Detector, find_people
from hrnet_tf.detection.detector import PersonDetector
from hrnet_tf.devices import has_gpu, use_xla, without_tensor_float_32
from hrnet_tf.errors import InputError, listed, shown
from hrnet_tf.files import PathLike
from hrnet_tf.heatmaps import REFINEMENTS
from hrnet_tf.inputs import checked_boxes, load_image
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.sums import may_fuse_sums
from hrnet_tf.prediction.keypoints import heatmap_matrices, make_heatmap_function, make_predict_function, to_image
from hrnet_tf.prediction.network import Network, for_inference, load_network, network_of
from hrnet_tf.prediction.people import People, scored_people
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.skeletons import COCO, Skeleton, match


class PosePredictor:
    """Predicts the keypoints of people in images, given the boxes that they are in.

    What is not given follows from the file's model card. Without one, a network of 17 keypoints is
    taken for COCO's, trained with the codec "msra". Which keypoint is which, and which are mirrored ones, is the
    card's to say: another skeleton has the same names, in the order in which results are wanted.

        predictor = PosePredictor("best.keras")
        keypoints = predictor("photo.jpg", [[120, 80, 60, 200]])  # [1,17,3]

        predictor = PosePredictor("best.keras", detector="yolox_s")
        people = predictor.people("photo.jpg")  # those that the detector finds

    It may be called from several threads at once. A process forked after TensorFlow has run in it hangs in
    TensorFlow: start others with `multiprocessing.get_context("spawn")`.

    Attributes:
        input_size: (H, W) of the crops.
        skeleton: `skeletons.Skeleton` of the K keypoints of results.
        codec, refine: that are used.
        detector: that finds people, or None.
    """

    def __init__(
        self,
        path_or_model: PathLike | keras.Model | Network,
        flip_test: bool = True,
        codec: str | None = None,
        refine: str | None = None,
        skeleton: Skeleton | None = None,
        batch_size: int = 32,
        precision: str = "float32",
        card: ModelCard | None = None,
        jit_compile: bool | None = None,
        tf32: bool = True,
        detector: PathLike | Detector | None = None,
    ):
        """Loads the network.

        Args:
            path_or_model: a name of `hrnet_tf.pretrained.names()`, which is downloaded where it is not there yet; a
                `.keras` file, a SavedModel folder with the signature "heatmaps" (or a folder of versions of
                one), an `.onnx` or `.tflite` file that gives heatmaps, "hf://user/repository" or
                "https://host/file.keras#sha256=..."; a `keras.Model`, or a `prediction.network.Network`.
            flip_test: average the heatmaps of the crop and of its mirror image.
            codec: that the network was trained with, a name in `heatmaps.CODECS`.
            refine: how heatmaps are decoded, one of `heatmaps.REFINEMENTS`; by default the codec's own.
            skeleton: `skeletons.Skeleton` of the K keypoints of results: of the card's names in any order. Without a
                card it is the network's own.
            batch_size: at most this many people go through the network at once.
            precision: "float32", or "bfloat16" to compute in it between the first layer and the last,
                faster where the processor does; of Keras models alone.
            card: what to take for the model card, instead of the file's.
            jit_compile: compile the network with XLA, which takes up to minutes for every new size of a batch (see
                `warm_up`). None is where there are GPUs that XLA is not known to fail on. Of `.onnx` and `.tflite`
                files it is the decoding alone.
            tf32: leave it to TensorFlow's switch whether GPUs since Ampere multiply float32 with 10 bits of the
                mantissa, which they do by default. False is all bits: the switch, which is the process's, is off while
                a call of the network runs.
            detector: what `people` finds people with: a name or file of `detection.PersonDetector`; or anything that
                is called with an image [H,W,3] uint8 RGB and returns boxes [N,4], or a tuple of boxes and scores [N].

        Raises:
            InputError: the network or the detector cannot be loaded or is no pose network, its keypoints are not
                those of the skeleton, or unknown, the flip test lacks pairs (`Skeleton.check_mirroring`), or its
                precision cannot be chosen.
            ValueError: an unknown `codec`, `refine` or `precision`, or `batch_size` is not positive.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive. Received: {batch_size}")
        self._float32: Callable[[], contextlib.AbstractContextManager[None]]
        self._float32 = contextlib.nullcontext if tf32 else without_tensor_float_32
        if refine not in (None, *REFINEMENTS):
            raise ValueError(f"`refine` must be one of {', '.join(REFINEMENTS)}. Received: {refine!r}")
        if isinstance(path_or_model, keras.Model):
            network = network_of(path_or_model)
        elif isinstance(path_or_model, Network):
            network = path_or_model
        else:
            with self._float32():
                network, path = load_network(path_or_model)
            card = card or read_card(path)
        self.input_size = network.input_size
        model_skeleton = _skeleton(skeleton, card, network.num_keypoints)
        self.skeleton = skeleton or model_skeleton
        if flip_test:
            model_skeleton.check_mirroring("pass flip_test=False")
        # Where each keypoint of the results is in the network's.
        self._order = np.argsort(match(model_skeleton, self.skeleton))
        self.codec = codec or (card.codec if card else "msra")
        self.refine = refine or (card.refine if card and card.codec == self.codec else None)
        self.batch_size = batch_size
        self.detector = detector if callable(detector) or detector is None else PersonDetector(detector)
        jit_compile = use_xla() if jit_compile is None else jit_compile
        heatmaps = for_inference(network, precision).heatmaps
        flip_pairs = model_skeleton.flip_pairs if flip_test else None
        self._heatmaps = make_heatmap_function(heatmaps, flip_pairs, self.codec)
        predict = make_predict_function(
            tf.distribute.get_strategy(),
            heatmaps,
            flip_pairs,
            use_xla=jit_compile,
            codec=self.codec,
            refine=self.refine,
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

    def __call__(self, image: ArrayLike | PathLike, boxes_xywh: ArrayLike | None = None) -> np.ndarray:
        """Keypoints of the people of one image.

        Args:
            image: an array, or a path: see `hrnet_tf.inputs.load_image`.
            boxes_xywh: [N,4] (x, y, width, height) in pixels of the image, of which parts may lie
                beyond its border. None is the whole image as one box.

        Returns:
            [N,K,3] float32, x and y in pixels of the image and score, in the order of the boxes.

        Raises:
            InputError: the image or a box cannot be used.
        """
        return self.predict_batch([image], [boxes_xywh])[0]

    def people(self, image: ArrayLike | PathLike, boxes_xywh: ArrayLike | None = None) -> People:
        """The people of one image, with their boxes and scores.

        Args:
            image: as `__call__` takes it.
            boxes_xywh: as `__call__` takes them. None is those that the detector finds, and without a detector the
                whole image as one box.

        Returns:
            `People`, of nobody where the detector finds nobody.

        Raises:
            InputError: the image, a box or what the detector returns cannot be used.
        """
        image = load_image(image)
        if boxes_xywh is None and self.detector is not None:
            boxes, scores = find_people(self.detector, image)
        else:
            boxes = checked_boxes(boxes_xywh, image)
            scores = np.ones(len(boxes), np.float32)
        return scored_people(self(image, boxes), boxes, scores, self.skeleton)

    def heatmap(self, image: ArrayLike | PathLike, keypoint: str, boxes_xywh: ArrayLike | None = None) -> np.ndarray:
        """The heatmaps of one keypoint of the people of an image, over one another in the image.

        Args:
            image: as `__call__` takes it.
            keypoint: its name in `skeleton`.
            boxes_xywh: as `__call__` takes them; None is the whole image as one box.

        Returns:
            [H,W] float32 in pixels of the image: the highest where several lie over one another, 0 beyond all crops.

        Raises:
            InputError: the image or a box cannot be used, or the skeleton has no such keypoint.
        """
        if keypoint not in self.skeleton.names:
            raise InputError(f"no keypoint is called {shown(keypoint)}. There are: {listed(self.skeleton.names)}")
        k = self._order[self.skeleton.names.index(keypoint)]
        image = load_image(image)
        height, width = image.shape[:2]
        people, crops = self._cut((image, boxes_xywh))
        matrices = heatmap_matrices(people, self.input_size, self.codec)
        found = np.zeros((height, width), np.float32)
        for start in range(0, len(crops), self.batch_size):
            batch = tf.constant(np.stack(crops[start : start + self.batch_size]))
            with self._one_at_a_time, self._float32():
                maps = np.asarray(self._heatmaps(batch)[..., k])
            for one, matrix in zip(maps, matrices[start:], strict=False):
                np.maximum(found, cv2.warpAffine(one, matrix.astype(np.float64), (width, height)), out=found)
        return found

    def predict_batch(
        self,
        images: Sequence[ArrayLike | PathLike] | np.ndarray,
        boxes_per_image: Sequence[ArrayLike | None] | np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Keypoints of the people of several images, who go through the network together.

        Images given by path are read in threads, a few at a time, and not kept.

        Args:
            images: M images, as `__call__` takes them.
            boxes_per_image: M times boxes, as `__call__` takes them; None is all images as a whole.

        Returns:
            list of M arrays [N,K,3], each as `__call__` returns it.

        Raises:
            InputError: an image or a box cannot be used, or the two are not equally many.
        """
        boxes_per_image = [None] * len(images) if boxes_per_image is None else boxes_per_image
        if len(images) != len(boxes_per_image):
            raise InputError(
                f"boxes_per_image must be as many as the images ({len(images)}). Received: {len(boxes_per_image)}"
            )
        return next(self.predict_batches([(images, boxes_per_image)]))

    def predict_batches(
        self, batches: Iterable[tuple[Sequence[Any] | np.ndarray, Sequence[Any] | np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        """What `predict_batch` returns, for one pair of its arguments after the other.

        The next crops are given to the network before keypoints of the last are waited for, so that `batches` is one
        pair ahead of the results.
        """

        def started():
            for images, boxes_per_image in batches:
                people, crops = [], []
                pairs = zip(images, boxes_per_image, strict=True)
                # A thread more would take longer to start than one image takes.
                for group, found in map(self._cut, pairs) if len(images) == 1 else self._cut_ahead(pairs):
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

    def warm_up(self, batch_sizes: Iterable[int] | None = None) -> None:
        """Has the network ready for batches of these sizes: compiled by XLA, with the fastest kernels of a GPU chosen.

        The first call for a size does that otherwise.

        Args:
            batch_sizes: people in an image, or in all of a `predict_batch`; more than `batch_size` are batches of that.
                None is every size that there can be, on CPUs without XLA 1, as they do not prepare for others.

        Raises:
            ValueError: a size is not positive.
        """
        sizes = range(1, self.batch_size + 1 if self._few_sizes else 2) if batch_sizes is None else list(batch_sizes)
        if any(size < 1 for size in sizes):
            raise ValueError(f"`batch_sizes` must be positive. Received: {list(sizes)}")
        for size in sorted({self._padded(min(size, self.batch_size)) for size in sizes}):
            self._start([np.zeros((*self.input_size, 3), np.uint8)] * size)()

    def _cut(self, image_and_boxes):
        """The `PersonRecords` of one image's boxes, and their crops."""
        image, boxes = image_and_boxes
        image = load_image(image)
        people = self._people(checked_boxes(boxes, image))
        matrices = crop_matrices(people, self.input_size, self.codec)
        return people, [geometry.warp(image, matrix, self.input_size) for matrix in matrices]

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
            return lambda: np.zeros((0, self.skeleton.num_keypoints, 3), np.float32)
        batch = np.zeros((self._padded(count), *self.input_size, 3), np.uint8)
        batch[:count] = crops
        with self._one_at_a_time, self._float32():
            points = self._predict(tf.constant(batch))
        return lambda: points.numpy()[:count, self._order]

    def _in_images(self, points: np.ndarray, people: Sequence[PersonRecords]) -> list[np.ndarray]:
        """Keypoints [N,K,3] in heatmap pixels of the people of several images, by image and in its pixels."""
        keypoints = np.split(points, np.cumsum([len(group) for group in people]))
        for group, found in zip(people, keypoints, strict=False):  # the last of the split is empty
            found[..., :2] = to_image(found[..., :2], group, self.input_size, self.codec)
        return keypoints[: len(people)]

    def _people(self, boxes: np.ndarray) -> PersonRecords:
        """`PersonRecords` of the boxes [N,4] of one image, which is no file."""
        count, num_keypoints = len(boxes), self.skeleton.num_keypoints
        return PersonRecords(
            skeleton=self.skeleton,
            image_paths=[""],
            image_ids=np.zeros(1, np.int64),
            image_index=np.zeros(count, np.int32),
            boxes=boxes,
            box_scores=np.ones(count, np.float32),
            keypoints=np.zeros((count, num_keypoints, 2), np.float32),
            visible=np.zeros((count, num_keypoints), np.float32),
        )


def _skeleton(skeleton, card, num_keypoints):
    """The network's keypoints: the card's, else those given, else COCO's; InputError unless `num_keypoints`."""
    found = card.skeleton if card is not None else skeleton
    if found is None and num_keypoints == COCO.num_keypoints:
        found = COCO
    if found is None:
        raise InputError(
            f"the model has no model card to say what its {num_keypoints} keypoints are: pass `skeleton`, such as "
            "`hrnet_tf.skeletons.MPII` or that of an annotation file's category (`skeleton_from_category`)"
        )
    for one in (found, skeleton or found):
        if one.num_keypoints != num_keypoints:
            raise InputError(f"the model predicts {num_keypoints} keypoints, but the skeleton has {one.num_keypoints}")
    return found
