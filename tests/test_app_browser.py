"""`hrnet-tf app` as somebody uses it: the server is a process, the page is looked at in a browser."""

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import cv2
import detectors
import numpy as np
import pytest
from dots import COLORS, SIZE, color_network, dotted_image
from videos import write_clip

from hrnet_tf import PosePredictor
from hrnet_tf.model_card import ModelCard, write_card

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
MISSING += [name for name in ("gradio", "selenium") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"a browser is to look at the page: there is no {', '.join(MISSING)}"),
]
MAX_FRAMES, SECONDS = 12, 90
# A file is dropped as one is from a desktop: with its name, its kind and what is in it.
DROP = """
const bytes = Uint8Array.from(atob(arguments[1]), letter => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[2], {type: arguments[3]}));
const zone = arguments[0].closest('button') || arguments[0].parentElement;
for (const kind of ['dragenter', 'dragover', 'drop'])
    zone.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    color_network().save(folder / "colors.keras")
    write_card(folder / "colors.keras", ModelCard("colors", SIZE, COLORS))
    detectors.extent_file(folder / "red.onnx", (96, 160), 2, 150, "dets")
    points = np.array([[100.0, 60], [130, 90], [115, 100]])
    cv2.imwrite(str(folder / "dots.png"), dotted_image(points, sigma=10)[..., ::-1])
    (folder / "broken.jpg").write_bytes((folder / "dots.png").read_bytes()[:300])
    write_clip(folder / "clip.mp4")
    write_clip(folder / "long.mp4", count=MAX_FRAMES + 1)
    return folder


@contextlib.contextmanager
def served(files, temporary):
    """The process of a page, and its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    flags = [f"--model={files / 'colors.keras'}", f"--detector={files / 'red.onnx'}", f"--port={port}"]
    command = [sys.executable, "-m", "hrnet_tf.cli", "app", *flags, f"--max_frames={MAX_FRAMES}", "--max_upload=1"]
    environment = os.environ | {"TMPDIR": str(temporary), "GRADIO_SERVER_NAME": "0.0.0.0"}  # which is not heeded
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            assert process.stdout.readline() == f"the page is at http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
            yield process, f"http://127.0.0.1:{port}/"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def page(files, tmp_path_factory):
    """(browser, address) of a running page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1200"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with served(files, tmp_path_factory.mktemp("temporary")) as (_, url):
        browser = webdriver.Chrome(options=options, service=service)
        try:
            browser.get(url)
            yield browser, url
        finally:
            browser.quit()


def waited(function):
    """What a function gives once it gives something; parts of the page come and go."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(WebDriverException, IndexError):
            if found := function():
                return found
        time.sleep(0.1)
    raise AssertionError(f"nothing of it in {SECONDS} seconds")


def all_of(browser, selector):
    return browser.find_elements("css selector", selector)


def drop(browser, path, kind):
    field = waited(lambda: all_of(browser, f"input[type=file][accept*='{kind}/*']"))[0]
    types = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}
    content = base64.b64encode(path.read_bytes()).decode()
    browser.execute_script(DROP, field, content, path.name, types[path.suffix])


def told(browser, kind, text):
    """The message once it has this text."""
    message = waited(lambda: [m for m in all_of(browser, f"#{kind}_message .message") if text in m.text])[0]
    return message.text, "wrong" in message.get_attribute("class")


def open_tab(browser, name):
    waited(lambda: [tab for tab in all_of(browser, "button[role=tab]") if tab.text == name])[0].click()


def pixels(browser, selector):
    """What a picture of the page shows, [H,W,3]."""
    source = waited(lambda: all_of(browser, f"{selector} img"))[0].get_attribute("src")
    with urllib.request.urlopen(source) as answer:
        return cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def table(browser, selector, count):
    """The texts of the first rows of a table, once they are there."""
    rows = [row.find_elements("css selector", "[role=gridcell]") for row in all_of(browser, f"{selector} [role=row]")]
    rows = [[cell.text.strip() for cell in row] for row in rows]
    rows = [row for row in rows if row and all(row)]
    return rows[:count] if len(rows) >= count else None


def clear(browser, label):
    waited(lambda: [b for b in all_of(browser, f"button[aria-label='{label}']") if b.is_displayed()])[0].click()


def test_a_photograph_that_is_dropped_is_predicted(page, files):
    browser, _ = page
    expected = PosePredictor(files / "colors.keras", detector=files / "red.onnx").people(files / "dots.png")
    drop(browser, files / "dots.png", "image")
    assert told(browser, "photo", "1 person in")[1] is False
    np.testing.assert_array_equal(pixels(browser, "#people"), expected.draw(files / "dots.png"))
    rows = waited(lambda: table(browser, "#keypoints", 3))
    assert [row[:2] for row in rows] == [["0", name] for name in COLORS.names]
    found = np.array([row[2:] for row in rows], float)
    np.testing.assert_allclose(found, expected.keypoints[0], atol=0.06)
    open_tab(browser, "Heatmap")
    heat = pixels(browser, "#heatmap").astype(int)
    x, y = expected.keypoints[0, 0, :2].round().astype(int)
    assert heat[y, x, 0] > heat[y, x, 2] + 50 and heat.shape == (200, 300, 3)  # red there
    open_tab(browser, "People")
    clear(browser, "Remove Image")
    told(browser, "photo", "Drop a photograph")


def test_what_cannot_be_used_is_a_line_in_the_page(page, files):
    browser, _ = page
    drop(browser, files / "broken.jpg", "image")
    line, is_wrong = told(browser, "photo", "broken.jpg")
    assert is_wrong and line.startswith("cannot decode image broken.jpg: truncated") and "\n" not in line
    clear(browser, "Remove Image")
    told(browser, "photo", "Drop a photograph")
    large = files / "large.png"
    cv2.imwrite(str(large), np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8))
    drop(browser, large, "image")
    assert waited(
        lambda: [part for part in all_of(browser, "body") if "exceed the maximum allowed size of 1" in part.text]
    )


def test_a_video_is_predicted_and_plays(page, files):
    browser, _ = page
    open_tab(browser, "Video")
    for name, text in (("long.mp4", "13 frames or more, and the page takes up to 12"), ("clip.mp4", "12 frames, ")):
        drop(browser, files / name, "video")
        waited(lambda: [part for part in all_of(browser, "video") if part.is_displayed()])
        waited(lambda: all_of(browser, "#predict_video"))[0].click()
        assert told(browser, "video", text)[1] is (name == "long.mp4")
        if name == "long.mp4":
            clear(browser, "Clear")
    played = waited(lambda: all_of(browser, "#video_people video"))[0]
    size = "return arguments[0].readyState > 1 && [arguments[0].videoWidth, arguments[0].duration, arguments[0].error]"
    width, duration, error = waited(lambda: browser.execute_script(size, played))
    assert (width, error) == (96, None) and abs(duration - 1.2) < 0.05


def test_nothing_is_fetched_from_elsewhere(page):
    """By the log of all that the browser has asked for in the tests before, and by what the page tells it."""
    browser, url = page
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 20 and all(one.startswith((url, "data:", "blob:")) for one in asked)
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self' ")


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(files, tmp_path, which):
    with served(files, tmp_path) as (process, url):
        assert urllib.request.urlopen(url).status == 200
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", int(url.split(":")[2][:-1])), 1):
            pass  # it listens at no other address
        assert list(tmp_path.glob("hrnet_tf_app.*"))
        process.send_signal(which)
        output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output, errors) == (0, "", "")
    assert not list(tmp_path.iterdir())
