"""Keypoints of people who are followed, without trembling: frame by frame as they come, or whole files at once.

Shape legend: N people of a frame, K keypoints, F frames, S sightings of a person. Times are in seconds and speeds in
sizes of the person a second, so that the same settings serve any frame rate and any size.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter

from hrnet_tf.errors import InputError
from hrnet_tf.tracking.arrays import checked_keypoints, checked_time, is_sure
from hrnet_tf.tracking.tracker import MIN_TIME, NO_TRACK

# Of the One-Euro filter: the cut-off in Hz of a keypoint that rests, what a speed of one size a second adds to it, and
# the cut-off of the speed itself, which is the paper's.
MIN_CUTOFF, BETA, SPEED_CUTOFF = 3.0, 15.0, 1.0
# Seconds after which an unseen keypoint is filtered anew, and in which the size of a person is averaged.
LIVE_GAP = 0.5
SIZE_TIME = 1.0
# Of whole files: the seconds that a polynomial of this degree is fitted to, and those that are filled at most.
WINDOW, DEGREE, WHOLE_GAP = 0.35, 2, 0.3
# A keypoint this far from the median of its window, in sizes of the person, is not believed: a leg taken for the other.
OUTLIER = 0.1
# A window has at most so many samples: more are thinned out, so that no video makes it large.
MAX_WINDOW_SAMPLES = 101


@dataclasses.dataclass
class _State:
    """A person as filtered so far: points [K,2], speeds [K,2] in pixels a second, when each was seen [K], size."""

    points: np.ndarray
    speeds: np.ndarray
    seen_at: np.ndarray
    size: float


class LiveSmoother:
    """The One-Euro filter (Casiez et al., CHI 2012) for the keypoints of everybody who is followed, as frames come.

    A keypoint that rests is averaged for long, one that moves follows at once: speeds count in sizes of the person.
    What it gives depends on the frames before alone. A keypoint whose score is low is given as it came and changes
    nothing, so that one that a network guesses pulls no other frame along; nothing is made up where there is none.
    """

    def __init__(self, min_cutoff: float = MIN_CUTOFF, beta: float = BETA, threshold: float = 0.2):
        """Starts with nobody.

        Args:
            min_cutoff: cut-off in Hz for keypoints that rest; lower is smoother.
            beta: Hz that are added for each size of the person a second; higher lags less.
            threshold: keypoints scored at or below it are left as they are.

        Raises:
            ValueError: `min_cutoff` is not positive or `beta` is negative.
        """
        if not (min_cutoff > 0 and beta >= 0):
            raise ValueError(f"`min_cutoff` must be positive, `beta` not negative. Received: {min_cutoff} and {beta}")
        self.min_cutoff, self.beta, self.threshold = min_cutoff, beta, threshold
        self._states: dict[int, _State] = {}
        self._time: float | None = None

    def __call__(self, track_ids: ArrayLike, keypoints: ArrayLike, time: float) -> np.ndarray:
        """The smoothed keypoints of the people of the next frame.

        Args:
            track_ids: [N], as `Tracker.update` gives them; people with `NO_TRACK` are left as they are.
            keypoints: [N,K,3] x, y in pixels and score; NaN where there is none.
            time: of the frame in seconds, not before the last one's.

        Returns:
            [N,K,3] float64; scores are those given.

        Raises:
            InputError: shapes differ, somebody is there twice, or `time` is before the last one.
        """
        ids, smoothed = _checked_people(track_ids, keypoints)
        self._time = time = checked_time(time, self._time)
        self._states = {
            track_id: state for track_id, state in self._states.items() if time - state.seen_at.max() <= LIVE_GAP
        }
        for track_id, points in zip(ids.tolist(), smoothed, strict=True):
            if track_id != NO_TRACK:
                self._smooth(track_id, points, time)
        return smoothed

    def _smooth(self, track_id, points, time):
        """Smooths the keypoints [K,3] of somebody in place."""
        sure = is_sure(points, self.threshold)
        if not sure.any():
            return
        extent = max(float(_extents(points[None], sure[None])[0]), 1.0)
        state = self._states.get(track_id)
        if state is None:
            count = len(points)
            state = _State(np.zeros((count, 2)), np.zeros((count, 2)), np.full(count, -np.inf), extent)
            self._states[track_id] = state
        gaps = time - state.seen_at
        state.size += (extent - state.size) * _weight(1 / (2 * np.pi * SIZE_TIME), float(gaps.min()))
        first, again = sure & (gaps > LIVE_GAP), sure & (gaps <= LIVE_GAP)
        state.points[first], state.speeds[first] = points[first, :2], 0

        passed, new = gaps[again, None], points[again, :2]
        old, speeds = state.points[again], state.speeds[again]
        speeds += _weight(SPEED_CUTOFF, passed) * ((new - old) / np.maximum(passed, MIN_TIME) - speeds)
        cutoffs = self.min_cutoff + self.beta * np.linalg.norm(speeds, axis=1, keepdims=True) / state.size
        state.points[again], state.speeds[again] = old + _weight(cutoffs, passed) * (new - old), speeds
        state.seen_at[sure] = time
        points[sure, :2] = state.points[sure]


def smooth_whole(
    track_ids: Sequence[ArrayLike],
    keypoints: Sequence[ArrayLike],
    times: ArrayLike,
    window: float = WINDOW,
    threshold: float = 0.2,
    max_gap: float = WHOLE_GAP,
) -> list[np.ndarray]:
    """Smooths the keypoints of a whole video, without lag.

    Where a keypoint's score is low, or it is far from where it is before and after, for at most `max_gap` seconds, it
    is put on the line between those before and after. Then a polynomial of second degree is fitted around every moment
    (Savitzky and Golay, Analytical Chemistry, 1964). What is not to be believed for longer stays as it is.

    Args:
        track_ids: F times [N], as `Tracker.update` gives them; people with `NO_TRACK` are left as they are.
        keypoints: F times [N,K,3] x, y in pixels and score; NaN where there is none.
        times: [F] seconds, not descending, at any rate.
        window: seconds that the polynomial is fitted to.
        threshold: keypoints scored at or below it are not believed.
        max_gap: seconds between two believed keypoints across which those between are filled.

    Returns:
        F arrays [N,K,3] float64; scores are those given.

    Raises:
        InputError: lengths or shapes differ, somebody is in a frame twice, or times descend.
        ValueError: `window` or `max_gap` is negative.
    """
    if not (window >= 0 and max_gap >= 0):
        raise ValueError(f"`window` and `max_gap` must not be negative. Received: {window} and {max_gap}")
    times = np.asarray(times, np.float64)
    if not len(track_ids) == len(keypoints) == times.size or times.ndim != 1:
        raise InputError(
            "track_ids, keypoints and times must be as many as the frames. "
            f"Received: {len(track_ids)}, {len(keypoints)} and {list(times.shape)}"
        )
    people = [_checked_people(*frame) for frame in zip(track_ids, keypoints, strict=True)]
    smoothed = [points for _, points in people]
    last = None
    for time in times:
        last = checked_time(time, last)
    sightings: dict[int, list[tuple[int, int]]] = {}
    for frame, (ids, _) in enumerate(people):
        for row, track_id in enumerate(ids.tolist()):
            if track_id != NO_TRACK:
                sightings.setdefault(track_id, []).append((frame, row))
    for places in sightings.values():
        track = np.stack([smoothed[frame][row] for frame, row in places])  # [S,K,3]
        when = times[[frame for frame, _ in places]]
        sure = is_sure(track, threshold)
        extents = _extents(track, sure)
        size = float(np.median(extents[extents > 0])) if (extents > 0).any() else 0.0
        for k in range(track.shape[1]):
            believed = _without_outliers(track[:, k], when, np.flatnonzero(sure[:, k]), window, OUTLIER * size)
            _smooth_keypoint(track[:, k], when, believed, window, max_gap)
        for (frame, row), points in zip(places, track, strict=True):
            smoothed[frame][row] = points
    return smoothed


def _extents(keypoints, sure):
    """[S] pixels, the longer side of what the sure keypoints of [S,K,3] span; 0 where there is none."""
    low = np.where(sure[..., None], keypoints[..., :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(sure[..., None], keypoints[..., :2], -np.inf).max(axis=1, initial=-np.inf)
    return np.maximum(high - low, 0).max(axis=1)


def _without_outliers(points, times, believed, window, limit):
    """Those of the `believed` rows of one keypoint [S,3] that are near the median of their window."""
    if len(believed) < 3:
        return believed
    length = _samples(window, float(np.median(np.diff(times[believed]))))
    medians = median_filter(points[believed, :2], size=(length, 1), mode="nearest")
    return believed[np.linalg.norm(points[believed, :2] - medians, axis=1) <= limit]


def _smooth_keypoint(points, times, believed, window, max_gap):
    """Smooths one keypoint [S,3] of one person in place, by the rows that are believed."""
    for part in np.split(believed, np.flatnonzero(np.diff(times[believed]) > max_gap) + 1):
        if len(part):
            span = slice(part[0], part[-1] + 1)
            for axis in (0, 1):
                points[span, axis] = _filtered(times[part], points[part, axis], times[span], window)


def _filtered(times, values, wanted, window):
    """Values [S] at ascending times [S], smoothed, at the `wanted` times between the first and the last."""
    duration = times[-1] - times[0]
    step = max(float(np.median(np.diff(times))), window / MAX_WINDOW_SAMPLES, MIN_TIME) if duration > 0 else 0.0
    count = round(duration / step) + 1 if step else 1
    length = min(_samples(window, step), (count - 1) // 2 * 2 + 1)
    if length <= DEGREE + 1:
        return np.interp(wanted, times, values)
    # The filter needs equal steps. Where frames have them, these are the frames.
    grid = np.linspace(times[0], times[-1], count)
    return np.interp(wanted, grid, savgol_filter(np.interp(grid, times, values), length, DEGREE))


def _samples(window, step):
    """How many samples a window has, an odd number."""
    return 2 * round(min(window / max(step, MIN_TIME), MAX_WINDOW_SAMPLES - 1) / 2) + 1


def _weight(cutoff, passed):
    """How much the new value counts in a low-pass filter of a cut-off in Hz after so many seconds."""
    turned = 2 * np.pi * cutoff * passed
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(turned), 1.0, turned / (turned + 1))


def _checked_people(track_ids, keypoints):
    """Both as arrays, keypoints copied; InputError unless they belong together and everybody is there once."""
    keypoints, track_ids = checked_keypoints(keypoints).copy(), np.asarray(track_ids)
    if track_ids.shape != (len(keypoints),):
        raise InputError(f"track_ids must have shape [{len(keypoints)}]. Received: {list(track_ids.shape)}")
    known = track_ids[track_ids != NO_TRACK]
    if len(np.unique(known)) < len(known):
        raise InputError(f"everybody must be in a frame once. Received: track_ids {np.sort(known).tolist()}")
    return track_ids, keypoints
