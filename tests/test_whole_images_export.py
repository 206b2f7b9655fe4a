"""Exports of networks of whole images: every format gives the model's outputs for images of any size."""

import dataclasses
import itertools
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import seeded
import tensorflow as tf
from test_fold import randomized

from hrnet_tf import InputError, PosePredictor, build_model, export
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.prediction.network import load_network
from hrnet_tf.prediction.runners import heatmap_runner
from hrnet_tf.skeletons import COCO

NAME = "higher_hrnet_w18_small_v1"
CARD = ModelCard(NAME, (64, 64), COCO, kind="bottom_up")
pytestmark = pytest.mark.slow
EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "bottom_up_example.py"
FORMATS = ("keras", "saved_model", "onnx", "litert")
FILES = ("model.keras", "saved_model/1", "model.onnx", "model_float32.tflite")


@pytest.fixture(scope="module")
def model():
    model = randomized(build_model(NAME, None))
    # Outputs of a size of 1.
    images = seeded.images(0, 1, 64, 64)
    for name, key in (("final_layers_0", "heatmaps_tags"), ("final_layers_1", "heatmaps")):
        largest = np.abs(model(images)[key]).max()
        layer = model.get_layer(name)
        layer.set_weights([weight / largest for weight in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    options = export.ExportOptions(flip_test=True)
    paths, differences = export.export_all(model, folder, seeded.images(1, 2, 64, 96), CARD, FORMATS, options)
    assert [str(path.relative_to(folder)) for path in paths] == [*FILES, "model_float16.tflite"]
    assert len(differences) == 6 and max(differences.values()) < 5e-2
    return folder


@pytest.fixture(scope="module")
def image():
    """[H,W,3] RGB, of no size that a network takes."""
    return cv2.GaussianBlur(seeded.images(3, 1, 80, 112)[0], (9, 9), 3)


@pytest.mark.parametrize("file", FILES)
def test_outputs_are_the_models_for_any_size_and_number(exported, model, file):
    assert read_card(exported / file) == CARD
    runner = heatmap_runner(exported / file)
    assert runner.num_keypoints == 17 and runner.input_size is None
    for count, size in itertools.product((1, 2), ((64, 96), (96, 64))):
        images = seeded.images(2, count, *size)
        expected, found = model(images), runner(images)
        assert set(found) == {"heatmaps_tags", "heatmaps"}
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-3)


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_predicted_with(exported, model, image, file):
    network, _ = load_network(exported / file)
    assert network.kind == "bottom_up"
    expected = PosePredictor(model, card=CARD)._predictor.maps(image)
    predictor = PosePredictor(exported / file)
    assert predictor.input_size == (64, 64) and not predictor.needs_boxes
    for one, other in zip(predictor._predictor.maps(image), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    assert len(predictor.people(image)) > 0


@pytest.mark.parametrize("size", [(80, 112), (112, 80), (64, 64), (50, 333)])
def test_a_server_takes_encoded_images(exported, model, image, size):
    """The same maps, and the same way back, as of the image in memory."""
    image = cv2.resize(image, size[::-1])
    predictor = PosePredictor(model, card=CARD)._predictor
    heatmaps, tags = predictor.maps(image)
    pose = tf.saved_model.load(str(exported / "saved_model/1")).signatures["pose"]
    found = pose(image=tf.io.encode_png(image))
    np.testing.assert_allclose(found["heatmaps"], heatmaps, atol=2e-3)
    np.testing.assert_allclose(found["tags"], tags, atol=2e-3)
    frame, _ = predictor._looks((image, None, None))
    np.testing.assert_allclose(found["matrix"], frame.matrix(inverse=True), atol=1e-4)


def test_a_server_refuses_what_is_too_long_and_narrow(exported):
    pose = tf.saved_model.load(str(exported / "saved_model/1")).signatures["pose"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="must not be so long and narrow"):
        pose(image=tf.io.encode_png(np.zeros((2, 400, 3), np.uint8)))


def test_channels_first(model, tmp_path):
    import onnxruntime

    export.export_onnx(model, tmp_path / "model.onnx", "nchw")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    images = seeded.images(2, 1, 64, 96)
    found = session.run(["heatmaps"], {"images": images.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), model(images)["heatmaps"], atol=1e-3)


def test_what_does_not_fit_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="`card` must be of kind bottom_up and have the 17 keypoints"):
        export.export_saved_model(model, tmp_path / "1", dataclasses.replace(CARD, kind="top_down"))
    crops = seeded.images(1, 2, 64, 96)
    with pytest.raises(InputError, match="networks of whole images are not written in 8 bits"):
        export.export_all(model, tmp_path, crops, CARD, ("onnx",), calibration_crops=crops)
    assert not list(tmp_path.iterdir())


def test_the_example_needs_no_tensorflow(exported, image, tmp_path):
    """What it prints is what the predictor finds without the flip test."""
    cv2.imwrite(str(tmp_path / "photo.png"), image[..., ::-1])
    script = f"""
import runpy, sys
for name in ("tensorflow", "keras"):
    sys.modules[name] = None
sys.argv = ["example", {str(exported / "model.onnx")!r}, "photo.png", "64"]
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    predictor = PosePredictor(exported / "model.onnx", flip_test=False)
    people = predictor.people(image)
    lines = result.stdout.splitlines()
    assert len(lines) == len(people) > 0
    for line, person in zip(lines, people, strict=True):
        score, *points = line.split()
        assert float(score) == pytest.approx(person.score, abs=2e-3)
        found = {int(k): tuple(map(float, xy.split(","))) for k, xy in (point.split(":") for point in points)}
        expected = {k: tuple(xy) for k, (*xy, kept) in enumerate(person.keypoints.tolist()) if kept > 0.1}
        common = found.keys() & expected.keys()
        assert len(common) >= 0.9 * len(expected)
        assert np.mean([np.abs(np.subtract(found[k], expected[k])).max() < 0.5 for k in common]) > 0.9
