"""A real Triton server under load, where HRNET_TF_TRITON_PYTHON names a Python that has nvidia-pytriton and TensorFlow.

With HRNET_TF_TRITON_MODEL, a SavedModel folder, that one is served instead of a small one.
"""

import json
import os
import pathlib
import socket
import subprocess

import cv2
import keras
import numpy as np
import pytest
import seeded
import tensorflow as tf

from hrnet_tf.export.saved_model import export_saved_model
from hrnet_tf.model_card import ModelCard
from hrnet_tf.skeletons import Skeleton

PYTHON = os.environ.get("HRNET_TF_TRITON_PYTHON")
MODEL = os.environ.get("HRNET_TF_TRITON_MODEL")
TESTS = pathlib.Path(__file__).parent
BOXES = np.array([[20, 10, 60, 90], [-15.5, -20.25, 70, 80]], np.float32)
SIZE = (96, 64)
NUM_REQUESTS, NUM_THREADS = 1000, 32


def small_saved_model(path):
    images = keras.Input((*SIZE, 3), name="images")
    x = keras.layers.AveragePooling2D(8, 4, padding="same")(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Conv2D(2, 1, name="heatmaps")(x), name="smooth")
    export_saved_model(model, path, ModelCard("smooth", SIZE, Skeleton(("a", "b"), (), (), (0.1, 0.1), ())))
    return path


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="HRNET_TF_TRITON_PYTHON names no Python with nvidia-pytriton and TensorFlow")
def test_triton_answers_under_load(tmp_path):
    path = MODEL or small_saved_model(tmp_path / "1")
    pose = tf.saved_model.load(str(path)).signatures["pose"]
    image = cv2.GaussianBlur(seeded.images(0, 1, 128, 160)[0], (31, 31), 7)
    expected = []
    for i in range(5):
        data = cv2.imencode(".jpg", np.roll(image, 10 * i, axis=1))[1].tobytes()
        (tmp_path / f"{i}.jpg").write_bytes(data)
        expected.append(pose(image=tf.constant(data), boxes=tf.constant(BOXES))["keypoints"].numpy())
    np.save(tmp_path / "expected.npy", expected)
    np.save(tmp_path / "boxes.npy", BOXES)
    http, grpc = free_ports(2)
    server = [PYTHON, TESTS.parent / "examples" / "triton_server.py", path, f"--http_port={http}"]
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen([*map(str, server), f"--grpc_port={grpc}"], stdout=log, stderr=log) as process,
    ):
        try:
            load = [PYTHON, TESTS / "triton_load.py", grpc, tmp_path, NUM_REQUESTS, NUM_THREADS]
            result = subprocess.run(list(map(str, load)), capture_output=True, text=True)
        finally:
            process.terminate()
    assert result.returncode == 0, result.stderr + (tmp_path / "log").read_text()
    print(result.stdout)
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["counts"] == {"refused": NUM_REQUESTS // 4, "right": NUM_REQUESTS * 3 // 4}
