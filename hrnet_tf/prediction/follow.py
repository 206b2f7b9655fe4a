"""People of a video from frame to frame: who is who, boxes where no detector looks, keypoints without trembling."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterable

import numpy as np

from hrnet_tf import progress
from hrnet_tf.ahead import in_background
from hrnet_tf.prediction.flow import Group, people_of, with_scores
from hrnet_tf.prediction.people import People
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.results import Picture
from hrnet_tf.skeletons import Skeleton
from hrnet_tf.timing import timed
from hrnet_tf.tracking import NO_TRACK, LiveSmoother, Tracker, smooth_whole

_NO_IMAGE = np.empty((0, 0, 3), np.uint8)
# How keypoints are smoothed.
SMOOTHINGS = ("live", "whole", "off")


class Follower:
    """Gives the people of one frame after the other their `track_ids`.

    Args:
        skeleton: of the keypoints.
        smooths: whether to smooth them as they come (see `LiveSmoother`).
    """

    def __init__(self, skeleton: Skeleton, smooths: bool):
        self._tracker = Tracker(skeleton.oks_sigmas)
        self._smoother = LiveSmoother() if smooths else None
        self._scores: dict[int, float] = {}  # of boxes, as a detector gave them last

    def __call__(self, people: People, picture: Picture) -> People:
        """The people of a frame that a detector looked at, or that boxes are given for."""
        with timed("tracking"):
            return self._updated(people, picture)

    def _updated(self, people, picture):
        time = picture.time or 0.0
        ids = self._tracker.update(people.keypoints, people.boxes, picture.box_scores, time)
        self._scores = dict(zip(ids.tolist(), picture.box_scores.tolist(), strict=True)) | {NO_TRACK: 0.0}
        return self._with_tracks(people, ids, time)

    def between(self, predictor: PosePredictor, picture: Picture) -> tuple[Picture, People]:
        """A frame that no detector looked at, and those of its people who are where the last poses lead."""
        time = picture.time or 0.0
        boxes = self._tracker.expected_boxes(time).astype(np.float32)
        keypoints = predictor(picture.image, boxes)
        with timed("tracking"):
            ids = self._tracker.follow(keypoints, time)
        seen = ids != NO_TRACK
        scores = np.array([self._scores[i] for i in ids[seen].tolist()], np.float32)
        picture = dataclasses.replace(picture, boxes=boxes[seen], box_scores=scores)
        return picture, self._with_tracks(people_of(predictor, picture, keypoints[seen]), ids[seen], time)

    def _with_tracks(self, people, ids, time):
        keypoints = self._smoother(ids, people.keypoints, time) if self._smoother else people.keypoints
        return dataclasses.replace(people, keypoints=keypoints.astype(np.float32), track_ids=ids)


def frame_by_frame(
    predictor: PosePredictor, pictures: Generator[Picture, None, None], follower: Follower
) -> Generator[Group, None, None]:
    """Predicts frames each by itself, as one says where people are in the next.

    Meanwhile frames are read and looked at by the detector.

    Args:
        predictor: a `PosePredictor`.
        pictures: iterated in another thread, and closed at the end.
        follower: of this video.
    """
    with contextlib.closing(in_background(pictures)) as frames:
        for picture in frames:
            if picture.is_searched:
                people = next(predictor.people_batches([[(picture.image, picture.boxes, picture.box_scores)]]))[0]
                picture = picture if predictor.needs_boxes else with_scores(picture, people)
                yield [(picture, follower(people, picture))]
            else:
                yield [follower.between(predictor, picture)]


def smoothed_whole(
    groups: Generator[Group, None, None], frames_again: Callable[[], Iterable[np.ndarray]], total: int | None
) -> Generator[Group, None, None]:
    """The frames of a video with keypoints that are smoothed once all are there, for which it is read a second time.

    Keypoints wait in memory, frames do not.

    Args:
        groups: frames with their people, who have `track_ids`; closed at the end.
        frames_again: gives the images of the same frames from the beginning, to be iterated in another thread.
        total: how many frames there are, None where that is unknown.
    """
    kept = []
    with contextlib.closing(groups), progress.bar("following", total, "frames") as shown:
        for group in groups:
            kept += [(dataclasses.replace(picture, image=_NO_IMAGE), people) for picture, people in group]
            shown.update(len(group))
    ids, keypoints = [p.track_ids for _, p in kept if p.track_ids is not None], [p.keypoints for _, p in kept]
    smoothed = smooth_whole(ids, keypoints, [picture.time or 0.0 for picture, _ in kept])
    with contextlib.closing(in_background(frames_again())) as frames:
        for (picture, people), points, image in zip(kept, smoothed, frames, strict=True):
            picture = dataclasses.replace(picture, image=image)
            yield [(picture, dataclasses.replace(people, keypoints=points.astype(np.float32)))]
