"""Large images: JPEG files are read at a part of their size, and people are where they are in the file."""

import json
import struct

import cv2
import numpy as np
import pytest
from test_predictor import COLORS, color_network, dotted_image

from hrnet_tf import InputError, PosePredictor
from hrnet_tf.data import pixels
from hrnet_tf.data.decoding import decode, decode_reduced
from hrnet_tf.data.records import read_image, read_reduced
from hrnet_tf.prediction import boxes, files, flow, reading

POINTS = np.array([[410.0, 240], [530, 370], [460, 420]])
BOX = [330, 160, 290, 340]
SIZE = (600, 901)  # sides that are no multiples of 8


def write_jpeg(path, image, orientation=1, progressive=0):
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()
    tag = struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    return path


@pytest.fixture(scope="module")
def image():
    return np.ascontiguousarray(dotted_image(POINTS, 20, SIZE))


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(("orientation", "progressive"), [(1, 0), (1, 1), (6, 0)])
def test_a_reduced_picture_is_the_whole_one_made_smaller(tmp_path, image, factor, orientation, progressive):
    path = write_jpeg(tmp_path / "a.jpg", image, orientation, progressive)
    whole, reduced = read_image(path, turn=True), decode_reduced(path.read_bytes(), factor, True)
    height, width = (-(-side // factor) for side in whole.shape[:2])
    assert reduced.shape == (height, width, 3)
    if orientation == 1:
        means = whole[: height // 2 * factor, : width // 2 * factor].reshape(height // 2, factor, width // 2, factor, 3)
        means = means.mean(axis=(1, 3))
        np.testing.assert_allclose(reduced[: height // 2, : width // 2], means, atol=12)
    assert np.abs(reduced.astype(int) - cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)).mean() < 2


def test_how_much_is_read_follows_from_the_pixels(tmp_path, image):
    path, count = write_jpeg(tmp_path / "a.jpg", image), SIZE[0] * SIZE[1]
    for most, factor in ((count, 1), (count - 1, 2), (count // 4 - 1, 4), (count // 16 - 1, 8), (1, 8)):
        reduced, found = read_reduced(path, most)
        assert found == factor and reduced.shape[0] == SIZE[0] // factor
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert read_reduced(tmp_path / "a.png", 1)[1] == 1  # of others there is no part
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    if decode(bytes(data), True)[1]:  # damaged inside: read as a whole, and said
        with pytest.warns(UserWarning, match="damaged"):
            assert read_reduced(path, 1)[1] == 1
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_reduced(path, 1)
    pixels.limit_pixels(count - 1)
    try:
        with pytest.raises(pixels.TooManyPixelsError):
            read_reduced(path, 1)
    finally:
        pixels.limit_pixels(pixels.DEFAULT_MAX_PIXELS)


DETECTED = boxes.Detected(lambda image: np.multiply([BOX], image.shape[0] / SIZE[0]))


@pytest.mark.parametrize("where", [boxes.GivenBoxes(",".join(map(str, BOX))), DETECTED])
def test_people_are_in_pixels_of_the_file(tmp_path, image, where, monkeypatch):
    path = write_jpeg(tmp_path / "in.jpg", image)
    predictor = PosePredictor(color_network(), flip_test=False, skeleton=COLORS)
    found = {}
    for name, most in (("whole", SIZE[0] * SIZE[1]), ("reduced", SIZE[0] * SIZE[1] // 4 + 1000)):
        monkeypatch.setattr(reading, "MAX_PIXELS", most)
        files.predict_images(predictor, {path: 1}, tmp_path / name, where, print)
        (person,) = json.loads((tmp_path / name / "predictions.json").read_text())
        found[name] = np.reshape(person["keypoints"], (3, 3))
    assert read_image(tmp_path / "reduced" / "in.jpg").shape == (300, 451, 3)
    np.testing.assert_allclose(found["reduced"], found["whole"], atol=1.5)
    np.testing.assert_allclose(found["reduced"][:, :2], POINTS, atol=20)  # a heatmap's pixel has 28


def test_large_pictures_are_not_read_ahead_and_wait_to_be_drawn(tmp_path, monkeypatch):
    """Whatever the number of files, few are in memory."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    paths = {tmp_path / f"{i}.png": i for i in range(12)}
    for path in paths:
        cv2.imwrite(str(path), noise)
    monkeypatch.setattr(reading, "LARGE", 1000)
    monkeypatch.setattr(flow, "LARGE", 1000)
    monkeypatch.setattr(flow, "MAX_PIXELS", 1000)
    held = []
    read, write = reading.read_reduced, files.write_image
    monkeypatch.setattr(reading, "read_reduced", lambda *args: held.append(1) or read(*args))
    monkeypatch.setattr(files, "write_image", lambda *args: held.append(-1) or write(*args))
    predictor = PosePredictor(color_network(), flip_test=False, skeleton=COLORS)
    assert files.predict_images(predictor, paths, tmp_path / "out", boxes.whole_image, print) == (12, 12, [])
    assert max(np.cumsum(held)) <= 7


def test_thousands_of_boxes_are_cut_as_batches_fill(image, monkeypatch):
    where = np.random.default_rng(0).uniform([0, 0, 30, 30], [600, 300, 300, 300], (2003, 4))
    predictor = PosePredictor(color_network(), flip_test=False, skeleton=COLORS, batch_size=8)
    cut, started, ahead = [0], [0], []
    inner = predictor._predictor
    warped, start = inner._warped, inner._start

    def count_cut(*arguments):
        cut[0] += 1
        return warped(*arguments)

    def count_started(crops):
        started[0] += len(crops)
        ahead.append(cut[0] - started[0])
        return start(crops)

    monkeypatch.setattr(inner, "_warped", count_cut)
    monkeypatch.setattr(inner, "_start", count_started)
    found = predictor.predict_batch([image, image], [where, where[:3]])
    assert [len(people) for people in found] == [2003, 3] and started == [2006] and max(ahead) <= 8
    few = PosePredictor(color_network(), flip_test=False, skeleton=COLORS)(image, where[::100])
    np.testing.assert_allclose(found[0][::100], few, atol=1e-3)
    np.testing.assert_allclose(found[1], found[0][:3], atol=1e-3)
