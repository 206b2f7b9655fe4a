"""Networks that are none of poses, and files that are no networks, are refused when they are loaded."""

import re

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from hrnet_tf import InputError, PosePredictor
from hrnet_tf.prediction.runners import heatmap_runner


def _keras(stride, **options):
    inputs = keras.Input((64, 64, 3), **options)
    return inputs, keras.layers.Conv2D(17, 3, strides=stride, padding="same")(inputs)


NO_NETWORKS = {
    "another stride": lambda: keras.Model(*_keras(8)),
    "a dict": lambda: keras.Model(*(lambda x, y: (x, {"heatmaps": y}))(*_keras(4))),
    "two outputs": lambda: keras.Model(*(lambda x, y: (x, [y, y]))(*_keras(4))),
    "a batch of one": lambda: keras.Model(*_keras(4, batch_size=1)),
    "a vector": lambda: keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Flatten()]),
    "not built": lambda: keras.Sequential([keras.layers.Flatten()]),
}


@pytest.mark.parametrize("kind", NO_NETWORKS)
def test_another_kind_of_network_is_refused(kind):
    with pytest.raises(InputError, match=r"is not a pose network|takes batches of 1 alone"):
        PosePredictor(NO_NETWORKS[kind]())


def write_convolution(path, stride, shapes, outputs=("y",)):
    """An ONNX file of one convolution with an input and outputs of these shapes, one for all outputs."""
    kernel = onnx.numpy_helper.from_array(np.ones((17, 3, stride, stride), np.float32), "w")
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], [name], strides=[stride] * 2, kernel_shape=[stride] * 2)
        for name in outputs
    ]
    image, *maps = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in zip(("x", *outputs), (shapes[0], *[shapes[1]] * len(outputs)), strict=True)
    )
    graph = onnx.helper.make_graph(nodes, "g", [image], maps, [kernel])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize(
    ("stride", "shapes", "message"),
    [
        (8, (["n", 3, 64, 64], ["n", 17, 8, 8]), "is not a pose network"),
        (8, (["n", 3, 64, 64], ["n", 17, "h", "w"]), "is not a pose network"),
        (4, (["n", 3, "h", "w"], ["n", 17, "a", "b"]), "of a fixed size"),
        (4, ([1, 3, 64, 64], [1, 17, 16, 16]), "takes batches of 1 alone"),
        (4, (["n", 3, 64, 64], ["n", 17, "h", "w"]), None),
    ],
)
def test_another_stride_in_onnx(stride, shapes, message, tmp_path):
    write_convolution(tmp_path / "model.onnx", stride, shapes)
    if message is None:
        assert PosePredictor(tmp_path / "model.onnx")(np.zeros((70, 70, 3), np.uint8)).shape == (1, 17, 3)
    else:
        with pytest.raises(InputError, match=message):
            PosePredictor(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("batch", "outputs", "message"),
    [(1, ["y"], "takes batches of 1 alone"), ("n", ["y", "z"], "must have one input and one output")],
)
def test_onnx_files_are_named_with_what_is_wrong_with_them(batch, outputs, message, tmp_path):
    path = tmp_path / "model.onnx"
    write_convolution(path, 4, ([batch, 3, 64, 64], [batch, 17, 16, 16]), outputs)
    for load in (heatmap_runner, PosePredictor):
        with pytest.raises(InputError, match=f"^{re.escape(str(path))} {message}"):
            load(path)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "junk.keras").write_bytes(b"junk" * 100)
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    (tmp_path / "empty").mkdir()
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"serving_default": module.double})
    messages = {
        "missing.keras": "must be an existing .keras, .onnx or .tflite file or a SavedModel folder",
        "model.h5": "must be an existing",
        "junk.keras": r"model .*junk\.keras cannot be loaded: ",
        "junk.onnx": r"junk\.onnx cannot be loaded: ",
        "empty": "neither saved_model.pb nor numbered versions",
        "other": r"must have the signature 'heatmaps'. Received: \['serving_default'\]",
    }
    for name, message in messages.items():
        with pytest.raises(InputError, match=message) as caught:
            PosePredictor(tmp_path / name)
        assert "\n" not in str(caught.value)
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match=r"is not a pose network .* Received: \[None, 8, 8, 3\] to \[None, 192\]"):
        PosePredictor(keras.Model(inputs, keras.layers.Flatten()(inputs)))
