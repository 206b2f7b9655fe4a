"""`PosePredictor`: keypoints of people in any images, from any file of a trained network.

Crops, flip test, decoding and the way back are those of evaluation (`hrnet_tf.prediction.keypoints`).

Shape legend: B batch, H and W crop, N people, K keypoints.
"""

import contextlib
import os
import threading
import warnings
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hrnet_tf import geometry
from hrnet_tf.data.decoding import twelve_bits_note, unused_bits
from hrnet_tf.data.pipeline import crop_matrices
from hrnet_tf.data.records import PersonRecords, read_image
from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import MAX_COORDINATE, PathLike
from hrnet_tf.heatmaps import REFINEMENTS
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.sums import may_fuse_sums
from hrnet_tf.prediction.keypoints import make_predict_function, to_image
from hrnet_tf.prediction.network import Network, for_inference, load_network, network_of
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.skeletons import COCO, Skeleton, match


class PosePredictor:
    """Predicts the keypoints of people in images, given the boxes that they are in.

    What is not given follows from the file's model card. Without one, a network of 17 keypoints is
    taken for COCO's, trained with the codec "msra". Which keypoint is which, and which are mirrored ones, is the
    card's to say: another skeleton has the same names, in the order in which results are wanted.

        predictor = PosePredictor("best.keras")
        people = predictor("photo.jpg", [[120, 80, 60, 200]])  # [1,17,3]

    It may be called from several threads at once. A process forked after TensorFlow has run in it hangs in
    TensorFlow: start others with `multiprocessing.get_context("spawn")`.

    Attributes:
        input_size: (H, W) of the crops.
        skeleton: `skeletons.Skeleton` of the K keypoints of results.
        codec, refine: that are used.
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

        Raises:
            InputError: the network cannot be loaded or is no pose network, its keypoints are not
                those of the skeleton, or unknown, the flip test lacks pairs (`Skeleton.check_mirroring`), or its
                precision cannot be chosen.
            ValueError: an unknown `codec`, `refine` or `precision`, or `batch_size` is not positive.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive. Received: {batch_size}")
        if refine not in (None, *REFINEMENTS):
            raise ValueError(f"`refine` must be one of {', '.join(REFINEMENTS)}. Received: {refine!r}")
        if isinstance(path_or_model, keras.Model):
            network = network_of(path_or_model)
        elif isinstance(path_or_model, Network):
            network = path_or_model
        else:
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
        predict = make_predict_function(
            tf.distribute.get_strategy(),
            for_inference(network, precision).heatmaps,
            model_skeleton.flip_pairs if flip_test else None,
            codec=self.codec,
            refine=self.refine,
        )
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
            image: an array, or a path: see `load_image`.
            boxes_xywh: [N,4] (x, y, width, height) in pixels of the image, of which parts may lie
                beyond its border. None is the whole image as one box.

        Returns:
            [N,K,3] float32, x and y in pixels of the image and score, in the order of the boxes.

        Raises:
            InputError: the image or a box cannot be used.
        """
        return self.predict_batch([image], [boxes_xywh])[0]

    def predict_batch(
        self,
        images: Sequence[ArrayLike | PathLike] | np.ndarray,
        boxes_per_image: Sequence[ArrayLike | None] | np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Keypoints of the people of several images, who go through the network together.

        Images given by path are read one after the other and not kept.

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
        people, points, crops = [], [np.zeros((0, self.skeleton.num_keypoints, 3), np.float32)], []
        for image, boxes in zip(images, boxes_per_image, strict=True):
            image = load_image(image)
            people.append(self._people(checked_boxes(boxes, image)))
            for matrix in crop_matrices(people[-1], self.input_size, self.codec):
                crops.append(geometry.warp(image, matrix, self.input_size))
                if len(crops) == self.batch_size:
                    points.append(self._run(crops))
                    crops = []
        points.append(self._run(crops))
        keypoints = np.split(np.concatenate(points), np.cumsum([len(group) for group in people]))
        for group, found in zip(people, keypoints, strict=False):  # the last of the split is empty
            found[..., :2] = to_image(found[..., :2], group, self.input_size, self.codec)
        return keypoints[: len(people)]

    def _run(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Keypoints [n,K,3] in heatmap pixels of a list of n crops.

        GPUs prepare for every new batch size: there black crops fill batches up to a power of two. CPUs do not.
        """
        if not crops:
            return np.zeros((0, self.skeleton.num_keypoints, 3), np.float32)
        on_gpu = tf.config.list_physical_devices("GPU")
        size = min(1 << (len(crops) - 1).bit_length(), self.batch_size) if on_gpu else len(crops)
        batch = np.zeros((size, *self.input_size, 3), np.uint8)
        batch[: len(crops)] = crops
        with self._one_at_a_time:
            return self._predict(tf.constant(batch)).numpy()[: len(crops), self._order]

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


def load_image(image: ArrayLike | PathLike) -> np.ndarray:
    """An image as RGB [H,W,3] uint8.

    Args:
        image: a path, whose picture is turned as its EXIF orientation says, so that boxes and
            keypoints are those of the picture as it is looked at; or an array [H,W,3] RGB, [H,W,4]
            RGBA (alpha is dropped), [H,W] or [H,W,1] grey; uint8, or uint16 from 0 to 65535.

    Raises:
        InputError: the file cannot be read, or the array has another shape or type.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, turn=True)
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"an image must be uint8 from 0 to 255 or uint16 from 0 to 65535. Received: {image.dtype} "
            f"{list(image.shape)}. Scale and convert it, as in np.uint8(255 * image + 0.5) for values from 0 to 1"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise InputError(f"an image must have shape [H,W,3], [H,W,4], [H,W] or [H,W,1]. Received: {list(image.shape)}")
    if image.dtype == np.uint16:
        shift = unused_bits(image[..., :3])
        if shift < 8:
            warnings.warn(f"an image given as uint16: {twelve_bits_note(shift)}", stacklevel=2)
        image = (image >> shift).astype(np.uint8)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    return np.ascontiguousarray(image)


def checked_boxes(boxes_xywh: ArrayLike | None, image: np.ndarray | None) -> np.ndarray:
    """Boxes as [N,4] float32; None is all of `image` [H,W,3] in one.

    Raises:
        InputError: they are not [N,4] numbers, or one is not finite, too far out or without area.
    """
    if boxes_xywh is None:
        assert image is not None
        height, width = image.shape[:2]
        return np.array([[0, 0, width, height]], np.float32)
    try:
        boxes = np.asarray(boxes_xywh, np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"boxes must be [N,4] numbers. Received: {shown(boxes_xywh)}") from error
    if boxes.shape == (0,):
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes must have shape [N,4] (x, y, width, height). Received: {list(boxes.shape)}")
    # Comparisons with NaN are false.
    usable = (np.abs(boxes) <= MAX_COORDINATE).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    if not usable.all():
        bad = int(np.argmin(usable))
        raise InputError(
            f"box {bad} must be finite x, y, width, height up to {MAX_COORDINATE:g} in pixels, with a positive width "
            f"and height. Received: {boxes[bad].tolist()}"
        )
    return boxes


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
