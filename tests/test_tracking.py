"""Tracks: who is who from frame to frame. People here are stiff figures of 60 x 180 pixels that glide."""

import numpy as np
import pytest

from hrnet_tf.errors import InputError
from hrnet_tf.tracking import NO_TRACK, Tracker, boxes_from_keypoints
from hrnet_tf.tracking.tracker import MAX_PEOPLE

SIZE = np.array([60.0, 180.0])


def figure(person):
    """[17,2], another posture for every person, from corner to corner of (60, 180)."""
    points = np.random.default_rng(person).uniform(0, 1, (17, 2)) * SIZE
    points[:2] = np.zeros(2), SIZE
    return points


def frame(places, scores=None):
    """Keypoints, boxes and scores of people {number: (x, y)}."""
    keypoints = np.array([np.column_stack([figure(n) + place, np.full(17, 0.9)]) for n, place in places.items()])
    boxes = np.array([[*place, *SIZE] for place in places.values()])
    scores = np.full(len(places), 0.9) if scores is None else np.asarray(scores, float)
    return keypoints.reshape(-1, 17, 3), boxes.reshape(-1, 4), scores


def crossing(time):
    """Two people who walk past one another at 200 pixels a second, the second a little farther away."""
    return {1: (100 + 200 * time, 100.0), 2: (500 - 200 * time, 85.0)}


def track(places_of, times, **settings):
    """Of every time the numbers of the people {number: track}."""
    tracker = Tracker(**settings)
    return [
        dict(zip(places_of(time), tracker.update(*frame(places_of(time)), time).tolist(), strict=True))
        for time in times
    ]


@pytest.mark.parametrize("rate", [10, 25, 60, "any"])
def test_people_who_cross_keep_their_numbers_at_any_frame_rate(rate):
    steps = np.random.default_rng(0).uniform(0.005, 0.08, 60) if rate == "any" else np.full(2 * rate, 1 / rate)
    times = np.cumsum(steps)
    assert all(numbers == {1: 1, 2: 2} for numbers in track(crossing, times))


def test_somebody_hidden_in_crossing_keeps_the_number():
    def places(time):
        return {n: place for n, place in crossing(time).items() if n == 1 or not 0.7 < time < 1.3}

    numbers = track(places, np.arange(0, 2, 0.04))
    assert {n[1] for n in numbers} == {1}
    assert {n[2] for n in numbers if 2 in n} == {2}
    assert sum(2 in n for n in numbers) < len(numbers) - 10


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_people_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    first, other = Tracker(), Tracker()
    for i in range(20):
        places = {n: (150 * n + 40 * rng.normal(), 50 * rng.normal()) for n in range(6) if rng.random() < 0.9}
        people = frame(places, rng.uniform(0.05, 1, len(places)))
        order = rng.permutation(len(places))
        expected = first.update(*people, i / 25)
        np.testing.assert_array_equal(other.update(*(array[order] for array in people), i / 25), expected[order])


@pytest.mark.parametrize(("gap", "same"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("rate", [5, 30])
def test_a_gap_ends_a_track_by_its_seconds(gap, same, rate):
    tracker = Tracker(max_gap=1.0)
    person, nobody = frame({1: (100, 100)}), frame({})
    assert tracker.update(*person, 0.0) == [1]
    for time in np.arange(1, int(gap * rate)) / rate:
        assert tracker.update(*nobody, time).shape == (0,)
    tracker.update(*person, gap)
    assert tracker.update(*person, gap + 1 / rate) == [1 if same else 2]


def test_who_is_unseen_is_expected_where_the_way_leads():
    """After 0.8 s at 200 px/s nobody is where they were, and somebody else may stand there."""
    tracker = Tracker()
    for i in range(15):
        tracker.update(*frame({1: (100 + 8 * i, 100)}), i / 25)
    for i in range(15, 35):
        tracker.update(*frame({}), i / 25)
    ids = tracker.update(*frame({1: (100 + 8 * 35, 100), 2: (212, 100)}), 35 / 25)
    np.testing.assert_array_equal(ids, [1, NO_TRACK])


def test_what_is_seen_once_takes_no_number():
    tracker = Tracker()
    assert tracker.update(*frame({1: (100, 100)}), 0.0) == [1]
    np.testing.assert_array_equal(tracker.update(*frame({1: (100, 100), 2: (400, 100)}), 0.04), [1, NO_TRACK])
    np.testing.assert_array_equal(tracker.update(*frame({1: (100, 100), 3: (700, 100)}), 0.08), [1, NO_TRACK])
    np.testing.assert_array_equal(tracker.update(*frame({1: (100, 100), 3: (700, 100)}), 0.12), [1, 2])


def test_unsure_people_go_on_with_a_track_but_begin_none():
    tracker = Tracker(birth_score=0.4, min_score=0.1)
    tracker.update(*frame({1: (100, 100)}), 0.0)
    for i in range(1, 5):
        ids = tracker.update(*frame({1: (100, 100), 2: (400, 100), 3: (700, 100)}, [0.2, 0.2, 0.05]), i / 25)
        np.testing.assert_array_equal(ids, [1, NO_TRACK, NO_TRACK])


def test_a_second_box_of_somebody_is_nobody_new():
    tracker = Tracker()
    tracker.update(*frame({1: (100, 100)}), 0.0)
    for i in range(1, 5):
        keypoints, boxes, scores = frame({1: (100, 100), 2: (103, 102)}, [0.9, 0.8])
        keypoints[1] = keypoints[0]
        np.testing.assert_array_equal(tracker.update(keypoints, boxes, scores, i / 25), [1, NO_TRACK])


def test_people_in_one_place_are_told_by_their_poses():
    tracker = Tracker()
    for i in range(10):
        keypoints, boxes, scores = frame({1: (100, 100), 2: (106, 100)})
        boxes = boxes if i % 3 else boxes[::-1]
        np.testing.assert_array_equal(tracker.update(keypoints, boxes, scores, i / 25), [2, 1])


@pytest.mark.parametrize("seed", range(4))
def test_whoever_has_the_pose_of_another_is_told_by_the_box(seed):
    """In the box of somebody hidden a network finds the one in front; both keep their numbers."""
    rng, tracker = np.random.default_rng(seed), Tracker()
    for i in range(50):
        keypoints, boxes, scores = frame({1: (100 + 8 * i, 100.0), 2: (300 + 4 * i, 80.0)}, [0.9, 0.6])
        if abs(boxes[1, 0] - boxes[0, 0]) < 50:
            keypoints[1] = keypoints[0]
        keypoints[..., :2] += rng.normal(0, 2, (2, 17, 2))
        boxes[:, :2] += rng.normal(0, 4, (2, 2))
        np.testing.assert_array_equal(tracker.update(keypoints, boxes, scores, i / 25), [1, 2])


def test_what_is_no_person_has_no_number():
    tracker = Tracker()
    keypoints, boxes, scores = frame({n: (150 * n, 100) for n in range(6)})
    boxes[1, 0], boxes[2, 2], boxes[3, 1], scores[4] = np.nan, 0, np.inf, np.nan
    keypoints[5] = np.nan  # a box without a pose is somebody
    for time in (0.0, 0.04, 0.04):
        ids = tracker.update(keypoints, boxes, scores, time)
        np.testing.assert_array_equal(ids > 0, [True, False, False, False, False, True])
        assert len(set(ids[[0, 5]])) == 2


def test_keypoints_without_sense_do_no_harm():
    tracker = Tracker()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for i in range(4):
            keypoints, boxes, scores = frame({1: (100, 100), 2: (400, 100)})
            keypoints[0, 3], keypoints[0, 4, :2], keypoints[1, :, 2] = np.nan, 1e300, -np.inf
            np.testing.assert_array_equal(tracker.update(keypoints, boxes, scores, i / 25), [1, 2])


def test_thousands_of_boxes_are_bounded():
    rng = np.random.default_rng(0)
    count = 3 * MAX_PEOPLE
    boxes = np.column_stack([rng.uniform(0, 20000, (count, 2)), np.full((count, 2), 50.0)])
    keypoints = np.concatenate([rng.uniform(0, 50, (count, 4, 2)) + boxes[:, None, :2], np.ones((count, 4, 1))], axis=2)
    tracker = Tracker(sigmas=[0.1] * 4)
    scores = np.linspace(0.5, 1, count)
    for time in (0.0, 0.04):
        ids = tracker.update(keypoints, boxes, scores, time)
        assert len(set(ids[ids > 0])) == (ids > 0).sum() == MAX_PEOPLE
        assert (ids[-MAX_PEOPLE:] > 0).all()


def follow(places_of, every, frames=60, rate=25):
    """The numbers of every frame, and how far the boxes are off, where a detector looks at every so many frames."""
    tracker, numbers, errors = Tracker(), [], []
    for i in range(frames):
        keypoints, boxes, scores = frame(places_of(i / rate))
        if i % every:
            expected = tracker.expected_boxes(i / rate)
            errors.append(np.abs(expected - boxes).max())
            numbers.append(tracker.follow(keypoints, i / rate).tolist())
        else:
            numbers.append(tracker.update(keypoints, boxes, scores, i / rate).tolist())
    return numbers, np.array(errors)


def test_people_are_followed_where_no_detector_looks():
    def places(time):  # the first turns round, faster and faster
        return {1: (100 + 300 * np.sin(2 * time), 100.0), 2: (900 - 200 * time, 300.0)}

    numbers, errors = follow(places, every=60)
    assert numbers == [[1, 2]] * 60
    assert errors.max() < 30 and np.median(errors) < 15  # a frame's way is 24 pixels


def test_the_pose_of_another_is_nobodys_where_no_detector_looks():
    tracker = Tracker()
    for i in range(3):
        tracker.update(*frame({1: (100, 100), 2: (160, 100)}), i / 25)
    keypoints = frame({1: (100, 100), 2: (160, 100)})[0]
    keypoints[1] = keypoints[0]
    for i in range(3, 6):
        assert tracker.expected_boxes(i / 25).shape == (2, 4)
        assert tracker.follow(keypoints, i / 25).tolist() == [1, NO_TRACK]
    keypoints[0] = frame({9: (130, 100)})[0]  # of nobody who is known
    assert tracker.follow(keypoints, 6 / 25).tolist() == [NO_TRACK, NO_TRACK]
    assert tracker.follow(frame({1: (100, 100), 2: (160, 100)})[0], 6 / 25).tolist() == [1, 2]
    np.testing.assert_allclose(tracker.expected_boxes(7 / 25), frame({1: (100, 100), 2: (160, 100)})[1], atol=1)


def test_of_two_alike_the_pose_is_whose_it_is_most_like_where_no_detector_looks():
    tracker = Tracker()
    keypoints, boxes, scores = frame({1: (100, 100), 2: (120, 100)})
    keypoints[1] = keypoints[0] + (20, 0, 0)
    for i in range(3):
        assert tracker.update(keypoints, boxes, scores, i / 25).tolist() == [1, 2]
    keypoints[0] = keypoints[1]
    assert tracker.follow(keypoints, 3 / 25).tolist() == [NO_TRACK, 2]


def test_only_keypoints_of_the_expected_boxes_are_followed():
    tracker = Tracker(max_gap=1.0)
    assert tracker.expected_boxes(0.0).shape == (0, 4)
    assert tracker.follow(np.zeros((0, 17, 3)), 0.0).shape == (0,)
    tracker.update(*frame({1: (100, 100), 2: (400, 100)}), 0.1)
    with pytest.raises(InputError, match=r"those of the 2 expected boxes\. Received: 1"):
        tracker.follow(frame({1: (100, 100)})[0], 0.2)
    assert tracker.follow(np.full((2, 17, 3), np.nan), 0.2).tolist() == [NO_TRACK] * 2
    assert tracker.expected_boxes(1.0).shape == (2, 4)
    assert tracker.expected_boxes(1.2).shape == (0, 4)
    tracker.update(*frame({2: (400, 100)}), 1.0)
    assert tracker.expected_boxes(1.1).shape == (1, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k, b, s: (k[..., :2], b, s, 1.0), r"keypoints must have shape \[N,17,3\]"),
        (lambda k, b, s: (k[:, :5], b, s, 1.0), r"keypoints must have shape \[N,17,3\]"),
        (lambda k, b, s: (k, b[:1], s, 1.0), r"boxes must have shape \[2,4\]"),
        (lambda k, b, s: (k, b, s[:1], 1.0), r"scores \[2\]"),
        (lambda k, b, s: (k, b, s, 0.5), r"time must be a finite number of seconds of at least 0.9"),
        (lambda k, b, s: (k, b, s, np.nan), r"time must be"),
    ],
)
def test_frames_that_cannot_be_used_are_refused_and_change_nothing(change, message):
    tracker = Tracker()
    people = frame(crossing(0))
    tracker.update(*people, 0.9)
    with pytest.raises(InputError, match=message):
        tracker.update(*change(*people))
    np.testing.assert_array_equal(tracker.update(*people, 0.95), [1, 2])


def test_settings_that_make_no_sense_are_refused():
    for settings in (
        {"max_gap": -1},
        {"max_gap": np.nan},
        {"birth_score": 0.1, "min_score": 0.2},
        {"sigmas": [0.1, 0]},
    ):
        with pytest.raises(ValueError, match="Received"):
            Tracker(**settings)


def test_boxes_hold_the_sure_keypoints_and_a_margin():
    keypoints = frame({1: (100, 200)})[0]
    keypoints[0, 5] = (5000, 5000, 0.1)
    keypoints[0, 6] = np.nan
    np.testing.assert_allclose(boxes_from_keypoints(keypoints, margin=0.0), [[100, 200, 60, 180]])
    np.testing.assert_allclose(boxes_from_keypoints(keypoints, margin=0.1), [[82, 182, 96, 216]])


def test_nobody_has_a_box_by_too_few_keypoints():
    keypoints = frame({1: (100, 200), 2: (300, 200), 3: (500, 200)})[0]
    keypoints[0, 2:, 2] = 0.2
    keypoints[1, :, :2] = 7
    boxes = boxes_from_keypoints(keypoints)
    assert np.isnan(boxes[:2]).all() and np.isfinite(boxes[2]).all()
    assert boxes_from_keypoints(np.zeros((0, 17, 3))).shape == (0, 4)
