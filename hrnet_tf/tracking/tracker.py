"""Who is who from frame to frame, by keypoints and boxes.

People of a frame are assigned to tracks one to one, so that the sum of likenesses is largest (Kuhn, Naval Research
Logistics Quarterly, 1955); those that a detector is sure of first, then unsure ones to the tracks that are left, as in
ByteTrack (Zhang et al., ECCV 2022). Whoever is not seen is taken to go on at the same velocity for a while.

Shape legend: N people of a frame, T tracks, K keypoints. Times are in seconds, so that frames may come at any rate.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.similarity import checked_sigmas, oks
from hrnet_tf.files import MAX_COORDINATE
from hrnet_tf.tracking.arrays import checked_keypoints, checked_time, is_sure, known, overlaps

# The track of somebody who has none.
NO_TRACK = -1
# At most so many people of a frame are followed, those with the highest scores, and so many tracks are kept.
MAX_PEOPLE = 1000
# A track and a person may be the same if the mean of keypoint similarity and overlap is at least this.
MIN_LIKENESS = 0.3
# Whoever is found in an expected box is who is expected from this keypoint similarity on.
MIN_FOLLOWED = 0.1
# Nobody is new who is this much like somebody of the same frame.
DUPLICATE_LIKENESS = 0.7
# Of two people of a frame whose keypoints are more alike than this, they are the surer one's.
SHARED_SIMILARITY = 0.5
# Seconds in which a velocity is believed that keypoints tell, and one that boxes alone tell; and a box.
VELOCITY_TIME, BOX_VELOCITY_TIME = 0.25, 0.5
BOX_TIME = 0.04
# Between frames nearer to one another than this, in seconds, no velocity is measured.
MIN_TIME = 1e-3


@dataclasses.dataclass
class _Tracks:
    """T tracks as arrays: ids (`NO_TRACK` until the second sighting), boxes and points [T,K,2] where they are expected
    now, velocities [T,2] in pixels a second (NaN after one sighting), and when each was seen."""

    ids: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    velocities: np.ndarray
    seen_at: np.ndarray

    def __getitem__(self, rows):
        return _Tracks(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def __len__(self):
        return len(self.ids)

    def and_these(self, other):
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in dataclasses.fields(self))
        return _Tracks(*(np.concatenate(pair) for pair in pairs))


class Tracker:
    """Gives people the same number in every frame.

        tracker = Tracker(predictor.skeleton.oks_sigmas)
        for time, keypoints, boxes, scores in frames:
            track_ids = tracker.update(keypoints, boxes, scores, time)

    Somebody new has `NO_TRACK` at first and gets a number at the second sighting in a row, so that what a detector
    sees once takes none; in the first frame that has people all get one. Numbers count from 1 and are never used again.
    The order of the people of a frame does not matter.
    """

    def __init__(
        self,
        sigmas: ArrayLike | None = None,
        max_gap: float = 1.0,
        birth_score: float = 0.4,
        min_score: float = 0.1,
        keypoint_threshold: float = 0.2,
    ):
        """Starts without tracks.

        Args:
            sigmas: K tolerances of keypoints as fractions of object size, `Skeleton.oks_sigmas`; COCO's by default.
            max_gap: seconds for which somebody may be unseen and keep the number.
            birth_score: people scored at least so are looked for among all tracks, and are new if they are in none.
            min_score: people scored lower than `birth_score`, but at least so, only go on with a track.
            keypoint_threshold: keypoints scored at or below it are not compared.

        Raises:
            InputError: `sigmas` are not positive numbers.
            ValueError: `max_gap` is negative, or the scores are not in order.
        """
        if not max_gap >= 0:
            raise ValueError(f"`max_gap` must not be negative. Received: {max_gap}")
        if not min_score <= birth_score:
            raise ValueError(f"`min_score` must not exceed `birth_score`. Received: {min_score} and {birth_score}")
        self._sigmas = checked_sigmas(sigmas, 17 if sigmas is None else np.size(sigmas))
        self.max_gap, self.birth_score, self.min_score = max_gap, birth_score, min_score
        self.keypoint_threshold = keypoint_threshold
        self._tracks = self._tracks_of(np.zeros((0, len(self._sigmas), 2)), np.zeros((0, 4)), 0.0)
        self._next_id = 1
        self._time: float | None = None
        self._looked_at = -np.inf

    def update(self, keypoints: ArrayLike, boxes: ArrayLike, scores: ArrayLike, time: float) -> np.ndarray:
        """Takes the people of the next frame.

        Args:
            keypoints: [N,K,3] x, y in pixels and score; NaN where there is none.
            boxes: [N,4] x, y, width, height in pixels.
            scores: [N], how sure it is that each is a person, from 0 to 1, as a detector says.
            time: of the frame in seconds, not before the last one's. It counts frames without people, too.

        Returns:
            [N] int64 numbers from 1, or `NO_TRACK` for people who are new, unsure, or cannot be used (NaN, no area).

        Raises:
            InputError: shapes differ or `time` is before the last one; nothing has changed then.
        """
        keypoints = checked_keypoints(keypoints, len(self._sigmas))
        boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
        if boxes.shape != (len(keypoints), 4) or scores.shape != (len(keypoints),):
            raise InputError(
                f"boxes must have shape [{len(keypoints)},4] and scores [{len(keypoints)}], one for each person. "
                f"Received: {list(boxes.shape)} and {list(scores.shape)}"
            )
        time = checked_time(time, self._time)
        self._go_on(time)
        ids = np.full(len(keypoints), NO_TRACK)
        self._looked_at = time
        points = self._sure_points(keypoints)
        order = self._ordered(points, boxes, scores)
        ids[order] = self._update(points[order], boxes[order], scores[order] >= self.birth_score, time)
        return ids

    def expected_boxes(self, time: float) -> np.ndarray:
        """Where the people of the last frame at which a detector looked are expected, for a frame at which none does.

        Args:
            time: of that frame in seconds.

        Returns:
            [T,4] float64, for `follow`: boxes as a detector gave them, moved as the keypoints have moved since.
        """
        rows = self._followed(time)
        boxes = self._tracks.boxes[rows]
        if self._time is not None:
            boxes[:, :2] += np.nan_to_num(self._tracks.velocities[rows]) * (time - self._time)
        return boxes

    def follow(self, keypoints: ArrayLike, time: float) -> np.ndarray:
        """Takes a frame at which no detector looks: whoever is found in the boxes of `expected_boxes`.

        Args:
            keypoints: [T,K,3] x, y in pixels and score, of these boxes, in their order.
            time: as given for the boxes.

        Returns:
            [T] int64 numbers, or `NO_TRACK` for those who have none yet and those in whose box somebody else is found.

        Raises:
            InputError: these are no keypoints of the boxes, or `time` is before the last one.
        """
        keypoints = checked_keypoints(keypoints, len(self._sigmas))
        time = checked_time(time, self._time)
        if len(keypoints) != len(self._followed(time)):
            raise InputError(
                f"keypoints must be those of the {len(self._followed(time))} expected boxes. Received: {len(keypoints)}"
            )
        self._go_on(time)
        tracks, rows = self._tracks, self._followed(time)
        points = self._sure_points(keypoints)
        expected, boxes = tracks.points[rows], tracks.boxes[rows]
        both, areas = known(points) & known(expected), boxes[:, 2:].prod(axis=1)
        alike = np.zeros(len(rows))
        for i in range(len(rows)):
            one = slice(i, i + 1)
            alike[i] = oks(expected[i], areas[i], points[one], areas[one], self._sigmas, both[one])[0]
        order = np.argsort(-alike, kind="stable")
        points[order] = self._without_shared(points[order], boxes[order])
        both &= known(points)
        seen = np.flatnonzero(both.any(axis=1) & (alike >= MIN_FOLLOWED))
        moves = np.where(both[seen, :, None], points[seen] - expected[seen], np.nan)
        boxes[seen, :2] += np.nanmedian(moves, axis=1)
        self._learn(rows[seen], points[seen], boxes[seen], time)
        tracks.boxes[rows] = boxes  # a box goes with its pose; a detector's is filtered instead
        ids = np.full(len(rows), NO_TRACK)
        ids[seen] = tracks.ids[rows[seen]]
        return ids

    def _followed(self, time):
        """Rows of the tracks that are followed between two looks of a detector."""
        seen_at = self._tracks.seen_at
        return np.flatnonzero((seen_at >= self._looked_at) & (time - seen_at <= self.max_gap))

    def _sure_points(self, keypoints):
        """[N,K,2] of keypoints [N,K,3], NaN where they do not count."""
        return np.where(is_sure(keypoints, self.keypoint_threshold)[..., None], keypoints[..., :2], np.nan)

    def _ordered(self, points, boxes, scores):
        """Rows of the people to follow: the surest first, then from left to right, whatever order they came in."""
        # Comparisons with NaN are false.
        usable = (np.abs(boxes) <= MAX_COORDINATE).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        rows = np.flatnonzero(usable & (scores >= self.min_score))
        flat = points.reshape(len(points), points.shape[1] * 2)[rows]
        keys = np.concatenate([flat, boxes[rows, ::-1], -scores[rows, None]], axis=1)
        return rows[np.lexsort(keys.T)][:MAX_PEOPLE]

    def _go_on(self, time):
        """Tracks are where they are expected at a time; those that nobody was seen of for too long end."""
        passed = time - (time if self._time is None else self._time)
        self._time = time
        self._tracks = tracks = self._tracks[time - self._tracks.seen_at <= self.max_gap]
        shifts = np.nan_to_num(tracks.velocities) * passed
        tracks.points += shifts[:, None]
        tracks.boxes[:, :2] += shifts

    def _update(self, points, boxes, is_sure_person, time):
        """The numbers of a frame's people, best first, and what the tracks learn of them."""
        tracks, points = self._tracks, self._without_shared(points, boxes)
        likeness = self._likeness(tracks.points, tracks.boxes, points, boxes)
        found = np.full(len(points), -1)
        _assign(likeness, np.arange(len(tracks)), np.flatnonzero(is_sure_person), found)
        left = np.setdiff1d(np.flatnonzero(tracks.ids != NO_TRACK), found)
        _assign(likeness, left, np.flatnonzero(~is_sure_person), found)

        people = np.flatnonzero(found >= 0)
        rows = found[people]
        self._learn(rows, points[people], boxes[people], time)
        tracks.ids[rows] = [self._new_id() if i == NO_TRACK else i for i in tracks.ids[rows]]
        new = self._newcomers(points, boxes, np.flatnonzero(is_sure_person & (found < 0)), people)
        born = self._tracks_of(points[new], boxes[new], time)
        if self._next_id == 1:
            born.ids[:] = [self._new_id() for _ in new]
        ids = np.full(len(points), NO_TRACK)
        ids[people], ids[new] = tracks.ids[rows], born.ids
        self._tracks = tracks[tracks.ids != NO_TRACK].and_these(born)  # who is without a number now was nobody
        self._tracks = self._tracks[np.argsort(-self._tracks.seen_at, kind="stable")[:MAX_PEOPLE]]
        return ids

    def _new_id(self):
        self._next_id += 1
        return self._next_id - 1

    def _tracks_of(self, points, boxes, time):
        count = len(points)
        velocities = np.full((count, 2), np.nan)
        return _Tracks(np.full(count, NO_TRACK), boxes.copy(), points.copy(), velocities, np.full(count, time))

    def _without_shared(self, points, boxes):
        """The points [N,K,2], NaN for people who have another's: a network finds who is in front in both boxes."""
        points, areas = points.copy(), boxes[:, 2:].prod(axis=1)
        sure = known(points)
        meet = np.triu(overlaps(boxes, boxes) > 0, 1)
        for i in range(len(points)):
            others = np.flatnonzero(meet[i])
            if len(others) and known(points[i]).any():
                both = sure[i] & sure[others]
                alike = oks(points[i], areas[i], points[others], areas[others], self._sigmas, both)
                points[others[alike > SHARED_SIMILARITY]] = np.nan
        return points

    def _likeness(self, points, boxes, other_points, other_boxes):
        """[T,N] 0..1: the mean of overlap and keypoint similarity; the overlap alone where no keypoint counts."""
        likeness = overlaps(boxes, other_boxes)
        sure, other_sure = known(points), known(other_points)
        areas, other_areas = boxes[:, 2:].prod(axis=1), other_boxes[:, 2:].prod(axis=1)
        for i in range(len(boxes)):
            both = sure[i] & other_sure
            similarity = oks(points[i], areas[i], other_points, other_areas, self._sigmas, both)
            likeness[i] = np.where(both.any(axis=1), (likeness[i] + similarity) / 2, likeness[i])
        return likeness

    def _newcomers(self, points, boxes, candidates, found):
        """Those of the candidates who are nobody that was found, nor a newcomer before them."""
        new: list[int] = []
        everybody = np.concatenate([found, candidates])
        likeness = self._likeness(points[candidates], boxes[candidates], points[everybody], boxes[everybody])
        counted = np.arange(len(everybody)) < len(found)
        for i, candidate in enumerate(candidates):
            if not (likeness[i, counted] > DUPLICATE_LIKENESS).any():
                new.append(candidate)
                counted[len(found) + i] = True
        return np.array(new, np.intp)

    def _learn(self, rows, points, boxes, time):
        """Tracks `rows`, which are where they were expected, learn where these people are."""
        tracks = self._tracks
        expected, old = tracks.points[rows], tracks.velocities[rows]
        passed = (time - tracks.seen_at[rows])[:, None]
        both = known(expected) & known(points)
        by_points = both.any(axis=1)
        box_errors = _middle(boxes) - _middle(tracks.boxes[rows])
        errors = np.where(by_points[:, None, None], points - expected, box_errors[:, None])
        velocities = np.nan_to_num(old) + np.nanmedian(errors, axis=1) / np.maximum(passed, MIN_TIME)
        weights = _weight(passed, np.where(by_points, VELOCITY_TIME, BOX_VELOCITY_TIME)[:, None])
        mixed = np.where(np.isnan(old), velocities, old + weights * (velocities - old))
        tracks.velocities[rows] = np.where(passed >= MIN_TIME, mixed, old)
        weights, middles = _weight(passed, BOX_TIME), _middle(tracks.boxes[rows])
        sizes = tracks.boxes[rows, 2:] + weights * (boxes[:, 2:] - tracks.boxes[rows, 2:])
        middles += weights * (_middle(boxes) - middles)
        tracks.boxes[rows] = np.concatenate([middles - sizes / 2, sizes], axis=1)
        tracks.points[rows] = np.where(known(points).any(axis=1)[:, None, None], points, expected)
        tracks.seen_at[rows] = time


def _middle(boxes):
    return boxes[:, :2] + boxes[:, 2:] / 2


def _weight(passed, time):
    """How much is believed after so many seconds of what takes `time` seconds to be believed."""
    return 1 - np.exp(-passed / time)


def _assign(likeness, tracks, people, found):
    """Assigns some of the people to some of the tracks where they are alike; `found` [N] gets the tracks."""
    values = likeness[np.ix_(tracks, people)]
    values = np.where(values >= MIN_LIKENESS, values, 0)
    chosen, ones = linear_sum_assignment(values, maximize=True)
    alike = values[chosen, ones] > 0
    found[people[ones[alike]]] = tracks[chosen[alike]]
