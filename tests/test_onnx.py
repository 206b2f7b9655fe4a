"""ONNX files: what they consist of, that they compute what the network does, and their use without this package."""

import collections

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from example_runs import example_frame, example_image, expected_keypoints, run_example
from tiny_network import SIZE, SKELETON, blurred_crops, lively, tiny_model

from hrnet_tf import geometry
from hrnet_tf.errors import InputError
from hrnet_tf.export.int8 import quantize_onnx
from hrnet_tf.export.onnx import export_onnx, export_onnx_pose
from hrnet_tf.heatmaps import crop_pixels, decode
from hrnet_tf.model_card import ModelCard, read_card, write_card
from hrnet_tf.models.build import build_model
from hrnet_tf.prediction.runners import heatmap_runner


@pytest.fixture(scope="module")
def hrnet_model():
    return lively(build_model("hrnet_w18_small_v1", SIZE, SKELETON.num_keypoints))


@pytest.fixture(scope="module")
def paths(hrnet_model, tmp_path_factory):
    """{layout: file}, of a network trained, as it were, in mixed precision; checked on more crops than a batch."""
    mixed = build_model("hrnet_w18_small_v1", SIZE, SKELETON.num_keypoints, dtype="mixed_bfloat16")
    mixed.set_weights(hrnet_model.get_weights())
    folder = tmp_path_factory.mktemp("onnx")
    paths = {layout: folder / f"{layout}.onnx" for layout in ("nhwc", "nchw")}
    for layout, path in paths.items():
        assert export_onnx(mixed, path, layout, blurred_crops(10)) < 1e-5
    return paths


@pytest.fixture(scope="module")
def tiny():
    return lively(tiny_model())


def census(path):
    return dict(collections.Counter(node.op_type for node in onnx.load(path).graph.node))


def types(path):
    """Of all tensors in a file."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    values = [value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)]
    assert len(graph.value_info) >= len(graph.node) - len(graph.output)
    return {*values, *(tensor.data_type for tensor in graph.initializer)}


def test_graph_has_convolutions_relu_add_and_resize_alone(hrnet_model, paths):
    layers = collections.Counter(type(layer) for layer in hrnet_model.layers)
    fuse_terms = sum(len(layer.input) - 1 for layer in hrnet_model.layers if isinstance(layer, keras.layers.Add))
    expected = {
        "Conv": layers[keras.layers.Conv2D],
        "Relu": layers[keras.layers.ReLU],
        "Resize": layers[keras.layers.UpSampling2D],
        "Add": fuse_terms + 1,  # the mean
    }
    assert census(paths["nchw"]) == expected
    assert census(paths["nhwc"]) == expected | {"Transpose": 2}
    assert {entry.domain: entry.version for entry in onnx.load(paths["nchw"]).opset_import}[""] == 18


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_interface(layout, paths, hrnet_model):
    session = onnxruntime.InferenceSession(paths[layout], providers=["CPUExecutionProvider"])
    (images,), (heatmaps,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, heatmaps.name) == ("images", "tensor(float)", "heatmaps")
    order = (0, 1, 2, 3) if layout == "nhwc" else (0, 3, 1, 2)
    assert images.shape == [("batch", *SIZE, 3)[axis] for axis in order]
    assert heatmaps.shape == [("batch", SIZE[0] // 4, SIZE[1] // 4, SKELETON.num_keypoints)[axis] for axis in order]
    for count in (1, 3):
        crops = blurred_crops(count)
        (found,) = session.run(None, {"images": crops.transpose(order).astype(np.float32)})
        expected = hrnet_model(crops).numpy()
        np.testing.assert_allclose(found, expected.transpose(order), atol=1e-4)
        np.testing.assert_allclose(heatmap_runner(paths[layout])(crops), expected, atol=1e-4)


def test_black_and_white_borders_are_padded_with_the_mean(paths, hrnet_model):
    """The subtraction of the mean must come before the padding of the first convolution, not after it."""
    crops = np.stack([np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 255, np.uint8)])
    np.testing.assert_allclose(heatmap_runner(paths["nchw"])(crops), hrnet_model(crops), atol=1e-4)


@pytest.mark.slow
def test_pose_resnet_of_bgr(tmp_path):
    model = lively(build_model("pose_resnet18", SIZE, 5, channel_order="bgr"))
    assert export_onnx(model, tmp_path / "resnet.onnx", "nchw", blurred_crops(2)) < 1e-4
    found = census(tmp_path / "resnet.onnx")
    assert set(found) == {"Conv", "ConvTranspose", "Relu", "Add", "MaxPool", "Pad"}
    assert found["ConvTranspose"] == 3
    assert found["Add"] == 9  # eight shortcuts and the mean


@pytest.mark.parametrize(
    ("codec", "refine"), [("msra", None), ("dark", None), ("udp", None), ("udp", "none"), ("udp", "integral")]
)
def test_pose_gives_keypoints_of_crops(codec, refine, tiny, tmp_path):
    path = tmp_path / "pose.onnx"
    assert export_onnx_pose(tiny, path, codec, refine, blurred_crops(3)) < 1e-3
    assert onnx.TensorProto.DOUBLE not in types(path)  # which TensorRT does not compute in
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images,), (keypoints,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", *SIZE, 3])
    assert (keypoints.name, keypoints.shape) == ("keypoints", ["batch", SKELETON.num_keypoints, 3])
    decoding = refine or {"msra": "quarter"}.get(codec, codec)
    for count in (1, 4):
        crops = blurred_crops(count, seed=7)
        expected = decode(tiny(crops), decoding).numpy() * [*crop_pixels(SIZE, codec), 1]
        (found,) = session.run(["keypoints"], {"images": crops})
        np.testing.assert_allclose(found[..., 2], expected[..., 2], atol=1e-4)
        # Of nearly equal neighbours, rounding decides.
        assert np.mean(np.abs(found - expected).max(-1) < 0.05) >= 0.9


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_int8_computes_in_whole_numbers(layout, paths, hrnet_model, tmp_path):
    path, card = tmp_path / "int8.onnx", ModelCard("small", SIZE, SKELETON)
    write_card(paths[layout], card)
    quantize_onnx(paths[layout], path, blurred_crops(16))
    assert read_card(path) == card
    assert path.stat().st_size <= 0.32 * paths[layout].stat().st_size
    graph = onnx.load(path).graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert all(producer[name] == "DequantizeLinear" for node in convolutions for name in node.input[:2])
    weights = {tensor.name: tensor for tensor in graph.initializer}
    scales = [weights[node.input[1]].dims for node in graph.node if node.input[0].endswith("weights_quantized")]
    assert all(len(dims) == 1 for dims in scales)  # by channel
    crops = blurred_crops(4, seed=9)
    difference = np.abs(heatmap_runner(path)(crops) - hrnet_model(crops).numpy())
    assert 0 < difference.mean() < 0.05


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_symmetric_int8_is_what_tensorrt_takes(layout, paths, hrnet_model, tmp_path):
    path, card = tmp_path / "int8.onnx", ModelCard("small", SIZE, SKELETON)
    write_card(paths[layout], card)
    quantize_onnx(paths[layout], path, blurred_crops(16), symmetric=True)
    assert read_card(path) == card
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_point = arrays[node.input[2]]
            assert zero_point.dtype == np.int8 and not zero_point.any()
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in convolutions:
        image, kernel = (producer[name] for name in node.input[:2])
        assert (image.op_type, kernel.op_type) == ("DequantizeLinear", "DequantizeLinear")
        values, scales = (arrays[name] for name in kernel.input[:2])
        assert values.dtype == np.int8 and scales.shape == values.shape[:1]  # by channel
        assert arrays[node.input[2]].dtype == np.float32
    # Between convolutions and what they are fused with, nothing is rounded.
    inputs = [name for node in graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]]
    assert not {name for node in convolutions for name in node.output} & set(inputs)
    kept = ("Conv", "Relu", "Add", "Resize")
    assert [census(path)[name] for name in kept] == [census(paths[layout])[name] for name in kept]
    crops = blurred_crops(4, seed=9)
    difference = np.abs(heatmap_runner(path)(crops) - hrnet_model(crops).numpy())
    assert 0 < difference.mean() < 0.05


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_float16_keeps_the_interface_and_the_operations(layout, paths, hrnet_model, tmp_path):
    path, card = tmp_path / "half.onnx", ModelCard("small", SIZE, SKELETON)
    # A rounding is 2**-11 of a value; those of all layers were found to add up to 0.0008 of the largest.
    assert 0 < export_onnx(hrnet_model, path, layout, blurred_crops(10), "float16") < 5e-3
    write_card(path, card)
    assert read_card(path) == card
    assert path.stat().st_size <= 0.52 * paths[layout].stat().st_size
    assert census(path) == census(paths[layout]) | {"Cast": 2}
    graph = onnx.load(path).graph
    halves = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert all(halves.issuperset(node.input[1:]) for node in graph.node if node.op_type == "Conv")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images,), (heatmaps,) = session.get_inputs(), session.get_outputs()
    assert (images.type, heatmaps.type) == ("tensor(float)", "tensor(float)")
    crops = np.concatenate([blurred_crops(2, seed=6), np.full((1, *SIZE, 3), 255, np.uint8)])
    np.testing.assert_allclose(heatmap_runner(path)(crops), hrnet_model(crops), atol=5e-3)


def test_differing_network_is_not_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("hrnet_tf.export.portable.fold_batch_norm", lambda _: lively(tiny_model(), seed=1))
    (tmp_path / "model.onnx").write_text("older")
    with pytest.raises(InputError, match=r"the export model.onnx differs from the model by"):
        export_onnx(tiny, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"the export model.onnx differs from the model by"):
        export_onnx_pose(tiny, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "older"


def test_not_finite_heatmaps_are_refused(tmp_path):
    model = lively(tiny_model())
    model.get_layer("final_layer").bias.assign(np.full(SKELETON.num_keypoints, np.nan))
    with pytest.raises(InputError, match=r"differs from the model by nan"):
        export_onnx(model, tmp_path / "a.onnx")


def test_bad_arguments(tiny, paths, tmp_path):
    with pytest.raises(ValueError, match=r"`layout` must be one of nhwc, nchw. Received: 'hwc'"):
        export_onnx(tiny, tmp_path / "a.onnx", "hwc")
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, float16. Received: 'half'"):
        export_onnx(tiny, tmp_path / "a.onnx", precision="half")
    with pytest.raises(InputError, match=r"cannot write .*absent"):
        export_onnx(tiny, tmp_path / "absent" / "a.onnx")
    with pytest.raises(
        InputError, match=r"crops must be \[N,96,64,3\] uint8, at least one. Received: \[0, 96, 64, 3\]"
    ):
        export_onnx(tiny, tmp_path / "a.onnx", crops=blurred_crops(0))
    with pytest.raises(InputError, match=r"cannot read .*absent.onnx"):
        quantize_onnx(tmp_path / "absent.onnx", tmp_path / "a.onnx", blurred_crops(1))
    with pytest.raises(InputError, match=r"calibration crops must be .*Received: \[1, 64, 64, 3\]"):
        quantize_onnx(paths["nchw"], tmp_path / "a.onnx", blurred_crops(1)[:, :64])
    for crops in (blurred_crops(1)[0], np.uint8(3), []):
        with pytest.raises(InputError, match=r"calibration crops must be \[N,H,W,3\] uint8"):
            quantize_onnx(paths["nchw"], tmp_path / "a.onnx", crops)
    for shape in ([], ["n"], ["n", 17, 3], ["n", 8, 8, 8]):
        value, result = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in "xy")
        node = onnx.helper.make_node("Identity", ["x"], ["y"])
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [result])), tmp_path / "x.onnx")
        with pytest.raises(InputError, match=r"x.onnx must take images \[B,H,W,3\] or \[B,3,H,W\]. Received: \["):
            quantize_onnx(tmp_path / "x.onnx", tmp_path / "a.onnx", blurred_crops(1))
    (tmp_path / "x.onnx").unlink()
    (tmp_path / "damaged.onnx").write_bytes(paths["nhwc"].read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"damaged.onnx cannot be loaded"):
        heatmap_runner(tmp_path / "damaged.onnx")
    with pytest.raises(InputError, match=r"must be an existing .* or a SavedModel. Received: .*a.keras"):
        heatmap_runner(tmp_path / "a.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.onnx"]


@pytest.mark.parametrize("codec", ["msra", "udp"])
def test_examples_cut_as_this_package_does(codec):
    image, box = example_image()
    center, size = geometry.box_to_center_size([box], SIZE[1] / SIZE[0])
    matrix = geometry.affine_matrix(center, size, 0, SIZE, align_corners=codec == "udp")[0]
    difference = np.abs(example_frame(box, codec).cut(image).astype(int) - geometry.warp(image, matrix, SIZE))
    assert difference.max() <= 4  # OpenCV rounds positions to 1/32 pixel
    assert difference.mean() < 0.5


@pytest.mark.parametrize("codec", ["msra", "udp"])
def test_example_needs_onnx_runtime_alone(codec, tiny, tmp_path):
    path = tmp_path / "pose.onnx"
    export_onnx_pose(tiny, path, codec, "none", blurred_crops(2))
    write_card(path, ModelCard("small", SIZE, SKELETON, codec))
    image, box = example_image()
    found, names = run_example("onnx_example.py", path, image, box, tmp_path)
    assert names == SKELETON.names
    np.testing.assert_allclose(found, expected_keypoints(tiny, image, box, codec, "none"), atol=0.02)
