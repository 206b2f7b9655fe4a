"""Videos predicted: every frame in pictures, JSON and CSV, smoothed, streamed, or nothing."""

import json
import os

import numpy as np
import pytest
from predict_inputs import BOX_A, BOX_B, detection, read_csv, save_network, write_json, write_video
from tool_runs import run
from videos import corners_of, read_clip, sound_packets, write_clip

from hrnet_tf import InputError, PosePredictor
from hrnet_tf.prediction import boxes, files, flow, video
from hrnet_tf.tracking import LiveSmoother


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("model") / "small.keras")


@pytest.fixture(scope="module")
def predictor(model_path):
    return PosePredictor(model_path, batch_size=2)


def test_a_video(model_path, tmp_path):
    clip = write_video(tmp_path / "clip.mp4")
    flags = {"model": model_path, "input": clip, "out_dir": tmp_path / "out", "boxes": "10,10,60,90; 70,20,60,60"}
    result = run("predict", **flags, smooth="off")
    assert result.returncode == 0, result.stderr
    assert "5 frames, 10 people" in result.stdout
    assert sorted(os.listdir(tmp_path / "out")) == ["clip.mp4", "predictions.csv", "predictions.json"]
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(p["frame"], p["image_id"]) for p in people] == [(i, i) for i in range(5) for _ in range(2)]
    assert [p["time"] for p in people] == [round(i / 12.5, 4) for i in range(5) for _ in range(2)]
    table = read_csv(tmp_path / "out" / "predictions.csv")
    times = [("0", "0.0"), ("1", "0.08"), ("2", "0.16"), ("3", "0.24"), ("4", "0.32")]
    assert sorted({(row["frame"], row["time"]) for row in table}) == times
    with video.open_video(tmp_path / "out" / "clip.mp4") as copy, video.open_video(clip) as original:
        frames, originals = list(copy), list(original)
    assert [frame.time for frame in frames] == pytest.approx([i / 12.5 for i in range(5)], abs=1e-3)
    assert copy.end == original.end == pytest.approx(0.4, abs=1e-3)
    assert [p["track_id"] for p in people] == 5 * [1, 2]
    assert [row["track_id"] for row in table[::17]] == 5 * ["1", "2"]
    expected = PosePredictor(model_path)(originals[3].image, [BOX_A, BOX_B])
    np.testing.assert_allclose(np.reshape([p["keypoints"] for p in people[6:8]], (2, 17, 3)), expected, atol=1e-3)


def test_a_video_is_smoothed_as_it_comes(model_path, tmp_path):
    """With the scores that the network gives, and by what `LiveSmoother` makes of every frame's own keypoints."""
    clip, predictor = write_video(tmp_path / "clip.mp4"), PosePredictor(model_path)
    boxes_of = boxes.GivenBoxes("10,10,60,90; 70,20,60,60")
    for name, smooth in (("raw", "off"), ("smooth", "live")):
        files.predict_video(predictor, clip, tmp_path / name, boxes_of, smooth=smooth)
    raw, smooth = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("raw", "smooth"))
    smoother, moved = LiveSmoother(), 0
    for frame in range(5):
        before, after = (
            np.reshape([p["keypoints"] for p in people if p["frame"] == frame], (2, 17, 3)) for people in (raw, smooth)
        )
        expected = smoother([1, 2], before, frame / 12.5)
        np.testing.assert_allclose(after, expected, atol=0.01)
        moved += np.abs(after - before).max() > 0.1
    assert moved >= 3


def test_a_video_of_a_phone(model_path, tmp_path):
    """Turned, of uneven rate, with sound, and truncated: a copy that is as long, upright, heard, and one note."""
    times = [0, 0.1, 0.15, 0.4, 0.41, 0.5, 0.7, 0.9]
    clip = write_clip(tmp_path / "clip.mov", times=times, turned=(90,), sound="aac", movflags="faststart")
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 4 // 5])
    result = run("predict", model=model_path, input=clip, out_dir=tmp_path / "out", score_threshold=9, whole_image=True)
    assert result.returncode == 0, result.stderr
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    images, copied, _ = read_clip(tmp_path / "out" / "clip.mp4")
    assert 4 < len(images) < 8 and [person["time"] for person in people] == times[: len(images)]
    assert copied == pytest.approx(times[: len(images)], abs=1e-3)
    assert {image.shape for image in images} == {(96, 64, 3)} and corners_of(images[3]) == [1, 3, 0, 2]
    heard = [data for _, data in sound_packets(tmp_path / "out" / "clip.mp4")]
    assert heard and heard == [data for _, data in sound_packets(clip)]
    assert result.stderr.count("note: video") == 1
    assert f"{len(images)} of 8 frames could be read" in result.stderr


def test_a_video_without_anybody(predictor, tmp_path):
    clip = write_video(tmp_path / "clip.mp4")
    nobody = boxes.Detected(lambda image: [])
    assert files.predict_video(predictor, clip, tmp_path / "out", nobody) == (5, 0, ["0", "1", "2", "3", "4"])
    none = boxes.Detections(write_json(tmp_path / "d.json", [detection(99, BOX_A)]))
    with pytest.raises(InputError, match="no detection is of one of them"):
        files.predict_video(predictor, clip, tmp_path / "other", none)


def test_videos_that_cannot_be_read_are_refused(predictor, tmp_path):
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 100)
    for name, message in {"junk.mp4": r"cannot decode video .*\(400 bytes\)", "missing.mp4": "does not exist"}.items():
        with pytest.raises(InputError, match=message):
            files.predict_video(predictor, tmp_path / name, tmp_path / "out", boxes.whole_image)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_videos_that_are_left_leave_nothing(predictor, tmp_path, monkeypatch, error):
    draw, drawn = files.annotated, []

    def fail(*arguments):
        drawn.append(arguments)
        if len(drawn) == 3:
            raise error
        return draw(*arguments)

    monkeypatch.setattr(files, "annotated", fail)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip.mp4").write_bytes(b"of before")
    with pytest.raises(error):
        files.predict_video(predictor, write_video(tmp_path / "clip.mp4"), tmp_path / "out", boxes.whole_image)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"clip.mp4": b"of before"}


def test_videos_stream(predictor, tmp_path, monkeypatch):
    """Frames that are predicted together are held, and no more than four such groups, whatever the length."""
    groups, held = [], [0]
    predict, draw = predictor.people_batches, files.annotated
    monkeypatch.setattr(
        predictor, "people_batches", lambda batches: predict(groups.append(len(batch)) or batch for batch in batches)
    )

    def read_one(*arguments):
        held.append(held[-1] + 1)
        return boxes.whole_image(*arguments)

    def draw_one(*arguments):
        held.append(held[-1] - 1)
        return draw(*arguments)

    monkeypatch.setattr(files, "annotated", draw_one)
    clip = write_video(tmp_path / "clip.avi", num_frames=31)
    assert files.predict_video(predictor, clip, tmp_path / "out", read_one) == (31, 31, [])
    assert groups == [2] * 15 + [1]
    assert 0 < max(held) <= 8 and held[-1] == 0
    monkeypatch.setattr(flow, "MAX_PIXELS", 120 * 160)
    files.predict_video(predictor, clip, tmp_path / "out", boxes.whole_image)
    assert groups[16:] == [1] * 31
