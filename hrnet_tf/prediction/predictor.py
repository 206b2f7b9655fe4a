"""`PosePredictor`: keypoints of people in any images, from any file of a trained network.

How it predicts depends on the kind of the network: `hrnet_tf.prediction.top_down`, `hrnet_tf.prediction.bottom_up`.

Shape legend: H and W image or crop, N people, K keypoints.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.detection.calls import Detector, find_people
from hrnet_tf.detection.detector import PersonDetector
from hrnet_tf.devices import without_tensor_float_32
from hrnet_tf.errors import InputError, listed, shown
from hrnet_tf.files import PathLike
from hrnet_tf.grouping import least_score
from hrnet_tf.heatmaps import REFINEMENTS
from hrnet_tf.inputs import load_image
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.variants import BOTTOM_UP
from hrnet_tf.prediction.bottom_up import BottomUpPredictor
from hrnet_tf.prediction.network import Network, for_inference, load_network, network_of
from hrnet_tf.prediction.people import People
from hrnet_tf.prediction.settings import settings_of
from hrnet_tf.prediction.top_down import TopDownPredictor
from hrnet_tf.skeletons import Skeleton


class PosePredictor:
    """Predicts the keypoints of people in images: by a network of crops those in given boxes, by a network of whole
    images, a HigherHRNet, everybody's.

    What is not given follows from the file's model card. Without one, a network of 17 keypoints is
    taken for COCO's, trained with the codec "msra". Which keypoint is which, and which are mirrored ones, is the
    card's to say: another skeleton has the same names, in the order in which results are wanted.

        predictor = PosePredictor("best.keras")
        keypoints = predictor("photo.jpg", [[120, 80, 60, 200]])  # [1,17,3]

        predictor = PosePredictor("best.keras", detector="yolox_s")
        people = predictor.people("photo.jpg")  # those that the detector finds

        people = PosePredictor("higher_hrnet_w32_coco_512x512").people("photo.jpg")  # everybody

    It may be called from several threads at once. A process forked after TensorFlow has run in it hangs in
    TensorFlow: start others with `multiprocessing.get_context("spawn")`.

    Attributes:
        input_size: (H, W) of the crops; of a network of whole images the smaller of them is what an image's shorter
            side becomes.
        skeleton: `skeletons.Skeleton` of the K keypoints of results.
        codec, refine: that are used.
        batch_size: as given.
        needs_boxes: whether it is told where people are, being a network of crops.
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
        scales: Sequence[float] | None = None,
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
                files it is the decoding alone. For networks of whole images, which are of many sizes, None is False.
            tf32: leave it to TensorFlow's switch whether GPUs since Ampere multiply float32 with 10 bits of the
                mantissa, which they do by default. False is all bits: the switch, which is the process's, is off while
                a call of the network runs.
            detector: what `people` finds people with: a name or file of `detection.PersonDetector`; or anything that
                is called with an image [H,W,3] uint8 RGB and returns boxes [N,4], or a tuple of boxes and scores [N].
            scales: of a network of whole images: the sizes, relative to its own, in which an image is looked at, such
                as (0.5, 1, 2); heatmaps are averaged over them.

        Raises:
            InputError: the network or the detector cannot be loaded or is no pose network, its keypoints are not
                those of the skeleton, or unknown, the flip test lacks pairs (`Skeleton.check_mirroring`), its precision
                cannot be chosen, or a detector is given for a network of whole images.
            ValueError: an unknown `codec`, `refine` or `precision`, `batch_size` or `scales` are not positive, or
                `scales` are given for a network of crops.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive. Received: {batch_size}")
        if refine not in (None, *REFINEMENTS):
            raise ValueError(f"`refine` must be one of {', '.join(REFINEMENTS)}. Received: {refine!r}")
        float32 = contextlib.nullcontext if tf32 else without_tensor_float_32
        if isinstance(path_or_model, keras.Model):
            network = network_of(path_or_model)
        elif isinstance(path_or_model, Network):
            network = path_or_model
        else:
            with float32():
                network, path = load_network(path_or_model)
            card = card or read_card(path)
        self.needs_boxes = network.kind != BOTTOM_UP
        if detector is not None and not self.needs_boxes:
            raise InputError("a network of whole images finds people by itself: give no detector")
        settings = settings_of(network, card, skeleton, flip_test, codec, refine)
        if scales is not None and (self.needs_boxes or not scales or not all(scale > 0 for scale in scales)):
            raise ValueError(f"`scales` must be positive, of a network of whole images. Received: {scales}")
        settings = dataclasses.replace(
            settings,
            batch_size=batch_size,
            jit_compile=jit_compile,
            float32=float32,
            least_score=least_score(network.num_keypoints),
        )
        settings = settings if scales is None else dataclasses.replace(settings, scales=tuple(scales))
        predictor = TopDownPredictor if self.needs_boxes else BottomUpPredictor
        self._predictor = predictor(for_inference(network, precision), settings)
        self.input_size, self.skeleton = settings.input_size, settings.skeleton
        self.codec, self.refine = settings.codec, settings.refine
        self.batch_size = batch_size
        self.detector = detector if callable(detector) or detector is None else PersonDetector(detector)

    def __call__(self, image: ArrayLike | PathLike, boxes_xywh: ArrayLike | None = None) -> np.ndarray:
        """Keypoints of the people of one image.

        Args:
            image: an array, or a path: see `hrnet_tf.inputs.load_image`.
            boxes_xywh: [N,4] (x, y, width, height) in pixels of the image, of which parts may lie
                beyond its border. None is the whole image as one box; a network of whole images takes nothing else.

        Returns:
            [N,K,3] float32, x and y in pixels of the image and score, in the order of the boxes. Of a network of whole
            images everybody whom it finds with `grouping.least_score`; what a person lacks is 0, 0 with score 0.

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
        scores = None
        if boxes_xywh is None and self.detector is not None:
            image = load_image(image)
            boxes_xywh, scores = find_people(self.detector, image)
        return next(self.people_batches([[(image, boxes_xywh, scores)]]))[0]

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
        return self._predictor.heatmap(image, self.skeleton.names.index(keypoint), boxes_xywh)

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
        groups = ([(*pair, None) for pair in zip(*batch, strict=True)] for batch in batches)
        for found in self.people_batches(groups):
            yield [people.keypoints for people in found]

    def people_batches(
        self, batches: Iterable[Sequence[tuple[ArrayLike | PathLike, ArrayLike | None, ArrayLike | None]]]
    ) -> Iterator[list[People]]:
        """The people of images, who go through the network together; `batches` is one batch ahead of the results.

        Args:
            batches: lists of images, their boxes and the scores of these, None for 1.
        """
        return self._predictor.people_batches(batches)

    def check_image_size(self, size: tuple[int, int], path: PathLike) -> None:
        """Whether an image can be looked at: so that one among many that cannot is found before they are.

        Args:
            size: (H, W).
            path: what the error calls the image.

        Raises:
            InputError: the network is of whole images, and this one is too long and narrow to be resized for it.
        """
        self._predictor.check_image_size(size, path)

    def warm_up(self, batch_sizes: Iterable[int] | None = None) -> None:
        """Has the network ready for batches of these sizes: compiled by XLA, with the fastest kernels of a GPU chosen.

        The first call for a size does that otherwise.

        Args:
            batch_sizes: people in an image, or in all of a `predict_batch`; more than `batch_size` are batches of that.
                None is every size that there can be, on CPUs without XLA 1, as they do not prepare for others. A
                network of whole images is made ready for square ones alone.

        Raises:
            ValueError: a size is not positive.
        """
        self._predictor.warm_up(batch_sizes)
