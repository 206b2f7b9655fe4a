"""Smoothing of people who are followed, as frames come and of whole files. They are 200 pixels high here."""

import numpy as np
import pytest

from hrnet_tf.errors import InputError
from hrnet_tf.tracking import NO_TRACK, LiveSmoother, smooth_whole

K = 5
HEIGHT = 200.0
POSE = np.column_stack([np.linspace(300, 350, K), np.linspace(100, 100 + HEIGHT, K), np.full(K, 0.9)])


def live(keypoints, times, ids=None, **settings):
    """Keypoints [F,N,K,3] of the same people in every frame, smoothed as they come."""
    smoother = LiveSmoother(**settings)
    ids = np.arange(1, keypoints.shape[1] + 1) if ids is None else ids
    return np.array([smoother(ids, frame, time) for frame, time in zip(keypoints, times, strict=True)])


def whole(keypoints, times, ids=None, **settings):
    ids = np.arange(1, keypoints.shape[1] + 1) if ids is None else ids
    return np.array(smooth_whole([ids] * len(times), list(keypoints), times, **settings))


BOTH = pytest.mark.parametrize("smooth", [live, whole])
TIMES = {
    "25 a second": np.arange(75) / 25,
    "60 a second": np.arange(180) / 60,
    "any": np.cumsum(np.random.default_rng(1).uniform(0.01, 0.06, 80)),
}
RATES = pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)


def still(times):
    return np.tile(POSE, (len(times), 1, 1, 1))


def moving(times, speed=100.0):
    """In a line, at half a height a second."""
    keypoints = still(times)
    keypoints[..., 0] += speed * times[:, None, None]
    return keypoints


@BOTH
@RATES
def test_who_stands_still_stays_there(smooth, times):
    np.testing.assert_allclose(smooth(still(times), times), still(times), rtol=0, atol=1e-9)


@RATES
def test_a_line_has_no_lag_in_whole_files(times):
    np.testing.assert_allclose(whole(moving(times), times), moving(times), rtol=0, atol=1e-9)


@RATES
def test_a_line_has_a_bounded_lag_as_it_goes(times):
    """Behind by about 1 / (2 pi cut-off) seconds: that is 3 Hz and 15 more for each height a second, 10.5 here."""
    behind = (moving(times) - live(moving(times), times))[..., 0]
    assert behind.min() > -1e-9
    settled = behind[times - times[0] > 1]
    assert 0 < settled.max() < 100 / (2 * np.pi * 10.5) * 1.2  # the estimated speed is a little behind, too
    assert behind.max() < 100 / (2 * np.pi * 3)


@pytest.mark.parametrize(("smooth", "factor"), [(live, 1.8), (whole, 3.0)])
@RATES
def test_noise_is_reduced(smooth, factor, times):
    """Of 1 % of the height: its variance by at least this factor."""
    noise = np.random.default_rng(0).normal(0, 0.01 * HEIGHT, (len(times), 1, K, 2))
    keypoints = still(times)
    keypoints[..., :2] += noise
    left = (smooth(keypoints, times) - still(times))[10:-10, ..., :2]
    assert left.var() < noise[10:-10].var() / factor


@BOTH
def test_size_makes_no_difference(smooth):
    times = TIMES["25 a second"]
    keypoints = moving(times)
    keypoints[..., :2] += np.random.default_rng(0).normal(0, 2, keypoints[..., :2].shape)
    tripled = keypoints * (3, 3, 1)
    np.testing.assert_allclose(smooth(tripled, times), smooth(keypoints, times) * (3, 3, 1), rtol=1e-9)


@BOTH
def test_scores_and_people_without_a_track_are_left_alone(smooth):
    times = TIMES["25 a second"]
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([moving(times), moving(times, -80)], axis=1)
    keypoints[..., :2] += rng.normal(0, 2, keypoints[..., :2].shape)
    keypoints[..., 2] = rng.uniform(0.3, 1, keypoints.shape[:-1])
    given = keypoints.copy()
    smoothed = smooth(keypoints, times, ids=np.array([NO_TRACK, 4]))
    np.testing.assert_array_equal(keypoints, given)
    np.testing.assert_array_equal(smoothed[..., 2], keypoints[..., 2])
    np.testing.assert_array_equal(smoothed[:, 0], keypoints[:, 0])
    assert (smoothed[1:-1, 1, :, :2] != keypoints[1:-1, 1, :, :2]).all()


@BOTH
def test_people_do_not_touch_one_another(smooth):
    times = TIMES["25 a second"]
    keypoints = np.concatenate([moving(times), moving(times, -80)], axis=1)
    keypoints[..., :2] += np.random.default_rng(0).normal(0, 2, keypoints[..., :2].shape)
    together = smooth(keypoints, times)
    np.testing.assert_array_equal(together[:, :1], smooth(keypoints[:, :1], times))
    np.testing.assert_array_equal(together[:, 1:], smooth(keypoints[:, 1:], times))


def test_unsure_and_absent_keypoints_are_as_given_and_change_nothing_as_it_goes():
    times = TIMES["25 a second"]
    keypoints = moving(times)
    keypoints[..., :2] += np.random.default_rng(0).normal(0, 2, keypoints[..., :2].shape)
    keypoints[20:23, 0, 1] = np.nan
    keypoints[30:33, 0, 2] = (5000, -70, 0.1)
    smoothed = live(keypoints, times)
    np.testing.assert_array_equal(smoothed[20:23, 0, 1], keypoints[20:23, 0, 1])
    np.testing.assert_array_equal(smoothed[30:33, 0, 2], keypoints[30:33, 0, 2])
    assert np.abs(smoothed - moving(times))[33:, 0, 2, :2].max() < 15
    assert np.isfinite(np.delete(smoothed[:, 0], 1, axis=1)).all()


@pytest.mark.parametrize("away", [slice(0, K), 0], ids=["everybody", "one keypoint"])
def test_what_was_away_for_long_is_filtered_anew(away):
    times = TIMES["25 a second"]
    keypoints = still(times)
    keypoints[10:30, 0, away] = np.nan  # 0.84 s
    keypoints[30:, 0, away, 0] += 50
    np.testing.assert_array_equal(live(keypoints, times)[30], keypoints[30])


def test_short_gaps_are_filled_and_long_ones_are_not():
    times = TIMES["25 a second"]
    keypoints = moving(times)
    keypoints[20:25, 0, 1] = np.nan  # 0.24 s between the sure ones around it
    keypoints[40:50, 0, 2] = (5000, -70, 0.1)
    keypoints[:3, 0, 3], keypoints[-3:, 0, 3] = (0, 0, 0.0), (0, 0, 0.0)
    smoothed = whole(keypoints, times, max_gap=0.3)
    np.testing.assert_allclose(smoothed[20:25, 0, 1, :2], moving(times)[20:25, 0, 1, :2], atol=1e-9)
    assert np.isnan(smoothed[20:25, 0, 1, 2]).all()
    np.testing.assert_array_equal(smoothed[40:50, 0, 2], keypoints[40:50, 0, 2])
    for part in (slice(3), slice(-3, None)):
        np.testing.assert_array_equal(smoothed[part, 0, 3], keypoints[part, 0, 3])
    others = np.ones(keypoints.shape, bool)
    others[20:25, 0, 1] = others[40:50, 0, 2] = others[:3, 0, 3] = others[-3:, 0, 3] = False
    np.testing.assert_allclose(smoothed[others], moving(times)[others], atol=1e-9)


def test_a_keypoint_that_leaps_for_a_moment_is_put_back_in_whole_files():
    times = TIMES["25 a second"]
    keypoints = moving(times)
    keypoints[30:32, 0, 1, :2] += 60
    np.testing.assert_allclose(whole(keypoints, times), moving(times), rtol=0, atol=1e-9)


def test_people_come_and_go_in_whole_files():
    """The second is in frames 10 to 19 and 40 to 49 alone: the two parts have nothing to do with one another."""
    times = TIMES["25 a second"]
    here = [i for i in range(len(times)) if 10 <= i < 20 or 40 <= i < 50]
    first, second = moving(times)[:, 0], still(times)[:, 0]
    second[40:, :, 0] += 500
    rows = [np.stack([second[i], first[i]]) if i in here else first[i][None] for i in range(len(times))]
    ids = [np.array([7, 3]) if i in here else np.array([3]) for i in range(len(times))]
    for given, smoothed in zip(rows, smooth_whole(ids, rows, times), strict=True):
        np.testing.assert_allclose(smoothed, given, rtol=0, atol=1e-9)


def test_nobody_and_nothing():
    assert smooth_whole([], [], []) == []
    assert smooth_whole([np.zeros(0)], [np.zeros((0, K, 3))], [0.0])[0].shape == (0, K, 3)
    assert LiveSmoother()(np.zeros(0), np.zeros((0, K, 3)), 0.0).shape == (0, K, 3)


def test_frames_at_one_time_are_taken():
    times = np.repeat([0.0, 0.04, 0.08, 0.12], 3)
    for smooth in (live, whole):
        np.testing.assert_allclose(smooth(still(times), times), still(times), rtol=0, atol=1e-9)


def test_what_cannot_be_smoothed_is_refused():
    frame = still([0.0])[0]
    for arguments in (([1, 2], frame, 0.0), ([4, 4], np.repeat(frame, 2, axis=0), 0.0), ([1], frame[..., :2], 0.0)):
        with pytest.raises(InputError, match="Received"):
            LiveSmoother()(*arguments)
        with pytest.raises(InputError, match="Received"):
            smooth_whole([arguments[0]], [arguments[1]], [arguments[2]])
    with pytest.raises(InputError, match="as many as the frames"):
        smooth_whole([[1]], [frame], [0.0, 1.0])
    with pytest.raises(InputError, match="time must be"):
        smooth_whole([[1], [1]], [frame, frame], [1.0, 0.0])
    for wrong in (
        lambda: LiveSmoother(min_cutoff=0),
        lambda: LiveSmoother(beta=-1),
        lambda: whole(still([]), [], window=-1),
    ):
        with pytest.raises(ValueError, match="Received"):
            wrong()
