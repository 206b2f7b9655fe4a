"""Runs that are interrupted go on where they stopped, with the results of one that was not; live streams end well."""

import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from test_predictor import COLORS, color_network, random_network
from tool_runs import ROOT, complaint
from videos import number_of, read_clip, write_clip

from hrnet_tf import InputError, PosePredictor
from hrnet_tf.prediction import boxes, files, sources
from hrnet_tf.prediction.journal import Journal, claimed, fingerprint
from hrnet_tf.prediction.streams import Stream
from hrnet_tf.skeletons import COCO

SOON = 60


def write_photos(folder, count, size=(60, 80)):
    folder.mkdir(parents=True)
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.GaussianBlur(noise, (0, 0), 2))
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def predictor():
    return PosePredictor(random_network(), skeleton=COCO, batch_size=4)


@pytest.fixture
def photos(tmp_path):
    folder = write_photos(tmp_path / "photos", 11)
    (folder / "10.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return folder


class Run:
    """Predictions of a folder of which it is noted what goes through the network; `stop_at` is what is not drawn."""

    def __init__(self, predictor, photos, out_dir, monkeypatch):
        self.predictor, self.photos, self.out_dir, self.monkeypatch = predictor, photos, out_dir, monkeypatch

    def __call__(self, settings=None, stop_at=None):
        self.seen, self.bad = [], []
        write_image = files.write_image

        def write(path, image):
            if path.name == stop_at:
                raise KeyboardInterrupt
            self.seen.append(path.name)
            write_image(path, image)

        numbers = sources.find_images(self.photos, self.bad.append)
        with self.monkeypatch.context() as patched, claimed(self.out_dir):
            patched.setattr(files, "write_image", write)
            journal = Journal(self.out_dir, settings or {})
            self.differing = journal.differing
            with contextlib.closing(journal):
                done = files.predict_images(
                    self.predictor, numbers, self.out_dir, boxes.whole_image, self.bad.append, journal=journal
                )
                journal.remove()
        return done


@pytest.fixture
def run(predictor, photos, tmp_path, monkeypatch):
    return Run(predictor, photos, tmp_path / "out", monkeypatch)


@pytest.fixture
def whole(predictor, photos, tmp_path, monkeypatch):
    """What an uninterrupted run writes."""
    done = Run(predictor, photos, tmp_path / "whole", monkeypatch)()
    assert done == (10, 10, [])
    return contents(tmp_path / "whole")


def test_a_run_goes_on_after_the_last_whole_group(run, whole, photos):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at="6.png")  # of the second group of four
    (journal,) = run.out_dir.glob(".*")
    assert "predictions.json" not in contents(run.out_dir)
    with open(journal, "ab") as file:
        file.write(b'["/photos/6.png", [1, 2], [{"keypo')  # killed while it wrote
    assert run() == (10, 10, [])
    assert sorted(run.seen) == [f"{i}.png" for i in range(4, 10)] and len(run.bad) == 1
    assert contents(run.out_dir) == whole


def test_what_has_changed_is_predicted_anew(run, whole, photos, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at="9.png")
    changed = cv2.imread(str(photos / "9.png"))
    cv2.imwrite(str(photos / "2.png"), changed)
    (run.out_dir / "3.png").unlink()
    assert run() == (10, 10, [])
    assert sorted(run.seen) == ["2.png", "3.png", "8.png", "9.png"]
    assert "predicted anew: 2 images whose files or copies have changed since" in capsys.readouterr().err
    found = json.loads(contents(run.out_dir)["predictions.json"])
    assert [one["file_name"] for one in found] == [f"{i}.png" for i in range(10)]
    np.testing.assert_allclose(found[2]["keypoints"], found[9]["keypoints"], atol=1e-3)
    assert found[3] == json.loads(whole["predictions.json"])[3]


def test_what_becomes_unreadable_is_not_taken_from_before(run, whole, photos):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at="9.png")
    (photos / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert run().pictures == 9 and len(run.bad) == 2
    assert "2.png" not in [one["file_name"] for one in json.loads(contents(run.out_dir)["predictions.json"])]


def test_new_images_and_other_numbers_are_not_mixed(run, whole, photos):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at="9.png")
    (photos / "10.png").rename(photos / "x.png")
    cv2.imwrite(str(photos / "a.png"), np.zeros((60, 80, 3), np.uint8))  # has no number: all are counted from 1 now
    assert run() == (11, 11, [])
    found = json.loads(contents(run.out_dir)["predictions.json"])
    assert [(one["file_name"], one["image_id"]) for one in found[:2]] == [("0.png", 1), ("1.png", 2)]
    assert sorted(run.seen) == ["8.png", "9.png", "a.png"]


def test_other_settings_begin_anew(run, whole, photos):
    with pytest.raises(KeyboardInterrupt):
        run({"model": "a", "flip_test": True}, stop_at="9.png")
    assert run({"model": "b", "flip_test": True}) == (10, 10, [])
    assert run.differing == ["model"] and len(run.seen) == 10
    assert contents(run.out_dir) == whole


def test_a_run_that_ends_before_its_first_group_leaves_nothing(run, photos):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at="0.png")
    assert all(name.endswith(".png") for name in contents(run.out_dir))


def test_one_process_writes_to_a_folder(tmp_path):
    with claimed(tmp_path / "out"):
        with pytest.raises(InputError, match="another process writes to"), claimed(tmp_path / "out"):
            pass
        (tmp_path / "out" / ".predict.abcd_123").mkdir()
    assert (tmp_path / "out" / ".predict.abcd_123").exists()
    with claimed(tmp_path / "out"):
        assert not (tmp_path / "out" / ".predict.abcd_123").exists()  # of a process that was killed
    assert list((tmp_path / "out").iterdir()) == []  # it was there before
    with claimed(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()


def test_fingerprints_are_of_names_and_contents(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"1")
    first = fingerprint(tmp_path / "a")
    assert len({first, fingerprint(tmp_path / "a" / "b" / "c")}) == 2
    (tmp_path / "a" / "b" / "c").write_bytes(b"2")
    assert fingerprint(tmp_path / "a") != first


@contextlib.contextmanager
def sending(data, parts, seconds):
    """A server that sends a file in so many parts, with seconds between: the address, an Event once all is sent."""
    sent = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            with contextlib.suppress(OSError):
                for i in range(parts):
                    self.wfile.write(data[len(data) * i // parts : len(data) * (i + 1) // parts])
                    time.sleep(seconds)
                sent.set()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/live.ts", sent
        server.shutdown()


def test_a_stream_that_is_cut_keeps_what_was_read(tmp_path):
    predictor = PosePredictor(color_network(), flip_test=False, skeleton=COLORS)
    clip = write_clip(tmp_path / "clip.ts", count=12, sound="aac")
    with (
        sending(clip.read_bytes(), 10, 0.01) as (address, _),
        pytest.warns(UserWarning, match="frames could be read, .* (ended|cannot be read further)"),
    ):
        done = files.predict_video(predictor, Stream(address), tmp_path / "out", boxes.whole_image)
    images, _, _ = read_clip(tmp_path / "out" / "live.mp4")
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert done.pictures == len(images) == len(found) >= 1
    assert [one["frame"] for one in found] == [number_of(image) for image in images]
    assert [one["time"] for one in found] == pytest.approx([one["frame"] / 10 for one in found], abs=1e-3)
    assert {one["file_name"] for one in found} == {address}
    with (
        pytest.raises(InputError, match="has no end until which its keypoints could wait"),
        sending(clip.read_bytes(), 1, 0) as (address, _),
    ):
        files.predict_video(predictor, Stream(address), tmp_path / "no", boxes.whole_image, smooth="whole")


def started(*words, **flags):
    line = [sys.executable, "tools/predict.py", *map(str, words), *(f"--{name}={flags[name]}" for name in flags)]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    output, errors = process.communicate(timeout=SOON)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "random.keras"
    random_network().save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_stream_ends_with_the_signal(model_path, tmp_path, number):
    clip = write_clip(tmp_path / "clip.ts", count=14)
    with sending(clip.read_bytes() * 30, 800, 0.05) as (address, sent):
        process = started(address, model=model_path, out_dir=tmp_path / "out", whole_image=True)
        deadline = time.monotonic() + SOON
        while not list(tmp_path.glob("out/.predict.????????/live.mp4")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(number)
        result = ended(process)
        assert not sent.is_set()
    assert result.returncode == 0, result.stderr
    images, _, _ = read_clip(tmp_path / "out" / "live.mp4")
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert sorted(os.listdir(tmp_path / "out")) == ["live.mp4", "predictions.csv", "predictions.json"]
    assert f"{len(images)} frames, each taken for one person" in result.stdout and len(found) == len(images) > 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_goes_on(model_path, tmp_path, number):
    """Images and two videos: all that is written is the same, byte for byte, as of a run that was not interrupted."""
    photos = write_photos(tmp_path / "photos", 150, (480, 640))
    for name in ("1.mp4", "2.mp4"):
        write_clip(photos / name, count=6)
    flags = {"model": model_path, "whole_image": True, "batch_size": 4, "save_crops": True}
    result = ended(started(photos, out_dir=tmp_path / "whole", **flags))
    assert result.returncode == 0, result.stderr
    assert "150 of 150 images" in result.stdout and "2.mp4: 6 frames" in result.stdout
    out = tmp_path / "out"
    process = started(photos, out_dir=out, **flags)
    deadline = time.monotonic() + SOON
    while not (out / "20.png").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    result = ended(process)
    assert result.returncode == (-9 if number == signal.SIGKILL else 130), result.stderr
    if number == signal.SIGINT:
        assert re.search(r"interrupted: \d+ files are done; the same command goes on", result.stderr)
    assert not (out / "predictions.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    result = ended(started(photos, out_dir=out, **flags))
    assert result.returncode == 0, result.stderr
    count = int(re.search(r"goes on: (\d+) of 152 files are done already", result.stdout)[1])
    again = [path for path, when in before.items() if path.stat().st_mtime_ns != when]
    assert 8 <= count < 152 and len(before) - len(again) >= count
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_camera_that_is_not_there(model_path, tmp_path):
    result = ended(started("77", model=model_path, out_dir=tmp_path / "out", whole_image=True))
    assert "camera 77 cannot be opened: " in complaint(result)
    assert not (tmp_path / "out").exists()
