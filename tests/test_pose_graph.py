"""The SavedModel's way from an image and boxes to keypoints, against that of training and evaluation."""

import cv2
import numpy as np
import pytest
import seeded
import tensorflow as tf
from pose_requests import BOXES, SIZE, card, encoded, signature, smooth_image, smooth_model

from hrnet_tf import geometry, heatmaps
from hrnet_tf.data.records import read_image
from hrnet_tf.evaluation import rescore
from hrnet_tf.export import pose_graph
from hrnet_tf.export.saved_model import export_saved_model
from hrnet_tf.prediction.keypoints import make_predict_function


@pytest.fixture(scope="module")
def model():
    return smooth_model()


@pytest.fixture(scope="module")
def image():
    return smooth_image()


def keypoints_by_numpy(model, image, boxes, card, flip_test):
    """[N,K,3] by the functions that training and evaluation use."""
    align_corners = heatmaps.get_codec(card.codec).align_corners
    frames = geometry.box_to_center_size(boxes, SIZE[1] / SIZE[0])
    matrices = geometry.affine_matrix(*frames, 0, SIZE, align_corners=align_corners)
    crops = np.stack([geometry.warp(image, matrix, SIZE) for matrix in matrices])
    flip_pairs = card.skeleton.flip_pairs if flip_test else None
    predict = make_predict_function(tf.distribute.get_strategy(), model, flip_pairs, False, card.codec, card.refine)
    keypoints = predict(crops).numpy()
    back = geometry.affine_matrix(*frames, 0, (SIZE[0] // 4, SIZE[1] // 4), inverse=True, align_corners=align_corners)
    keypoints[..., :2] = geometry.transform_points(keypoints[..., :2], back)
    return keypoints


@pytest.mark.parametrize(
    ("codec", "refine", "flip_test"),
    [
        ("msra", None, False),
        ("msra", "none", True),
        ("dark", None, True),
        ("udp", None, True),
        ("udp", "integral", True),
    ],
)
def test_pose_is_what_evaluation_computes(codec, refine, flip_test, model, image, tmp_path):
    export_saved_model(model, tmp_path / "1", card(codec, refine), flip_test=flip_test)
    pose = signature(tmp_path / "1", "pose")
    data = encoded(image)
    outputs = pose(image=tf.constant(data), boxes=tf.constant(BOXES))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    expected = keypoints_by_numpy(model, decoded, BOXES, card(codec, refine), flip_test)
    assert np.abs(expected[:3, :, :2] - BOXES[:3, None, :2]).max() > 10  # not all in a corner
    np.testing.assert_allclose(outputs["keypoints"][..., :2], expected[..., :2], atol=1e-2)
    np.testing.assert_allclose(outputs["keypoints"][..., 2], expected[..., 2], atol=1e-3)
    scores = rescore(np.ones(len(BOXES)), outputs["keypoints"][..., 2])
    np.testing.assert_allclose(outputs["scores"], scores, rtol=1e-6)


def test_flip_test_changes_keypoints_and_never_heatmaps(model, image, tmp_path):
    for flip_test in (False, True):
        export_saved_model(model, tmp_path / str(flip_test), card(), flip_test=flip_test)
    crops = cv2.resize(image, SIZE[::-1])[None]
    plain, flipped = (
        {name: signature(tmp_path / str(flip_test), name)(images=crops) for name in ("serving_default", "heatmaps")}
        for flip_test in (False, True)
    )
    np.testing.assert_array_equal(plain["heatmaps"]["heatmaps"], flipped["heatmaps"]["heatmaps"])
    assert np.abs(plain["serving_default"]["keypoints"] - flipped["serving_default"]["keypoints"]).max() > 0.5


@pytest.mark.parametrize("align_corners", [False, True])
def test_crops_are_those_of_training(align_corners):
    rng = np.random.default_rng(0)
    picture = seeded.images(1, 1, 208, 320)[0]
    boxes = np.stack([rng.uniform(low, high, 20) for low, high in ((-50, 300), (-50, 200), (1, 400), (1, 300))], 1)
    boxes = np.concatenate([boxes, [[-900, 0, 10, 10], [0, 0, 320, 208], [5e5, 0, 9e5, 1]]]).astype(np.float32)
    matrices = geometry.affine_matrix(
        *geometry.box_to_center_size(boxes, SIZE[1] / SIZE[0]), 0, SIZE, align_corners=align_corners
    )
    expected = np.stack([geometry.warp(picture, matrix, SIZE) for matrix in matrices]).astype(int)
    frames = pose_graph.crop_frames(boxes, SIZE[1] / SIZE[0])
    crops = pose_graph.cut_crops(tf.constant(picture), *pose_graph.frame_matrix(*frames, SIZE, align_corners), SIZE)
    difference = np.abs(crops.numpy() - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def image_files(folder, image):
    """Files of many kinds."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    alpha = rng.integers(0, 256, image.shape[:2], dtype=np.uint8)
    contents = {
        "colour.jpg": image,
        "colour.png": image,
        "grey.jpg": image[..., 0],
        "grey.png": image[..., 0],
        "alpha.png": np.dstack([image, alpha]),
        "deep.png": noise,
        "deep_grey.png": noise[..., 0],
    }
    for name, pixels in contents.items():
        cv2.imwrite(str(folder / name), pixels)
        yield folder / name


def test_images_are_decoded_as_in_training(image, tmp_path):
    for path in image_files(tmp_path, image):
        np.testing.assert_array_equal(pose_graph.decode_image(path.read_bytes()), read_image(path), err_msg=path.name)


def test_exif_orientation_is_left_to_the_client(image):
    turned = encoded(image)
    # An APP1 segment that says "turn by 90 degrees", after the two bytes that open a JPEG.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = turned[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + turned[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape[:2] == image.shape[1::-1]
    assert pose_graph.decode_image(turned).shape == image.shape


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_boxes_are_filled_up_on_gpus_to_numbers_that_are_powers_of_two(device, monkeypatch):
    """A GPU is not here: the CPU stands for a device that prepares for every number."""
    monkeypatch.setattr(pose_graph, "PREPARING_DEVICES", (device,))
    filled_up = tf.function(pose_graph.filled_up, input_signature=[tf.TensorSpec((None, 4))])
    expected = {0: 0, 1: 1, 2: 2, 3: 4, 5: 8, 8: 8, 9: 16, 33: 64, 64: 64, 65: 128, 130: 192, 1000: 1024}
    for count, padded in expected.items():
        boxes = tf.random.stateless_uniform((count, 4), (0, 0))
        found = filled_up(boxes)
        np.testing.assert_array_equal(found[:count], boxes)
        assert len(found) == (padded if device == "CPU" else count)


def test_filled_up_boxes_are_not_answered_and_change_nothing(model, image, tmp_path, monkeypatch):
    found = {}
    for device in ("GPU", "CPU"):
        monkeypatch.setattr(pose_graph, "PREPARING_DEVICES", (device,))
        export_saved_model(model, tmp_path / device, card("dark"), flip_test=True)
        pose = signature(tmp_path / device, "pose")
        for count in (0, 1, 3, 4):
            found[device, count] = pose(image=tf.constant(encoded(image)), boxes=tf.constant(BOXES[:count]))
    for count in (0, 1, 3, 4):
        for name in ("keypoints", "scores"):
            filled_up, plain = (found[device, count][name] for device in ("CPU", "GPU"))
            assert len(filled_up) == count
            np.testing.assert_allclose(filled_up, plain, rtol=1e-5)
