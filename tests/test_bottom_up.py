"""Prediction by networks of whole images: how they are resized, what becomes of their maps, and who is found where."""

import dataclasses
import json
import shutil

import cv2
import dotted
import keras
import numpy as np
import pytest
import seeded
import tensorflow as tf
from tool_runs import run

from hrnet_tf import InputError, PosePredictor, build_model, export, load_state_dict
from hrnet_tf.grouping import group, least_score
from hrnet_tf.model_card import ModelCard
from hrnet_tf.prediction.bottom_up import boxes_around
from hrnet_tf.prediction.network import Network, load_network
from hrnet_tf.prediction.whole_images import average, frame
from hrnet_tf.skeletons import COCO

PEOPLE = [[(30, 20), (40, 70)], [(110, 30), (120, 60)], [(75, 15), (70, 75)]]


@pytest.fixture(scope="module")
def network():
    return dotted.network()


@pytest.fixture(scope="module")
def predictor(network):
    return PosePredictor(network, card=dotted.CARD)


def test_images_are_resized_as_by_the_reference():
    golden = seeded.load("higher_resize")
    for row in golden["rows"]:
        one = dict(zip(str(golden["columns"]).split(), row, strict=True))
        size = int(one["image_h"]), int(one["image_w"])
        found = frame(size, int(one["input_size"]), one["scale"], one["min_scale"])
        assert found.size == (one["resized_h"], one["resized_w"])
        assert found.center == (one["center_x"], one["center_y"])
        np.testing.assert_allclose(np.array(found.extent) / 200, [one["scale_x"], one["scale_y"]], atol=1e-6)
        expected = np.array([[one[f"m{i}{j}"] for j in range(3)] for i in range(2)])
        corners = np.array([[0, 0, 1], [size[1], 0, 1], [0, size[0], 1], [size[1], size[0], 1]]).T
        assert np.abs((found.matrix() - expected) @ corners).max() < 1e-3
        back = np.concatenate([found.matrix(inverse=True), [[0, 0, 1]]])
        assert np.abs(back @ np.concatenate([found.matrix(), [[0, 0, 1]]]) @ corners - corners).max() < 1e-3


@pytest.mark.slow
def test_maps_are_the_references():
    golden = seeded.load("higher_hrnet")
    model = build_model("higher_hrnet_w32", None)
    load_state_dict(model, seeded.state_dict("pose_higher_hrnet_w32_coco", int(golden["w32_coco_seed"])))
    size = int(golden["w32_coco_height"]), int(golden["w32_coco_width"])
    card = ModelCard("higher_hrnet_w32", (size[0], size[0]), COCO, kind="bottom_up")
    image = seeded.images(int(golden["w32_coco_image_seed"]), 1, *size)[0]
    heatmaps, tags = PosePredictor(model, card=card)._predictor.maps(image)
    expected = (
        seeded.nhwc(golden["w32_coco_final_heatmaps_nchw"])[0],
        np.moveaxis(golden["w32_coco_final_tags"][0], 0, 2),
    )
    for one, other in zip((heatmaps, tags), expected, strict=True):
        assert np.linalg.norm(one[::4, ::4] - other) / np.linalg.norm(other) < 1e-5


def test_flip_test_exchanges_sides_and_makes_a_second_tag():
    rng = np.random.default_rng(0)
    low, high = rng.normal(size=(1, 4, 6, 6)).astype("f4"), rng.normal(size=(1, 8, 12, 3)).astype("f4")
    order = [0, 2, 1]
    mirrored = {"heatmaps_tags": low[:, :, ::-1][..., [*order, 3, 5, 4]], "heatmaps": high[:, :, ::-1][..., order]}
    outputs = {"heatmaps_tags": np.concatenate([low, mirrored["heatmaps_tags"]])}
    outputs["heatmaps"] = np.concatenate([high, mirrored["heatmaps"]])
    plain = average({"heatmaps_tags": low, "heatmaps": high}, None)
    heatmaps, tags = average(outputs, [(1, 2)])
    np.testing.assert_allclose(heatmaps, plain[0], atol=1e-6)
    np.testing.assert_allclose(tags, np.concatenate([plain[1], plain[1]], axis=-1), atol=1e-6)


def near(people, expected, pixels):
    """Whether people [N,2,3] are those expected [N,2,2], in any order."""
    assert len(people) == len(expected)
    order = np.argsort(people[:, 0, 0])
    wanted = np.array(expected, float)
    return np.all(np.abs(people[order, :, :2] - wanted[np.argsort(wanted[:, 0, 0])]) < pixels)


@pytest.mark.parametrize("options", [{}, {"flip_test": False}, {"scales": (0.5, 1, 2)}, {"scales": (1.5,)}], ids=str)
@pytest.mark.parametrize(("width", "height"), [(150, 96), (160, 128), (151, 151), (150, 331)])
def test_everybody_is_found_where_they_are(network, width, height, options):
    found = PosePredictor(network, card=dotted.CARD, **options)(dotted.paint(PEOPLE, (height, width)))
    assert near(found, PEOPLE, 1.5)
    assert found[..., 2].min() > 0.5 and found.dtype == np.float32


def test_people_have_scores_and_boxes_around_them(predictor):
    image = dotted.paint([*PEOPLE, [(20, 100), None]], (120, 150))
    people = predictor.people(image)
    assert people.keypoints.shape == (4, 2, 3) and people.skeleton == dotted.SKELETON
    lonely = np.argmin(people.scores)
    assert np.abs(people.keypoints[lonely, 0, :2] - [20, 100]).max() < 1.5 and people.keypoints[lonely, 0, 2] > 0.5
    assert people.scores[lonely] == pytest.approx(people.keypoints[lonely, 0, 2] / 2)
    for person in people:
        there = person.keypoints[person.keypoints[:, 2] > 0, :2]
        assert np.all(there >= person.box[:2]) and np.all(there <= person.box[:2] + person.box[2:])
    np.testing.assert_array_equal(predictor(image), people.keypoints)
    heatmap = predictor.heatmap(image, "green")
    assert heatmap.shape == image.shape[:2]
    assert (
        np.abs(np.subtract(np.unravel_index(heatmap.argmax(), heatmap.shape), (70, 40))).max() <= 2
        or heatmap.max() > 0.5
    )


def test_boxes_of_people_with_few_keypoints():
    keypoints = np.zeros((3, 5, 3), np.float32)
    keypoints[0, :, :2], keypoints[0, :, 2] = [[10, 20], [30, 20], [30, 60], [10, 60], [20, 40]], 1
    keypoints[1, 2] = 50, 60, 0.3
    keypoints[2, :2] = [[5, 5, 0.2], [9, 5, 0.1]]
    boxes = boxes_around(keypoints)
    np.testing.assert_allclose(boxes[0], [6.8, 16.8, 26.4, 46.4], atol=1e-4)
    np.testing.assert_allclose(boxes[1:], [[50, 60, 1, 1], [5, 5, 4, 1]])


def test_several_images_and_another_order_of_keypoints(predictor, network):
    images = [dotted.paint(PEOPLE[:count], (96, 150)) for count in (1, 3, 0, 2)]
    found = predictor.predict_batch(images)
    assert [len(people) for people in found] == [1, 3, 0, 2] and found[2].shape == (0, 2, 3)
    for image, people in zip(images, found, strict=True):
        np.testing.assert_array_equal(predictor(image), people)
    swapped = dataclasses.replace(dotted.SKELETON, names=("green", "red"))
    other = PosePredictor(network, card=dotted.CARD, skeleton=swapped)
    np.testing.assert_array_equal(other(images[1]), found[1][:, ::-1])


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (20, 31)])
def test_images_of_few_pixels(predictor, size):
    assert predictor(np.zeros((*size, 3), np.uint8)).shape == (0, 2, 3)
    white = np.full((*size, 3), 255, np.uint8)
    assert np.isfinite(predictor(white)).all() and len(group(*predictor._predictor.maps(white))[0]) > 0


def test_images_that_are_too_long_and_narrow_are_refused(predictor, tmp_path):
    with pytest.raises(InputError, match=r"so long and narrow: of 4000 x 50 pixels, the longer side would have 10240"):
        predictor(np.zeros((50, 4000, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "long.png"), np.zeros((50, 4000, 3), np.uint8))
    with pytest.raises(InputError, match=r"long\.png: an image must not be so long and narrow"):
        predictor.people(tmp_path / "long.png")


def test_two_hundred_people_and_tags_that_are_no_numbers(predictor, network):
    grid = [[(8 + 16 * (i % 20), 8 + 16 * (i // 20))] * 2 for i in range(200)]
    people = predictor.people(dotted.paint(grid, (160, 320), sigma=2.0))
    assert 30 <= len(people) <= 60 and np.isfinite(people.keypoints).all()

    def without_tags(images, training=False):
        outputs = dict(network(images))
        outputs["heatmaps_tags"] = tf.concat(
            [outputs["heatmaps_tags"][..., :2], outputs["heatmaps_tags"][..., 2:] * np.nan], -1
        )
        return outputs

    nobody = PosePredictor(Network(without_tags, (128, 128), 2, "bottom_up"), card=dotted.CARD)
    assert len(nobody.people(dotted.paint(PEOPLE, (96, 150)))) == 0


def test_what_is_for_networks_of_crops_is_refused(predictor, network):
    image = dotted.paint(PEOPLE, (96, 150))
    for call in (lambda: predictor(image, [[1, 2, 3, 4]]), lambda: predictor.predict_batch([image], [[]])):
        with pytest.raises(InputError, match="a network of whole images finds people by itself: give no boxes"):
            call()
    with pytest.raises(InputError, match="finds people by itself: give no detector"):
        PosePredictor(network, card=dotted.CARD, detector=lambda image: np.zeros((0, 4)))
    for scales in ((), (0,), (1, -1)):
        with pytest.raises(ValueError, match="`scales` must be positive"):
            PosePredictor(network, card=dotted.CARD, scales=scales)
    with pytest.raises(ValueError, match="`scales` must be positive, of a network of whole images"):
        PosePredictor(build_model("hrnet_w18_small_v1", (64, 64)), scales=(1, 2))
    with pytest.raises(
        InputError, match=r"takes images of \[64, 96\] pixels alone, .* build the network with input_size=None"
    ):
        PosePredictor(dotted.network((64, 96)), card=dotted.CARD)
    images = keras.Input((None, None, 3))
    with pytest.raises(InputError, match=r"must take images .* and give heatmaps_tags \[B,H/4,W/4,2K\]"):
        outputs = {"heatmaps_tags": keras.layers.Conv2D(3, 4)(images), "heatmaps": keras.layers.Conv2D(3, 4)(images)}
        PosePredictor(keras.Model(images, outputs))


def test_somebody_of_whom_next_to_nothing_is_seen_is_left_out(predictor):
    people = [[(30, 20), None], [(110, 30), (120, 60)]]
    assert [round(least_score(k), 3) for k in (1, 2, 17, 133)] == [0.3, 0.3, 0.088, 0.011]
    image = dotted.paint(people, (96, 150))
    image[:, :75] = np.round(0.15 * image[:, :75])
    found, scores = group(*predictor._predictor.maps(image), fill=False)
    assert len(found) == 2 and 0.05 < scores.min() < 0.1
    assert near(predictor(image), people[1:], 1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network):
    """A model with its card, and two images of which one has nobody."""
    folder = tmp_path_factory.mktemp("dots")
    export.export_keras(network, folder / "dotted.keras", dotted.CARD)
    (folder / "images").mkdir()
    for name, people in (("crowd", PEOPLE), ("nobody", [])):
        cv2.imwrite(str(folder / "images" / f"{name}.png"), dotted.paint(people, (96, 150))[..., ::-1])
    return folder


def test_a_file_gives_the_same_people_by_its_card(folder, predictor):
    network, _ = load_network(folder / "dotted.keras")
    assert network.kind == "bottom_up" and network.num_keypoints == 2
    image = folder / "images" / "crowd.png"
    loaded = PosePredictor(folder / "dotted.keras")
    assert loaded.input_size == (128, 128) and not loaded.needs_boxes and loaded.detector is None
    np.testing.assert_allclose(loaded(image), predictor(image), atol=1e-4)


def test_the_command_needs_no_detector(folder, tmp_path):
    result = run("predict", model=folder / "dotted.keras", input=folder / "images", out_dir=tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "2 of 2 images, 3 people" in result.stdout and "nobody in 1 of 2 images: nobody.png" in result.stdout
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {one["file_name"] for one in found} == {"crowd.png"}
    assert near(np.array([one["keypoints"] for one in found]).reshape(-1, 2, 3), PEOPLE, 1.5)
    assert (tmp_path / "out" / "crowd.png").exists() and (tmp_path / "out" / "nobody.png").exists()


def test_a_picture_too_long_to_resize_is_named_and_the_others_are_predicted(folder, tmp_path):
    shutil.copytree(folder / "images", tmp_path / "images")
    cv2.imwrite(str(tmp_path / "images" / "long.png"), np.zeros((10, 4000, 3), np.uint8))
    flags = {"model": folder / "dotted.keras", "out_dir": tmp_path / "out"}
    result = run("predict", **flags, input=tmp_path / "images")
    assert result.returncode == 0, result.stderr
    assert "long.png: an image must not be so long and narrow" in result.stderr + result.stdout
    assert "2 of 3 images, 3 people" in result.stdout
    result = run("predict", **flags, input=tmp_path / "images" / "long.png")
    assert result.returncode == 1 and "none of the images can be read" in result.stderr


def test_the_command_refuses_what_is_for_networks_of_crops(folder, tmp_path):
    files = {"model": folder / "dotted.keras", "input": folder / "images", "out_dir": tmp_path / "out"}
    result = run("predict", **files, boxes="1,2,3,4")
    assert result.returncode == 1 and not (tmp_path / "out").exists()
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: --boxes is for networks of crops: ") and line.endswith(
        "everybody in an image by itself"
    )
