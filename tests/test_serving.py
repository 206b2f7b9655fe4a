"""The client example and the SavedModel over real connections, with TensorFlow Serving's own messages."""

import pathlib
import re
import runpy
import sys
from concurrent import futures

import cv2
import keras
import numpy as np
import pytest
import seeded
import tensorflow as tf
from test_threads import trained_like

from hrnet_tf.export.saved_model import export_saved_model
from hrnet_tf.model_card import ModelCard, default_card
from hrnet_tf.skeletons import Skeleton

pytest.importorskip("tensorflow_serving")
grpc = pytest.importorskip("grpc")
import model_server  # noqa: E402  needs both
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402

CLIENT = pathlib.Path(__file__).parents[1] / "examples" / "serving_client.py"
SIZE = (96, 64)
BOXES = [[20, 10, 60, 90], [-15.5, -20.25, 70, 80]]
# An APP1 segment for a JPEG, after the two bytes that open it: "turn by 90 degrees to the right".
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
ORIENTATION = b"\xff\xe1" + (len(EXIF) + 2).to_bytes(2, "big") + EXIF


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A SavedModel of a small network."""
    images = keras.Input((*SIZE, 3), name="images")
    x = keras.layers.AveragePooling2D(8, 4, padding="same")(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Conv2D(2, 1, name="heatmaps")(x), name="smooth")
    path = tmp_path_factory.mktemp("pose") / "1"
    export_saved_model(model, path, ModelCard("smooth", SIZE, Skeleton(("a", "b"), (), (), (0.1, 0.1), ())))
    return path


@pytest.fixture(scope="module")
def pixels():
    return cv2.GaussianBlur(seeded.images(0, 1, 128, 160)[0], (31, 31), 7)


@pytest.fixture(scope="module")
def client():
    return runpy.run_path(str(CLIENT))


def jpeg(pixels):
    return cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()


def pose(path, image, boxes):
    outputs = tf.saved_model.load(str(path)).signatures["pose"](image=tf.constant(image), boxes=tf.constant(boxes))
    return outputs["keypoints"].numpy(), outputs["scores"].numpy()


def test_client_gets_what_the_model_says(path, pixels, client):
    image = jpeg(pixels)
    expected = pose(path, image, BOXES)
    with model_server.serve_grpc(path) as server:
        by_grpc = client["predict_grpc"](server, "pose", image, BOXES)
        nobody = client["predict_grpc"](server, "pose", image, [])
        with pytest.raises(SystemExit, match=r"(?s)refuses: INVALID_ARGUMENT .*image must be a JPEG or PNG file"):
            client["predict_grpc"](server, "pose", b"no image", BOXES)
    with model_server.serve_rest(path, "pose") as server:
        by_rest = client["predict_rest"](server, "pose", image, BOXES)
        with pytest.raises(SystemExit, match=r"refuses: .*boxes must be"):
            client["predict_rest"](server, "pose", image, [[0, 0, 0, 0]])
    for actual in (by_grpc, by_rest):
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    assert [values.shape for values in nobody] == [(0, 2, 3), (0,)]


def test_client_turns_images_and_leaves_others_as_they_are(pixels, client, tmp_path):
    data = jpeg(pixels)
    (tmp_path / "plain.jpg").write_bytes(data)
    (tmp_path / "turned.jpg").write_bytes(data[:2] + ORIENTATION + data[2:])
    assert client["upright_image"](tmp_path / "plain.jpg") == data
    upright = tf.io.decode_png(client["upright_image"](tmp_path / "turned.jpg"))
    stored = tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(upright, np.rot90(stored, -1))


@pytest.mark.parametrize("content", [b"", b"text"])
def test_client_names_what_is_no_image(content, client, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SystemExit, match=r"file is not an image"):
        client["upright_image"](tmp_path / "file")


def test_client_prints_scores_and_keypoints(path, pixels, client, tmp_path, monkeypatch, capsys):
    (tmp_path / "image.jpg").write_bytes(jpeg(pixels))
    boxes = [[20, 10, 60, 90], [30, 30, 50, 50.5]]
    with model_server.serve_rest(path, "pose") as server:
        arguments = [",".join(map(str, box)) for box in boxes]
        monkeypatch.setattr(sys, "argv", ["client", str(tmp_path / "image.jpg"), *arguments, f"--rest={server}"])
        client["main"]()
    lines = capsys.readouterr().out.splitlines()
    keypoints, scores = pose(path, jpeg(pixels), boxes)
    assert len(np.unique(keypoints.reshape(4, 3).round(2), axis=0)) == 4  # none could stand for another
    assert [re.fullmatch(r"person, score (\d\.\d{3}):", line)[1] for line in lines[::3]] == [f"{s:.3f}" for s in scores]
    for person, points in enumerate(keypoints):
        printed = [list(map(float, line.split())) for line in lines[3 * person + 1 : 3 * person + 3]]
        np.testing.assert_allclose(printed, points, atol=0.00501)
        np.testing.assert_allclose(np.array(printed)[:, 2], points[:, 2], atol=0.000501)
    assert len(lines) == 6


@pytest.mark.slow
def test_a_thousand_requests_at_once(pixels, tmp_path):
    """Every good one is answered right, every bad one refused, none lost; by a network that adds up convolutions."""
    model = trained_like("hrnet_w18_small_v1", SIZE)
    path = tmp_path / "1"
    export_saved_model(model, path, default_card(model))
    images = [jpeg(np.roll(pixels, 10 * shift, axis=1)) for shift in range(5)]
    expected = [pose(path, image, BOXES)[0] for image in images]

    def request(number):
        good = images[number % 5]
        image, boxes = (good, BOXES) if number % 4 else ((good[:500], BOXES), (good, [[0, 0, -1, 5]]))[number // 4 % 2]
        message = predict_pb2.PredictRequest()
        message.model_spec.name, message.model_spec.signature_name = "pose", "pose"
        message.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
        message.inputs["boxes"].CopyFrom(tf.make_tensor_proto(np.array(boxes, np.float32)))
        try:
            return tf.make_ndarray(stub.Predict(message, timeout=300).outputs["keypoints"])
        except grpc.RpcError as error:
            return error.code()

    with model_server.serve_grpc(path, 32) as server, grpc.insecure_channel(server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with futures.ThreadPoolExecutor(32) as threads:
            answers = list(threads.map(request, range(1000)))
    assert len(answers) == 1000
    for number, answer in enumerate(answers):
        if number % 4:
            np.testing.assert_allclose(answer, expected[number % 5], rtol=1e-6)
        else:
            assert answer == grpc.StatusCode.INVALID_ARGUMENT
