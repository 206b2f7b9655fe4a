"""Videos of dots that walk, whose keypoints a network of colours finds: detector now and then, smoothing, crops."""

import json
import threading
import warnings

import cv2
import numpy as np
import pytest
from test_predictor import COLORS, color_network, dotted_image

from hrnet_tf import PosePredictor
from hrnet_tf.data.records import read_image
from hrnet_tf.prediction import boxes, files
from hrnet_tf.prediction.video import open_video
from hrnet_tf.prediction.video_writer import video_writer
from hrnet_tf.tracking import smooth_whole

NUM_FRAMES, RATE = 24, 25
POSE = np.array([[30.0, 20], [60, 60], [30, 90]])


def truth(i):
    """[2,3,2]: the keypoints of two who walk towards one another, 2 pixels a frame."""
    return np.stack([POSE + np.array([10 + 2 * i, 10]), POSE + np.array([200 - 2 * i, 90])])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with video_writer(path) as write:
        for i in range(NUM_FRAMES):
            image = np.maximum(*(dotted_image(points, 8) for points in truth(i)))
            write(np.ascontiguousarray(image), i / RATE)
    return path


@pytest.fixture(scope="module")
def predictor():
    return PosePredictor(color_network(), flip_test=False, skeleton=COLORS)


class FindsRed:
    """A detector that counts its calls: who is to the right of and below every red dot."""

    def __init__(self):
        self.calls, self.threads = 0, set()

    def __call__(self, image):
        self.calls += 1
        self.threads.add(threading.current_thread())
        red = (image[..., 0].astype(int) - image[..., 1:].max(axis=2) > 100).astype(np.uint8)
        _, _, stats, middles = cv2.connectedComponentsWithStats(red)
        found = [
            (x - 20, y - 15, 70, 100) for (x, y), area in zip(middles[1:], stats[1:, -1], strict=True) if area > 20
        ]
        return np.array(found, np.float32).reshape(-1, 4)


def predicted(clip, predictor, folder, **options):
    """(Calls of the detector, `Done`, results by frame, each by `track_id`)."""
    detector = FindsRed()
    done = files.predict_video(predictor, clip, folder, boxes.Detected(detector), **options)
    assert threading.main_thread() not in detector.threads
    frames = [{} for _ in range(NUM_FRAMES)]
    for result in json.loads((folder / "predictions.json").read_text()):
        frames[result["frame"]][result["track_id"]] = np.reshape(result["keypoints"], (-1, 3))
    return detector.calls, done, frames


@pytest.mark.parametrize(("every", "calls"), [(1, 24), (5, 5), (23, 2), (100, 1)])
def test_a_detector_now_and_then_and_poses_between(clip, predictor, tmp_path, every, calls):
    found, done, frames = predicted(clip, predictor, tmp_path / "out", detect_every=every)
    assert (found, done) == (calls, (NUM_FRAMES, 2 * NUM_FRAMES, []))
    for i, people in enumerate(frames):
        assert set(people) == {1, 2}
        ordered = sorted(people.values(), key=lambda points: points[0, 1])
        np.testing.assert_allclose(np.stack(ordered)[..., :2], truth(i), atol=6)  # a heatmap's pixel has 6 or 7
    with open_video(tmp_path / "out" / "clip.mp4") as copy:
        drawn = [frame.image for frame in copy]
    assert len(drawn) == NUM_FRAMES
    x, y = truth(20)[0, 1]
    assert np.abs(drawn[20][int(y), int(x)].astype(int) - (0, 255, 0)).max() > 60  # a keypoint is drawn there


def test_whoever_is_not_where_the_poses_lead_is_left_out(predictor, tmp_path):
    """One goes behind a wall between two looks: nobody is made up."""
    with video_writer(tmp_path / "clip.mp4") as write:
        for i in range(NUM_FRAMES):
            dots = [dotted_image(points, 8) for points in truth(i)]
            write(np.ascontiguousarray(np.maximum(*dots) if i < 8 else dots[0]), i / RATE)
    _, _, frames = predicted(tmp_path / "clip.mp4", predictor, tmp_path / "out", detect_every=12)
    assert [len(people) for people in frames] == [2] * 8 + [1] * 16
    assert len(set().union(*frames[8:])) == 1


def test_whole_videos_are_smoothed_as_arrays_are(clip, predictor, tmp_path):
    _, done, raw = predicted(clip, predictor, tmp_path / "raw", detect_every=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, same, smooth = predicted(clip, predictor, tmp_path / "smooth", detect_every=5, smooth="whole")
    assert same == done
    ids = [sorted(frame) for frame in raw]
    keypoints = [np.stack([frame[i] for i in sorted(frame)]) for frame in raw]
    expected = smooth_whole(ids, keypoints, [i / RATE for i in range(NUM_FRAMES)])
    for frame, people in zip(smooth, expected, strict=True):
        np.testing.assert_allclose([frame[i] for i in sorted(frame)], people, atol=2e-3)
    moved = [np.abs(frame[1] - before[1]).max() for frame, before in zip(smooth, raw, strict=True)]
    assert np.mean(moved) > 0.05
    with open_video(clip) as original, open_video(tmp_path / "smooth" / "clip.mp4") as copy:
        assert [frame.time for frame in copy] == pytest.approx([frame.time for frame in original], abs=1e-3)


def test_what_breaks_off_is_told_once_though_it_is_read_twice(clip, predictor, tmp_path):
    with open(clip, "rb") as file:
        data = file.read()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    with pytest.warns(UserWarning) as caught:
        files.predict_video(
            predictor, tmp_path / "cut.mp4", tmp_path / "out", boxes.Detected(FindsRed()), smooth="whole"
        )
    assert sum("frames could be read" in str(one.message) for one in caught) == 1


def test_crops_of_people_by_track(clip, predictor, tmp_path):
    predicted(clip, predictor, tmp_path / "out", save_crops=True)
    crops = tmp_path / "out" / "crops"
    assert sorted(path.name for path in crops.iterdir()) == ["1", "2"]
    for track in ("1", "2"):
        assert sorted(path.name for path in (crops / track).iterdir()) == [f"{i:06}.jpg" for i in range(NUM_FRAMES)]
    with open_video(clip) as video:
        image = next(iter(video)).image
    x, y, w, h = FindsRed()(image)[0].round().astype(int)
    crop = read_image(crops / "1" / "000000.jpg").astype(int)
    assert abs(crop.shape[0] - h) <= 2 and abs(crop.shape[1] - w) <= 2
    assert np.abs(crop[:90, :60].astype(int) - image[y : y + 90, x : x + 60]).mean() < 12


def test_crops_of_people_in_images(predictor, tmp_path):
    image = np.ascontiguousarray(np.maximum(*(dotted_image(points, 8) for points in truth(0))))
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), image[..., ::-1])
    where = boxes.GivenBoxes("10,20,60,90; -30,-10,50.5,60; 500,500,10,10")
    files.predict_images(predictor, {tmp_path / "in" / "a.png": 1}, tmp_path / "out", where, print, save_crops=True)
    found = {path.name: read_image(path) for path in (tmp_path / "out" / "crops").iterdir()}
    assert {name: crop.shape for name, crop in found.items()} == {
        "a.png_0.jpg": (90, 60, 3),
        "a.png_1.jpg": (50, 21, 3),
    }
    assert np.abs(found["a.png_0.jpg"].astype(int) - image[20:110, 10:70]).mean() < 5
