"""LiteRT files: precision, size and that they compute what the network does."""

import importlib.util
import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tool_runs
from example_runs import example_image, expected_keypoints, run_example
from tiny_network import SIZE, SKELETON, blurred_crops, lively, tiny_model

from hrnet_tf.data import coco
from hrnet_tf.errors import InputError
from hrnet_tf.export.litert import export_litert
from hrnet_tf.export.onnx import export_onnx
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.models.build import build_model
from hrnet_tf.prediction.keypoints import make_predict_function, predict_people
from hrnet_tf.prediction.network import load_network
from hrnet_tf.prediction.runners import heatmap_runner
from hrnet_tf.skeletons import COCO

PRECISIONS = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def model():
    return lively(tiny_model())


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """{precision: (path, difference)}."""
    folder = tmp_path_factory.mktemp("litert")
    calibration = {"int8": blurred_crops(12)}
    return {
        precision: (
            folder / f"{precision}.tflite",
            export_litert(
                model,
                folder / f"{precision}.tflite",
                precision,
                calibration.get(precision),
                blurred_crops(10, seed=5),
            ),
        )
        for precision in PRECISIONS
    }


def test_exports_are_evaluated_with_xla_as_without(tmp_path, dataset):
    """What is no graph is called outside of one, and the decoding compiled."""
    model = lively(tiny_model(num_keypoints=COCO.num_keypoints))
    export_onnx(model, tmp_path / "a.onnx")
    export_litert(model, tmp_path / "a.tflite")
    people, strategy = coco.load_split(dataset, "tiny"), tf.distribute.get_strategy()
    found = {}
    for path in (tmp_path / "a.onnx", tmp_path / "a.tflite"):
        network, _ = load_network(path)
        for use_xla in (False, True):
            predict = make_predict_function(strategy, network.heatmaps, COCO.flip_pairs, use_xla, "dark")
            found[path, use_xla], _ = predict_people(predict, people, SIZE, 3, strategy, codec="dark")
        np.testing.assert_allclose(found[path, True], found[path, False], atol=1e-2)
        assert np.ptp(found[path, True][..., 2]) > 0.1


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("float16", 1e-2), ("int8", 0.5)])
def test_files_compute_what_the_network_does(precision, tolerance, exported, model):
    path, difference = exported[precision]
    assert 0 < difference < tolerance
    run = heatmap_runner(path)
    assert (run.input_size, run.num_keypoints) == (SIZE, SKELETON.num_keypoints)
    for count in (3, 1, 3):  # a runner takes any number, after any other
        crops = blurred_crops(count, seed=6)
        heatmaps = run(crops)
        assert (heatmaps.dtype, heatmaps.shape) == (np.float32, (count, SIZE[0] // 4, SIZE[1] // 4, 5))
        np.testing.assert_allclose(heatmaps, model(crops), atol=tolerance)


@pytest.mark.slow
def test_sizes(tmp_path):
    model = lively(build_model("hrnet_w18_small_v1", SIZE, SKELETON.num_keypoints))
    size = {}
    for precision in PRECISIONS:
        path = tmp_path / f"{precision}.tflite"
        export_litert(model, path, precision, blurred_crops(2), blurred_crops(2))
        size[precision] = path.stat().st_size
    assert size["float32"] <= 1.05 * 4 * model.count_params()
    assert size["float16"] <= 0.52 * size["float32"]
    assert size["int8"] <= 0.3 * size["float32"]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_operations_and_types(exported, model):
    upsamplings = sum(isinstance(layer, keras.layers.UpSampling2D) for layer in model.layers)
    for precision, (path, _) in exported.items():
        interpreter = tf.lite.Interpreter(str(path))
        names = [operation["op_name"] for operation in interpreter._get_ops_details()]
        assert names.count("RESIZE_NEAREST_NEIGHBOR") == upsamplings
        extra = {"float32": set(), "float16": {"DEQUANTIZE"}, "int8": {"QUANTIZE", "DEQUANTIZE"}}[precision]
        assert set(names) - {"DELEGATE"} == {"CONV_2D", "ADD", "PAD", "RESIZE_NEAREST_NEIGHBOR"} | extra
        (signature,) = interpreter.get_signature_list().values()
        assert signature == {"inputs": ["images"], "outputs": ["heatmaps"]}
        (images,) = interpreter.get_input_details()
        assert images["dtype"] == (np.uint8 if precision == "int8" else np.float32)
        assert images["shape_signature"].tolist() == [-1, *SIZE, 3]
    kinds = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    for operation in interpreter._get_ops_details():  # of int8, the last
        if operation["op_name"] == "CONV_2D":
            assert [kinds[index] for index in operation["inputs"]] == [np.int8, np.int8, np.int32]


def test_mixed_precision_and_bad_arguments(model, tmp_path):
    mixed = tiny_model(dtype="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    assert export_litert(mixed, tmp_path / "mixed.tflite", crops=blurred_crops(1)) < 1e-4
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, float16, int8. Received: 'int4'"):
        export_litert(model, tmp_path / "a.tflite", "int4")
    with pytest.raises(ValueError, match=r"'int8' needs `calibration_crops`"):
        export_litert(model, tmp_path / "a.tflite", "int8")
    with pytest.raises(InputError, match=r"crops must be \[N,96,64,3\] uint8, at least one. Received: .*float32"):
        export_litert(model, tmp_path / "a.tflite", "int8", blurred_crops(1).astype(np.float32))
    (tmp_path / "damaged.tflite").write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"damaged.tflite cannot be loaded"):
        heatmap_runner(tmp_path / "damaged.tflite")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_example_needs_litert_alone(precision, exported, tmp_path):
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("ai-edge-litert is not installed")
    path = tmp_path / "small.tflite"
    path.write_bytes(exported[precision][0].read_bytes())
    write_card(path, ModelCard("small", SIZE, SKELETON))
    assert json.loads((tmp_path / "small.json").read_text())["name"] == "small"
    image, box = example_image()
    found, names = run_example("litert_example.py", path, image, box, tmp_path)
    assert names == SKELETON.names
    expected = expected_keypoints(heatmap_runner(path), image, box, "msra", "quarter")
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_command_says_nothing_of_the_runtime(exported, tmp_path):
    """`tool_runs.run` refuses what libraries say of themselves, which LiteRT does once a process."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((64, 48, 3), np.uint8))
    path, _ = exported["float32"]
    write_card(path, ModelCard("tiny", SIZE, SKELETON))
    flags = {"model": path, "input": tmp_path / "photo.png", "out_dir": tmp_path / "out", "whole_image": True}
    result = tool_runs.run("predict", **flags)
    assert result.returncode == 0, result.stderr
