"""`hrnet-tf app` without a browser: what is predicted for the page, its limits, its messages, when there is none."""

import csv
import json
import os
import socket
import subprocess
import sys
import threading
import time

import cv2
import detectors
import dotted
import numpy as np
import pytest
from dots import COLORS, SIZE, color_network, dotted_image
from videos import write_clip

from hrnet_tf import InputError, PosePredictor
from hrnet_tf.app import choices
from hrnet_tf.app.engine import AUTOMATIC, WHOLE_PICTURE, Engine, Settings, Stopped
from hrnet_tf.app.server import check_port
from hrnet_tf.cli import app
from hrnet_tf.detection import PersonDetector
from hrnet_tf.files import replacing
from hrnet_tf.inputs import load_image
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.visualize import draw_heatmaps

POINTS = np.array([[100.0, 60], [130, 90], [115, 100]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network and a detector of what is red, and a picture with three dots."""
    folder = tmp_path_factory.mktemp("files")
    color_network().save(folder / "colors.keras")
    write_card(folder / "colors.keras", ModelCard("colors", SIZE, COLORS))
    detectors.extent_file(folder / "red.onnx", (96, 160), 2, 150, "dets")  # of blue, green, red
    cv2.imwrite(str(folder / "dots.png"), dotted_image(POINTS, sigma=10)[..., ::-1])
    return folder


@pytest.fixture
def settings(files):
    return Settings(str(files / "colors.keras"), str(files / "red.onnx"))


@pytest.fixture
def engine(tmp_path):
    (tmp_path / "folder").mkdir()
    return Engine(tmp_path / "folder", max_frames=12)


def test_a_photograph_gives_what_the_predictor_gives_in_all_files(engine, files, settings):
    found = engine.photo(files / "dots.png", settings)
    predictor = PosePredictor(settings.network, detector=settings.detector)
    expected = predictor.people(files / "dots.png")
    np.testing.assert_array_equal(found.people.keypoints, expected.keypoints)
    assert len(expected) == 1 and expected.boxes[0, 2] < 100
    picture, results, table = found.files
    np.testing.assert_array_equal(load_image(picture), expected.draw(files / "dots.png"))
    assert json.loads(results.read_text()) == [one | {"file_name": "dots.png"} for one in expected.to_coco(1)]
    rows = list(csv.DictReader(table.open()))
    assert [row["keypoint"] for row in rows] == list(COLORS.names)
    np.testing.assert_allclose([float(row["x"]) for row in rows], expected.keypoints[0, :, 0], atol=1e-3)


def test_detector_and_thresholds_are_those_that_are_chosen(engine, files, settings):
    def boxes(**chosen):
        chosen = Settings(**vars(settings) | chosen)
        return engine.photo(files / "dots.png", chosen).people.boxes.tolist()

    assert boxes(box_threshold=0.95) == []  # its score is 0.9
    assert len(boxes(box_threshold=0.85)) == 1
    whole = [[0, 0, 300, 200]]
    assert boxes(detector=WHOLE_PICTURE) == whole == boxes(detector=AUTOMATIC)  # three colours are nobody
    drawn = [engine.photo(files / "dots.png", Settings(settings.network, WHOLE_PICTURE, 0.3, t)) for t in (0, 1)]
    original = load_image(files / "dots.png")
    assert [np.array_equal(load_image(one.picture), original) for one in drawn] == [False, True]  # nor a box


def test_a_heatmap_lies_over_the_photograph(engine, files, settings):
    found = engine.photo(files / "dots.png", settings)
    drawn = engine.heatmap(files / "dots.png", found.people.boxes, "r_blue", settings)
    heat = PosePredictor(settings.network).heatmap(files / "dots.png", "r_blue", found.people.boxes)
    np.testing.assert_array_equal(drawn, draw_heatmaps(load_image(files / "dots.png"), heat[..., None]))
    with pytest.raises(InputError, match="no keypoint is called 'nose'"):
        engine.heatmap(files / "dots.png", found.people.boxes, "nose", settings)


def test_networks_of_whole_images_need_no_detector(engine, settings, tmp_path):
    dotted.network().save(tmp_path / "dotted.keras")
    write_card(tmp_path / "dotted.keras", dotted.CARD)
    image = dotted.paint([[(30, 20), (40, 70)], [(110, 30), (120, 60)]], (96, 160))
    cv2.imwrite(str(tmp_path / "two.png"), image[..., ::-1])
    chosen = Settings(str(tmp_path / "dotted.keras"), settings.detector)
    people = engine.photo(tmp_path / "two.png", chosen).people
    np.testing.assert_allclose(sorted(people.keypoints[:, 0, 0]), [30, 110], atol=3)
    heat = PosePredictor(tmp_path / "dotted.keras").heatmap(image, "red")
    expected = draw_heatmaps(image, heat[..., None])
    np.testing.assert_array_equal(engine.heatmap(tmp_path / "two.png", people.boxes, "red", chosen), expected)
    found = engine.video(write_clip(tmp_path / "clip.mp4", count=2), chosen, lambda *what: None)
    assert found.frames == 2


def test_copies_are_in_formats_that_browsers_show(engine, files, settings, tmp_path):
    cv2.imwrite(str(tmp_path / "000000000785.tiff"), dotted_image(POINTS, sigma=10)[..., ::-1])
    found = engine.photo(tmp_path / "000000000785.tiff", settings)
    assert found.picture.name == "000000000785_people.png" and load_image(found.picture).shape == (200, 300, 3)
    assert json.loads(found.files[1].read_text())[0]["image_id"] == 785  # as `predict` has it


@pytest.mark.parametrize("name", ["dots.png", "none.keras"])
def test_what_cannot_be_used_is_one_line(engine, settings, files, name, tmp_path):
    (tmp_path / "dots.png").write_bytes((files / "dots.png").read_bytes()[:200])
    chosen = Settings(name, settings.detector) if name == "none.keras" else settings
    with pytest.raises(InputError, match=name) as error:
        engine.photo(tmp_path / "dots.png" if name == "dots.png" else files / "dots.png", chosen)
    assert "\n" not in str(error.value)
    assert not list(engine.folder.glob("results/*"))


def test_a_detector_that_cannot_be_had_names_the_other_way(engine, files, settings, monkeypatch, tmp_path):
    monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("hrnet_tf.detection.detector.detector_file", refuse)
    with pytest.raises(InputError, match="no connection; or choose another detector, or the whole picture"):
        engine.photo(files / "dots.png", Settings(settings.network, "yolox_s"))


def refuse(*_):
    raise InputError("no connection")


def test_a_video_is_predicted_and_told_of(engine, settings, tmp_path):
    told = []
    clip = write_clip(tmp_path / "clip.mp4")
    found = engine.video(clip, Settings(settings.network, WHOLE_PICTURE), lambda *what: told.append(what))
    assert (found.frames, [path.name for path in found.files]) == (
        12,
        ["clip.mp4", "predictions.json", "predictions.csv"],
    )
    assert found.tracks == [(1, 0.0, 1.1, 12)]
    assert told[-1] == ("predicting", 12, 12, "frames")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])  # the second does not announce how many frames it has
def test_a_video_that_is_too_long_is_refused(engine, settings, tmp_path, suffix):
    clip = write_clip(tmp_path / f"clip{suffix}", count=13)
    with pytest.raises(InputError, match="13 frames or more, and the page takes up to 12: cut it"):
        engine.video(clip, Settings(settings.network, WHOLE_PICTURE), lambda *what: None)
    assert not list(engine.folder.rglob("*.*"))


def test_a_video_ends_when_the_page_does(engine, settings, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(Stopped):
        engine.video(clip, Settings(settings.network, WHOLE_PICTURE), lambda *what: engine.stop())
    assert not list(engine.folder.rglob("*.*"))


def test_old_files_are_removed(engine, files, settings):
    old, new = engine.folder / "uploads" / "old", engine.folder / "uploads" / "new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "photo.jpg").write_bytes(b"x")
    os.utime(old, (time.time() - 90_000,) * 2)
    engine.photo(files / "dots.png", settings)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_network_computes_for_one_at_a_time(engine, files, settings):
    """Three threads at once, seen by the detector, which is asked in their turns."""
    at_once, most = 0, 0

    class Watching(PersonDetector):
        def __call__(self, image):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            time.sleep(0.05)
            at_once -= 1
            return super().__call__(image)

    engine.load(settings.network)
    engine._detectors[settings.detector] = Watching(settings.detector)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(engine.photo(files / "dots.png", settings))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and len({one.picture for one in results}) == 3
    assert all(np.array_equal(one.people.keypoints, results[0].people.keypoints) for one in results)


def test_few_networks_are_kept(engine, files, tmp_path):
    names = [tmp_path / f"{i}.keras" for i in range(4)]
    for name in names:
        name.write_bytes((files / "colors.keras").read_bytes())
    first = engine.load(str(names[0]))
    assert engine.load(str(names[0])) is first
    for name in names[1:]:
        engine.load(str(name))
    assert engine.load(str(names[0])) is not first


def test_what_is_here_can_be_chosen_first(monkeypatch, tmp_path):
    monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path))
    names = [name for _, name in choices.network_choices([])]
    assert names[0] == "hrnet_w32_coco_256x192_udp" and "yolox_s" not in names and "hrnet_w32_imagenet" not in names
    here = choices.local.place(choices.find("hrnet_w48_coco_384x288_udp")).with_suffix(".keras")
    with replacing(here) as path:
        path.touch()
    shown = choices.network_choices(["best.keras"])
    assert shown[0] == ("best.keras", "best.keras")
    assert shown[1] == ("hrnet_w48_coco_384x288_udp (on this machine)", "hrnet_w48_coco_384x288_udp")
    assert shown[2][0].endswith("(to be downloaded)")
    given = [name for _, name in choices.detector_choices(["yolox_tiny"])]
    assert given[:3] == ["yolox_tiny", AUTOMATIC, WHOLE_PICTURE] and given.count("yolox_tiny") == 1


def test_ports_that_cannot_be_used_are_refused():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        line = f"port {port} cannot be used: Address already in use; give another --port"
        with pytest.raises(InputError, match=line):
            check_port(port)
        command = [sys.executable, "-m", "hrnet_tf.cli", "app", f"--port={port}"]
        result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"error: {line}\n")


def test_without_gradio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the page needs Gradio: pip install 'hrnet_tf\[app\]'"):
        app.main()


def test_errors_are_a_line_of_the_page_and_everything_else_is_empty(engine, files, settings, tmp_path):
    gr = pytest.importorskip("gradio", reason="the extra app is not installed")
    from hrnet_tf.app import page

    (engine.folder / "uploads" / "a1b2").mkdir(parents=True)
    broken = engine.folder / "uploads" / "a1b2" / "<b>.jpg"
    broken.write_bytes(b"nothing")
    built = page.make_page(engine, [("colors", settings.network)], [("red", settings.detector)])
    predict = next(f for f in built.fns.values() if f.name == "predict" and len(f.outputs) == 9)
    values = settings.network, settings.detector, 0.3, 0.2
    found = {one.elem_id or one.value: value for one, value in predict.fn(str(broken), *values).items()}
    line = found.pop("photo_message")
    assert "cannot decode image &lt;b&gt;.jpg" in line and "wrong" in line and str(engine.folder) not in line
    assert {type(value) for value in found.values()} == {type(None), gr.DownloadButton}
    found = {one.elem_id or one.value: value for one, value in predict.fn(str(files / "dots.png"), *values).items()}
    assert "1 person in" in found["photo_message"] and len(found["keypoints"]) == 3
    assert found["keypoints"][0][:2] == [0, "red"] and found["people"].endswith("dots_people.png")
