"""Networks that are none of poses are refused when they are loaded."""

import keras
import numpy as np
import onnx
import pytest

from hrnet_tf import InputError, PosePredictor


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
    kernel = onnx.numpy_helper.from_array(np.ones((17, 3, stride, stride), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[stride] * 2, kernel_shape=[stride] * 2)
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in zip("xy", shapes, strict=True)
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [kernel])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    if message is None:
        assert PosePredictor(tmp_path / "model.onnx")(np.zeros((70, 70, 3), np.uint8)).shape == (1, 17, 3)
    else:
        with pytest.raises(InputError, match=message):
            PosePredictor(tmp_path / "model.onnx")
