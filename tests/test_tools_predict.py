"""tools/predict.py: images, folders and videos in; pictures, JSON and CSV out."""

import csv
import hashlib
import json
import os
import subprocess
import sys

import cv2
import detectors
import file_server
import keras
import numpy as np
import pytest
from pycocotools.coco import COCO as Coco
from tool_runs import ROOT, complaint, run
from videos import corners_of, read_clip, sound_packets, write_clip

from hrnet_tf import InputError, PosePredictor, visualize
from hrnet_tf.data.records import read_image
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.prediction import boxes, files, flow, sources, video, video_writer
from hrnet_tf.skeletons import COCO, named
from hrnet_tf.tracking import LiveSmoother

SAMPLE = os.environ.get("HRNET_TF_COCO_SAMPLE")
BOX_A, BOX_B = [10, 10, 60, 90], [70, 20, 60, 60]


def noise(seed=0, size=(120, 160)):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 3)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """A network of 17 keypoints, small and untrained."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(17, 5, strides=4, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    path = tmp_path_factory.mktemp("model") / "small.keras"
    keras.Model(inputs, x).save(path)
    return path


@pytest.fixture(scope="module")
def predictor(model_path):
    return PosePredictor(model_path, batch_size=2)


@pytest.fixture
def photos(tmp_path):
    """A folder with the images 7, 8 and 9, a truncated one, a text file, a hidden file and a folder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in (7, 8, 9):
        visualize.write_image(folder / f"{number:012}.jpg", noise(number))
    whole = (folder / "000000000009.jpg").read_bytes()
    (folder / "000000000010.jpg").write_bytes(whole[:300])
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").write_text("")
    return folder


def detection(image_id, box, score=0.9, **more):
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": score, **more}


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def write_video(path, num_frames=5):
    with video_writer.video_writer(path) as write:
        for i in range(num_frames):
            write(noise(i), i / 12.5)
    return path


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_with_detections(photos, model_path, tmp_path):
    found = [detection(7, BOX_A, 0.8), detection(9, BOX_A), detection(7, BOX_B), detection(7, BOX_B, 0.1)]
    found += [detection(1, BOX_A), {**detection(7, BOX_A), "category_id": 2}, detection(9, [5, 5, 0, 9])]
    detections = write_json(tmp_path / "detections.json", found)
    flags = {"model": model_path, "input": photos, "out_dir": tmp_path / "out", "detections": detections}
    result = run("predict", **flags, box_threshold=0.5, score_threshold=-100)
    assert result.returncode == 0, result.stderr
    assert "3 of 4 images, 3 people" in result.stdout
    assert "2 images could not be read" in result.stdout
    for name in ("notes.txt", "000000000010.jpg"):
        assert f"skipped: cannot decode image {photos / name}" in result.stderr
    names = [f"{number:012}.jpg" for number in (7, 8, 9)]
    assert sorted(os.listdir(tmp_path / "out")) == [*names, "predictions.csv", "predictions.json"]

    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(person["image_id"], person["file_name"]) for person in people] == [
        *[(7, "000000000007.jpg")] * 2,
        (9, "000000000009.jpg"),
    ]
    predictor = PosePredictor(model_path)
    expected = [*predictor(photos / names[0], [BOX_A, BOX_B]), *predictor(photos / names[2], [BOX_A])]
    for person, keypoints, box_score in zip(people, expected, (0.8, 0.9, 0.9), strict=True):
        np.testing.assert_allclose(np.reshape(person["keypoints"], (17, 3)), keypoints, atol=1e-3)
        counted = keypoints[keypoints[:, 2] > 0.2, 2]
        assert person["score"] == pytest.approx(box_score * counted.mean() if len(counted) else 0, abs=1e-3)
    annotated = Coco()
    annotated.dataset = {"images": [{"id": i} for i in (7, 8, 9)], "annotations": [], "categories": [{"id": 1}]}
    annotated.createIndex()
    assert len(annotated.loadRes(str(tmp_path / "out" / "predictions.json")).anns) == 3

    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 3 * 17
    assert list(rows[0]) == ["file", "frame", "time", "person", "track_id", "keypoint", "x", "y", "score"]
    assert (rows[20]["file"], rows[20]["frame"], rows[20]["person"]) == (names[0], "", "1")
    assert rows[20]["keypoint"] == COCO.names[3]
    assert float(rows[20]["x"]) == people[1]["keypoints"][9]

    drawn = read_image(tmp_path / "out" / names[0]).astype(int)
    assert np.abs(drawn - read_image(photos / names[0])).max() > 100
    unseen = read_image(tmp_path / "out" / names[1]).astype(int)
    assert np.abs(unseen - read_image(photos / names[1])).max() < 40  # saved as JPEG again


def predict_paths(*paths, **flags):
    words = [sys.executable, "tools/predict.py", *map(str, paths), *(f"--{name}={flags[name]}" for name in flags)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_paths_are_inputs_and_folders_are_looked_into(photos, model_path, tmp_path):
    for number, folder in (
        (11, photos / "more" / "deeper"),
        (12, photos / "more" / ".hidden"),
        (13, tmp_path / "other"),
    ):
        folder.mkdir()
        visualize.write_image(folder / f"{number}.png", noise(number))
    flags = {"model": model_path, "out_dir": tmp_path / "out", "whole_image": True, "recursive": True}
    result = predict_paths(photos, tmp_path / "other" / "13.png", **flags)
    assert result.returncode == 0, result.stderr
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    names = ["photos/000000000007.jpg", "photos/000000000008.jpg", "photos/000000000009.jpg"]
    names += ["photos/more/deeper/11.png", "other/13.png"]
    assert [(p["file_name"], p["image_id"]) for p in people] == list(zip(names, (7, 8, 9, 11, 13), strict=True))
    assert all((tmp_path / "out" / name).is_file() for name in names)


def test_inputs_that_do_not_go_together_are_one_line(photos, model_path, tmp_path):
    flags = {"model": model_path, "out_dir": tmp_path / "out"}
    assert "nothing to predict: name an image" in complaint(predict_paths(**flags))
    assert "nowhere.jpg does not exist" in complaint(predict_paths(photos, "nowhere.jpg", **flags))
    assert not (tmp_path / "out").exists()


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


@pytest.fixture
def finds_red(tmp_path):
    """A detector of what is red."""
    return detectors.extent_file(tmp_path / "red.onnx", (120, 160), 2, 200, "dets")


def test_a_folder_with_a_detector(photos, model_path, finds_red, tmp_path):
    painted = np.zeros((120, 160, 3), np.uint8)
    painted[20:80, 70:130] = (255, 0, 0)  # BOX_B
    visualize.write_image(photos / "000000000011.png", painted)
    flags = {"model": model_path, "input": photos, "out_dir": tmp_path / "out", "detector": finds_red}
    result = run("predict", **flags, box_threshold=0.85)
    assert result.returncode == 0, result.stderr
    assert f"people are what {finds_red} finds with a score of at least 0.85" in result.stdout
    assert "nobody in 3 of 4 images: 000000000007.jpg, 000000000008.jpg, 000000000009.jpg" in result.stdout
    assert "2 images could not be read" in result.stdout and "4 of 5 images, 1 people" in result.stdout
    (person,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    expected = PosePredictor(model_path, detector=finds_red).people(painted)
    np.testing.assert_allclose(expected.boxes, [BOX_B])
    np.testing.assert_allclose(np.reshape(person["keypoints"], (17, 3)), expected.keypoints[0], atol=1e-3)
    assert person["score"] == pytest.approx(expected.scores[0], abs=1e-3)


@pytest.mark.parametrize("is_there", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_default_detector_is_fetched(is_there, photos, model_path, finds_red, tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_TF_PRETRAINED", str(tmp_path / "list.tsv"))
    monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path / "cache"))
    flags = {"model": model_path, "input": photos / "000000000007.jpg", "out_dir": tmp_path / "out"}
    with file_server.running() as server:
        columns = ["name", "network", "input_size", "keypoint_set", "sha256", "urls"]
        sha256 = hashlib.sha256(finds_red.read_bytes()).hexdigest()
        row = ["yolox_s", "detector", "96x160", "", sha256, f"{server.url}/red.onnx"]
        (tmp_path / "list.tsv").write_text("\t".join(columns) + "\n" + "\t".join(row))
        if is_there:
            server.files["/red.onnx"] = file_server.Served(finds_red.read_bytes())
        result = run("predict", **flags)
    if is_there:
        assert result.returncode == 0, result.stderr
        assert "people are what yolox_s finds with a score of at least 0.3" in result.stdout
        assert "nobody in 1 of 1 images: 000000000007.jpg\n1 of 1 images, 0 people" in result.stdout
    else:
        said = complaint(result)
        assert "cannot download yolox_s" in said and "Fetch it by hand and put it at" in said
        assert said.endswith("; or give --detector=FILE, --boxes, --detections or --whole_image\n")
        assert not (tmp_path / "out").exists()


def test_where_keypoints_are_none_of_people_the_whole_picture_is_taken(photos, tmp_path):
    inputs = keras.Input((64, 48, 3))
    path = tmp_path / "hands.keras"
    keras.Model(inputs, keras.layers.Conv2D(21, 5, strides=4, padding="same")(inputs)).save(path)
    write_card(path, ModelCard("hands", (64, 48), named("hand21")))
    flags = {"model": path, "input": photos / "000000000007.jpg", "out_dir": tmp_path / "out"}
    result = run("predict", **flags)
    assert result.returncode == 0, result.stderr
    assert "assumed: one in each picture, who fills it, as the keypoints are none of people" in result.stdout
    assert "1 of 1 images, each taken for one person" in result.stdout
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 1


def test_a_video_without_anybody(predictor, tmp_path):
    clip = write_video(tmp_path / "clip.mp4")
    nobody = boxes.Detected(lambda image: [])
    assert files.predict_video(predictor, clip, tmp_path / "out", nobody) == (5, 0, ["0", "1", "2", "3", "4"])
    none = boxes.Detections(write_json(tmp_path / "d.json", [detection(99, BOX_A)]))
    with pytest.raises(InputError, match="no detection is of one of them"):
        files.predict_video(predictor, clip, tmp_path / "other", none)


def test_the_tool_refuses_in_one_line(photos, model_path, tmp_path):
    flags = {"model": model_path, "input": photos, "out_dir": tmp_path / "out"}
    bad = flags | {"input": photos / "000000000010.jpg", "boxes": "1,2,3,4"}
    assert "none of the images can be read" in complaint(run("predict", **bad))
    both = flags | {"boxes": "1,2,3,4", "detections": "d.json"}
    assert "--boxes and --detections exclude each other" in complaint(run("predict", **both))
    assert not (tmp_path / "out").exists()


def found_in(photos, ids=None):
    bad = []
    return sources.find_images(photos, bad.append, ids), [str(error) for error in bad]


def test_numbers_of_images(photos, tmp_path):
    numbers, bad = found_in(photos)
    assert [(path.name, number) for path, number in numbers.items()] == [(f"{n:012}.jpg", n) for n in (7, 8, 9, 10)]
    assert len(bad) == 1
    assert sources.result_ids(numbers) == numbers
    visualize.write_image(photos / "beach.png", noise())
    numbers, _ = found_in(photos)
    assert numbers[photos / "beach.png"] is None
    assert list(sources.result_ids(numbers).values()) == [1, 2, 3, 4, 5]
    (photos / "beach.png").rename(photos / "8.png")
    assert list(sources.result_ids(found_in(photos)[0]).values()) == [1, 2, 3, 4, 5]

    numbers, bad = found_in(photos, {"8.png": 80, "000000000009.jpg": 90})
    assert [(path.name, number) for path, number in numbers.items()] == [("000000000009.jpg", 90), ("8.png", 80)]
    assert f"{photos / '000000000007.jpg'} is not in the annotations" in bad
    with pytest.raises(InputError, match="missing does not exist"):
        found_in(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image can be read there"):
        found_in(tmp_path / "empty")


def test_detections_go_by_file_name_or_number(photos, tmp_path):
    found = [detection(7, BOX_A), detection(7, BOX_B, file_name="photos/beach.png"), detection("x", BOX_B)]
    detections = boxes.Detections(write_json(tmp_path / "d.json", found))
    np.testing.assert_allclose(detections("000000000007.jpg", 7)[0], [BOX_A])
    np.testing.assert_allclose(detections("beach.png", None)[0], [BOX_B])
    for nothing, scores in (detections("other.jpg", 8), detections("other.jpg", None)):
        assert nothing.shape == (0, 4)
        assert scores.shape == (0,)
    detections.check_match({"000000000007.jpg": 7})
    with pytest.raises(InputError, match=r"no person box is of these images.*such as 000000000008\.jpg"):
        detections.check_match({"000000000008.jpg": 8})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "must hold a list of detections. Received: a dict"),
        ([detection(7, BOX_A), 5], "detection 1 is malformed .*Received: 5"),
        ([{"image_id": 7, "bbox": BOX_A}], "detection 0 is malformed"),
        ([detection(7, [1, 2, 3])], "detection 0 is malformed"),
        ([detection(7, [1, 2, None, 4])], "detection 0 is malformed"),
        ([detection([7], BOX_A)], "detection 0 is malformed"),
        ([detection(7, BOX_A, file_name=3)], "detection 0 is malformed"),
    ],
)
def test_malformed_detections_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        boxes.Detections(write_json(tmp_path / "d.json", content))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4;", "a,b,c,d", "1,2,-3,4", "1,2,nan,4", "1 2 3 4"])
def test_malformed_boxes_are_refused(text):
    with pytest.raises(InputError, match="boxes must be like 10,20,50,120"):
        boxes.GivenBoxes(text)


def test_annotations_give_ids_and_keypoints(tmp_path):
    image = {"id": 5, "file_name": "val/beach.png", "height": 3, "width": 4}
    category = {"id": 1, "keypoints": ["l_hand", "r_hand"]}
    path = write_json(tmp_path / "a.json", {"images": [image], "categories": [category]})
    found = boxes.read_annotations(path)
    assert (found.ids, found.category_ids) == ({"val/beach.png": 5}, (1,))
    assert found.skeleton is not None and found.skeleton.flip_pairs == ((0, 1),)
    found = boxes.read_annotations(write_json(path, {"images": [image]}))
    assert (found.ids, found.skeleton) == ({"val/beach.png": 5}, None)
    for content in ([], {"images": 3}, {"images": [4]}, {"images": [{"id": 5}]}, {"categories": ["person"]}):
        with pytest.raises(InputError):
            boxes.read_annotations(write_json(path, content))


def test_originals_are_not_written_over(photos, predictor):
    before = {path: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    for out_dir in (photos, photos / "more" / ".."):
        with pytest.raises(InputError, match="would replace the originals"):
            files.predict_images(predictor, found_in(photos)[0], out_dir, boxes.whole_image, print)
    assert {path: path.read_bytes() for path in photos.iterdir() if path.is_file()} == before


def test_nothing_is_left_where_no_image_can_be_read(photos, predictor, tmp_path):
    numbers = {photos / "000000000010.jpg": 10}
    bad = []
    with pytest.raises(InputError, match="none of the images can be read"):
        files.predict_images(predictor, numbers, tmp_path / "out", boxes.whole_image, bad.append)
    assert len(bad) == 1
    assert not list((tmp_path / "out").iterdir())


def test_results_of_nobody_are_empty(photos, predictor, tmp_path):
    numbers = {photos / "000000000008.jpg": 8}
    nobody = boxes.Detections(write_json(tmp_path / "d.json", []))
    assert files.predict_images(predictor, numbers, tmp_path / "out", nobody, print) == (1, 0, ["000000000008.jpg"])
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == []
    assert read_csv(tmp_path / "out" / "predictions.csv") == []


def test_copies_keep_their_names_where_that_can_be_written():
    assert files.copy_name("a.jpg") == "a.jpg"
    assert files.copy_name("a.heic") == "a.heic.png"


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


@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_COCO_SAMPLE names no folder with a COCO sample")
def test_photographs_of_the_coco_sample(predictor, tmp_path):
    numbers, bad = found_in(os.path.join(SAMPLE, "images", "val2017"))
    detections = boxes.Detections(os.path.join(SAMPLE, "person_detections_val2017.json"), 0.5)
    detections.check_match({path.name: number for path, number in numbers.items()})
    num_images, num_people, _ = files.predict_images(predictor, numbers, tmp_path / "out", detections, print)
    assert (num_images, bad) == (len(numbers), [])
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(people) == num_people > num_images
    assert {person["image_id"] for person in people} == set(numbers.values())


def test_boxes_are_drawn_where_they_are():
    image = np.full((120, 160, 3), 100, np.uint8)
    drawn = visualize.draw_boxes(image, [[20, 30, 60, 40], [-50, -50, 1e9, 1e9]])
    assert (image == 100).all()
    for x, y in ((20, 50), (80, 50), (50, 30), (50, 70)):
        assert (drawn[y, x] > 200).all()
    assert (drawn[35:65, 25:75] == 100).all()
    assert (drawn[75:] == 100).all()
    np.testing.assert_array_equal(visualize.draw_boxes(image, np.zeros((0, 4))), image)
    with pytest.raises(InputError, match=r"must have shape \[N, 4\]"):
        visualize.draw_boxes(image, [1, 2, 3, 4])
