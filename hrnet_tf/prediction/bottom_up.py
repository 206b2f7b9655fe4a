"""Everybody in whole images: a network of these and grouping, for `PosePredictor`.

Shape legend: H and W image, h and w image as resized, N people, K keypoints, T components of a tag.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hrnet_tf import geometry
from hrnet_tf.ahead import THREADS, ahead, one_late
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.grouping import Candidates, graph, group, keypoint_order
from hrnet_tf.inputs import load_image
from hrnet_tf.models.sums import may_fuse_sums
from hrnet_tf.prediction.network import Network
from hrnet_tf.prediction.people import People
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.prediction.settings import Settings
from hrnet_tf.prediction.whole_images import Frame, enlarge, frame, make_map_function
from hrnet_tf.timing import timed
from hrnet_tf.tracking import boxes_from_keypoints

# How the maps of an image lie in it, and the image resized for each of the scales that it is looked at in.
Looks = tuple[Frame, list[np.ndarray]]


class BottomUpPredictor:
    """Finds everybody in images; what its methods take is as of `PosePredictor`, but that boxes are None."""

    def __init__(self, network: Network, settings: Settings):
        """Makes the functions of a network of whole images.

        Args:
            network: as it is to be run.
            settings: how.
        """
        self._settings = settings
        self._side = min(settings.input_size)
        self._order = keypoint_order(settings.network_skeleton)
        self._maps = make_map_function(network.heatmaps, settings.flip_pairs, bool(settings.jit_compile))
        self._one_at_a_time: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if not isinstance(network.heatmaps, Runner):
            self._maps = self._maps.get_concrete_function()
            if may_fuse_sums(self._maps.graph):
                self._one_at_a_time = threading.Lock()
        self._find_candidates = tf.function(graph.find_candidates, reduce_retracing=True)

    def people_batches(
        self, batches: Iterable[Sequence[tuple[ArrayLike | PathLike, ArrayLike | None, ArrayLike | None]]]
    ) -> Iterator[list[People]]:
        """The people of images, a list for each list of these."""

        def started():
            for batch in batches:
                looks = map(self._looks, batch) if len(batch) == 1 else ahead(self._looks, batch, waiting=2 * THREADS)
                yield [self._start(look) for look in looks]

        for parts in one_late(started()):
            yield [part() for part in parts]

    def heatmap(self, image: ArrayLike | PathLike, keypoint: int, boxes_xywh: ArrayLike | None) -> np.ndarray:
        """The heatmap of keypoint number `keypoint` of the results, [H,W] float32 in pixels of the image."""
        image = load_image(image)
        looks = self._looks((image, boxes_xywh, None))
        heatmaps, _ = self._outputs(looks)
        height, width = image.shape[:2]
        found = np.ascontiguousarray(heatmaps[..., self._settings.order[keypoint]])
        back = looks[0].matrix(inverse=True).astype(np.float64)
        return np.maximum(cv2.warpAffine(found, back, (width, height)), 0)

    def maps(self, image: ArrayLike | PathLike) -> tuple[np.ndarray, np.ndarray]:
        """Heatmaps [h,w,K] and tags [h,w,K,T] of an image as resized, in the order of the network's keypoints."""
        heatmaps, tags = self._outputs(self._looks((image, None, None)))
        return heatmaps.numpy(), tags.numpy()

    def warm_up(self, batch_sizes: Iterable[int] | None) -> None:
        """Has the network ready for square images."""
        if batch_sizes is not None and any(size < 1 for size in batch_sizes):
            raise ValueError(f"`batch_sizes` must be positive. Received: {batch_sizes}")
        self._start(self._looks((np.zeros((self._side, self._side, 3), np.uint8), None, None)))()

    def check_image_size(self, size: tuple[int, int], path: PathLike) -> None:
        """As of `PosePredictor`."""
        try:
            self._frames(size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def _frames(self, size: tuple[int, int]) -> list[Frame]:
        """How an image of (H, W) is resized: for its maps, and for each of the scales."""
        smallest = min(self._settings.scales)
        return [frame(size, self._side, scale, smallest) for scale in (1.0, *self._settings.scales)]

    def _looks(self, image_and_boxes) -> Looks:
        """An image, resized for each scale."""
        image, boxes, _ = image_and_boxes
        if boxes is not None:
            raise InputError("a network of whole images finds people by itself: give no boxes")
        pixels = load_image(image)
        if isinstance(image, str | os.PathLike):
            self.check_image_size(pixels.shape[:2], image)
        base, *frames = self._frames(pixels.shape[:2])
        return base, [geometry.warp(pixels, one.matrix(), one.size) for one in frames]

    def _outputs(self, looks: Looks) -> tuple[tf.Tensor, tf.Tensor]:
        """Heatmaps [h,w,K], averaged over all scales, and tags [h,w,K,T], of scale 1, or the only one."""
        base, images = looks
        with self._one_at_a_time, self._settings.float32(), timed("network"):
            found = [enlarge(self._maps(tf.constant(image[None])), base.size) for image in images]
        heatmaps = tf.add_n([heatmaps for heatmaps, _ in found]) / len(found)
        scales = list(self._settings.scales)
        return heatmaps[0], found[scales.index(1) if 1 in scales else 0][1][0]

    def _start(self, looks: Looks) -> Callable[[], People]:
        """Gives an image to the network; returns what waits for its people."""
        heatmaps, tags = self._outputs(looks)
        candidates = self._find_candidates(heatmaps, tags)

        def people():
            found = Candidates(*(values.numpy() for values in candidates))
            keypoints, scores = group(heatmaps.numpy(), tags.numpy(), order=self._order, candidates=found)
            is_seen = scores >= self._settings.least_score
            keypoints, scores = keypoints[is_seen][:, self._settings.order], scores[is_seen]
            points = geometry.transform_points(keypoints[..., :2], looks[0].matrix(inverse=True))
            keypoints[..., :2] = np.where(keypoints[..., 2:] > 0, points, 0)
            return People(keypoints, boxes_around(keypoints), scores, self._settings.skeleton)

        return people


def boxes_around(keypoints: np.ndarray) -> np.ndarray:
    """[N,4] boxes (x, y, width, height) of the people of keypoints [N,K,3], around those they have."""
    there = keypoints[..., 2] > 0
    low = np.where(there[..., None], keypoints[..., :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(there[..., None], keypoints[..., :2], -np.inf).max(axis=1, initial=-np.inf)
    tight = np.concatenate([low, np.maximum(high - low, 1)], axis=1)
    boxes = boxes_from_keypoints(keypoints, threshold=0)
    return np.where(np.isnan(boxes), tight, boxes).astype(np.float32)
