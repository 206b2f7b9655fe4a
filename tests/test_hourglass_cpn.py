"""Stacked Hourglass and CPN: what they compute, where their weights come from, and their copies for prediction."""

import os
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
import seeded
import tensorflow as tf
import weight_files
from test_fold import kinds, randomized
from test_threads import fresh, fused_operations
from test_weights import renamed

from hrnet_tf import InputError, build_model, export, load_pytorch_weights, load_state_dict
from hrnet_tf.models import cpn, hourglass
from hrnet_tf.models.clones import bfloat16_clone, last_output, portable_clone
from hrnet_tf.models.fold import fold_batch_norm
from hrnet_tf.models.sums import may_fuse_sums, subtract_convolutions
from hrnet_tf.models.variants import PoseResNet
from hrnet_tf.prediction.network import for_inference, network_of
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.weights import initialize_from, read_checkpoint
from hrnet_tf.weights.names import official_names
from hrnet_tf.weights.state_dict import match_state_dict

SIZE = (128, 128)
NAMES = ("hourglass_104", "cpn_50")
# Outputs and trained weights; MMPose's file of one stack has 1180672 more, of a block that it does not use.
NETWORKS = {
    "hourglass_52": (1, 94_847_889 - 1_180_672),
    "hourglass_104": (2, 187_709_090),
    "cpn_50": (5, 27_406_826),
    "cpn_101": (5, 46_398_954),
}


def mmpose(name):
    return ("head." if name.startswith("multi_final_layers.") else "backbone.") + name


def pytorch_cpn(name):
    return name if name.startswith(("global_net.", "refine_net.")) else f"resnet.{name}"


PUBLISHED = {"hourglass_104": mmpose, "cpn_50": pytorch_cpn}


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """The networks of these tests have few channels, and the ResNet few blocks, but for those marked slow.

    Not fewer: of 8 and 12 channels, the gradient of kernels by TensorFlow 2.21 with oneDNN writes beyond its memory.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hourglass, "CHANNELS", (16, 16, 24, 24, 24, 32))
        patch.setattr(hourglass, "STEM_CHANNELS", 16)
        patch.setattr(cpn, "CHANNELS", 16)
        patch.setitem(cpn.CPNS, "cpn_50", PoseResNet((1, 2, 1, 1)))
        yield patch


@pytest.fixture
def full(narrow):
    """The networks as they are."""
    with narrow.context() as patch:
        patch.setattr(hourglass, "CHANNELS", (256, 256, 384, 384, 384, 512))
        patch.setattr(hourglass, "STEM_CHANNELS", 128)
        patch.setattr(cpn, "CHANNELS", 256)
        patch.setitem(cpn.CPNS, "cpn_50", PoseResNet((3, 4, 6, 3)))
        yield


@pytest.fixture(scope="module", params=NAMES)
def model(narrow, request):
    return randomized(build_model(request.param, SIZE, 5))


@pytest.fixture(scope="module")
def images():
    return seeded.images(0, 2, *SIZE)


@pytest.fixture(scope="module")
def expected(model, images):
    return np.asarray(model(images)[-1])


def difference(found, expected):
    return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)


def state_of(model):
    """A state dict of a model under PyTorch's names, of such sizes that signals keep theirs."""
    names = match_state_dict(model, {}).missing
    shapes = match_state_dict(model, dict.fromkeys(names, np.zeros(()))).misshapen
    return {
        name: seeded._draw_seeded(np.random.default_rng(i), name, wanted).astype("f4")
        for i, (name, (_, wanted)) in enumerate(shapes.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hourglass_52", "cpn_50"])
def test_all_outputs_equal_the_reference(full, name):
    golden = {key.removeprefix(f"{name}_coco_"): array for key, array in seeded.load("hourglass_cpn").items()}
    size = int(golden["height"]), int(golden["width"])
    model = build_model(name, size)
    state, _, _ = official_names(seeded.state_dict(f"{name}_coco", int(golden["seed"])))
    load_state_dict(model, state)
    outputs = model(seeded.images(int(golden["image_seed"]), 1, *size))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    assert len(outputs) == golden["num_outputs"]
    for i, output in enumerate(outputs):
        assert difference(output, seeded.nhwc(golden[f"output{i}_nchw"])) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_name_and_every_weight(full, name):
    num_outputs, parameters = NETWORKS[name]
    model = build_model(name, (128, 128))
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == parameters
    assert model.output_names == [*(f"heatmaps_{i}" for i in range(1, num_outputs)), "heatmaps"]
    names = seeded.state_shapes(f"{name}_coco")
    state, _, _ = official_names({key: np.broadcast_to(np.float32(2), shape) for key, shape in names.items()})
    load_state_dict(model, state)
    assert all((v.numpy() == 2).all() for layer in model.layers if layer.trainable for v in layer.variables)


def torch_stacks(state, images):
    """[[B,h,w,K]] of a Stacked Hourglass of any width, in PyTorch's own operations."""
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    state = {name: torch.from_numpy(value) for name, value in state.items()}

    def conv_bn(x, conv, bn, stride=1):
        weight = state[f"{conv}.weight"]
        x = nn.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return nn.batch_norm(x, *(state[f"{bn}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")))

    def module(x, name, stride=1):
        return conv_bn(x, f"{name}.conv", f"{name}.bn", stride)

    def block(x, name, stride=1):
        y = nn.relu(conv_bn(x, f"{name}.conv1", f"{name}.bn1", stride))
        y = conv_bn(y, f"{name}.conv2", f"{name}.bn2")
        if f"{name}.downsample.0.weight" in state:
            x = conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return nn.relu(x + y)

    def blocks(x, name, stride=1):
        for i in range(9):
            if f"{name}.{i}.conv1.weight" in state:
                x = block(x, f"{name}.{i}", stride if i == 0 else 1)
        return x

    def halved(x, name):
        inner = blocks(x, f"{name}.low1", 2)
        innermost = f"{name}.low2.0.conv1.weight" in state
        inner = blocks(inner, f"{name}.low2") if innermost else halved(inner, f"{name}.low2")
        return blocks(x, f"{name}.up1") + nn.interpolate(blocks(inner, f"{name}.low3"), scale_factor=2)

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.from_numpy(((images / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    x = block(nn.relu(module(x, "stem.0", 2)), "stem.1.0", 2)
    found = []
    for i in (0, 1):
        features = nn.relu(module(halved(x, f"hourglass_modules.{i}"), f"out_convs.{i}"))
        head = f"multi_final_layers.{i}"
        found.append(seeded.nhwc(nn.conv2d(features, state[f"{head}.weight"], state[f"{head}.bias"])))
        if i == 0:
            x = block(nn.relu(module(x, "conv1x1s.0") + module(features, "remap_convs.0")), "inters.0")
    return found


def test_two_stacks_equal_pytorchs_operations(images):
    model = build_model("hourglass_104", SIZE, 5)
    state = state_of(model)
    load_state_dict(model, state)
    for found, heatmaps in zip(model(images), torch_stacks(state, images), strict=True):
        assert difference(found, heatmaps) < 1e-5


@pytest.mark.parametrize(("length", "new_length"), [(1, 2), (2, 4), (3, 12), (8, 64), (5, 7)])
def test_resizing_keeps_corners(length, new_length):
    x = np.random.default_rng(0).normal(size=(1, length, 3, 2)).astype(np.float32)
    inputs = keras.Input(x.shape[1:])
    found = keras.Model(inputs, cpn.resize(inputs, (new_length, 6), "resize", "float32"))(x).numpy()
    np.testing.assert_allclose(found[:, [0, -1]][:, :, [0, -1]], x[:, [0, -1]][:, :, [0, -1]], atol=1e-6)
    rows = np.linspace(0, length - 1, new_length)
    expected = np.stack([np.interp(rows, np.arange(length), x[0, :, 0, c]) for c in (0, 1)], -1)
    np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-6)


def test_every_weight_gets_a_gradient_from_the_summed_loss(model, images):
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(output**2) for output in model(images, training=True)])
    variables = model.trainable_variables
    grads = tape.gradient(loss, [v.value for v in variables])
    assert not [v.path for v, g in zip(variables, grads, strict=True) if g is None or not np.any(g)]
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


def test_copies_to_predict_with_give_the_last_output(model, images, expected):
    folded = fold_batch_norm(model)
    copies = last_output(model), folded, subtract_convolutions(folded), portable_clone(model)
    for copy in (*copies, for_inference(network_of(model)).heatmaps):
        assert copy.output_shape == (None, 32, 32, 5)
        assert difference(copy(images), expected) < 1e-5
    assert 1e-4 < difference(bfloat16_clone(folded)(images), expected) < 0.1
    left = kinds(folded)[keras.layers.BatchNormalization]
    assert left == 0 and len(folded.layers) < len(last_output(model).layers)
    training = with_fused_batch_norm(model)
    assert [difference(*pair) < 1e-5 for pair in zip(training(images), map(np.asarray, model(images)), strict=True)]


def test_no_sum_is_part_of_a_convolution(model):
    function = fresh(subtract_convolutions(fold_batch_norm(model)))
    found = fused_operations(function, tf.zeros((2, *SIZE, 3), tf.uint8))
    assert ["BiasAdd", "Relu"] in found and not [operations for operations in found if "Add" in operations]
    assert not may_fuse_sums(function.graph)


@pytest.mark.slow
def test_exports_equal_the_model(model, images, expected, tmp_path):
    tolerance = 1e-5 * np.abs(expected).max()
    assert export.export_onnx(model, tmp_path / "model.onnx", crops=images) < tolerance
    assert export.export_onnx(model, tmp_path / "first.onnx", "nchw", crops=images) < tolerance
    assert export.export_litert(model, tmp_path / "model.tflite", crops=images) < tolerance
    operations = {node.op_type for node in onnx.load(tmp_path / "first.onnx").graph.node}
    assert "Resize" in operations and not operations & {"Einsum", "Gemm", "MatMul"}


@pytest.mark.parametrize("model", ["cpn_50", pytest.param("hourglass_104", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_file_loads_without_the_package(tmp_path, model, images, expected, backend):
    """In Keras alone, on every backend."""
    pytest.importorskip(backend)
    export.export_keras(model, tmp_path / "model.keras")
    np.savez(tmp_path / "arrays.npz", images=images, heatmaps=expected)
    script = """
import sys, numpy as np
sys.modules["hrnet_tf"] = None
import keras
arrays = np.load("arrays.npz")
heatmaps = np.asarray(keras.models.load_model("model.keras")(arrays["images"]))
np.testing.assert_allclose(heatmaps, arrays["heatmaps"], atol=1e-4 * np.abs(arrays["heatmaps"]).max())
"""
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize("size", [(256, 192), (64, 64), (96, 128)])
def test_an_hourglass_refuses_what_it_cannot_halve(size):
    with pytest.raises(ValueError, match=r"`input_size` must be .* multiples of 128 .* for hourglass_52. Received: "):
        build_model("hourglass_52", size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.* have a mean")
def test_weights_of_published_layouts(tmp_path, name):
    target = build_model(name, SIZE, 5)
    state = state_of(target)
    for wrap in (str, lambda key: f"module.{key}"):
        published = renamed(state, lambda key, wrap=wrap: wrap(PUBLISHED[name](key)))
        weight_files.save(tmp_path / "w.pth", {"state_dict": published}, legacy=True)
        report = load_pytorch_weights(target, tmp_path / "w.pth")
        assert set(report.taken) == set(state) and not report.not_taken and not report.kept_fresh
    checkpoint = read_checkpoint(tmp_path / "w.pth")
    assert checkpoint.num_keypoints == 5
    assert (checkpoint.dialect, checkpoint.channel_order) == {
        "hourglass_104": ("MMPose", "rgb"),
        "cpn_50": ("pytorch-cpn", "cpn"),
    }[name]
    other = build_model(name, SIZE, 3)
    with pytest.raises(InputError, match=r"partial=True leaves out a head for other keypoints"):
        load_pytorch_weights(other, tmp_path / "w.pth")
    report = initialize_from(other, tmp_path / "w.pth")
    assert sorted(report.not_taken) == sorted(report.kept_fresh)
    heads = {key for key, array in state.items() if array.shape[0] == 5}
    assert set(report.kept_fresh) == heads


def test_one_stack_leaves_out_the_block_that_it_does_not_use(tmp_path):
    target = build_model("hourglass_52", SIZE, 5)
    state = renamed(state_of(target), mmpose)
    unused = {f"backbone.inters.0.conv{i}.weight": np.zeros((16, 16, 3, 3), "f4") for i in (1, 2)}
    weight_files.save(tmp_path / "w.pth", state | unused)
    assert len(load_pytorch_weights(target, tmp_path / "w.pth").taken) == len(state)


@pytest.mark.filterwarnings("ignore:.* trained on BGR")
def test_a_cpn_starts_from_a_classifier_and_from_a_pose_resnet(tmp_path):
    target = build_model("cpn_50", SIZE, 5)
    state = state_of(target)
    resnet = {name: array for name, array in state.items() if not name.startswith(("global_net.", "refine_net."))}
    classifier = {"fc.weight": np.zeros((10, 2048), "f4"), "fc.bias": np.zeros(10, "f4")}
    pose_resnet = {"deconv_layers.0.weight": np.zeros((2048, 256, 4, 4), "f4"), "final_layer.bias": np.zeros(5, "f4")}
    for head in (classifier, pose_resnet):
        weight_files.save(tmp_path / "w.pth", resnet | head)
        report = initialize_from(target, tmp_path / "w.pth")
        assert set(report.taken) == set(resnet) and set(report.not_taken) == set(head)
        assert set(report.kept_fresh) == set(state) - set(resnet)


def test_weights_of_pytorch_cpn_give_its_numbers(tmp_path, images):
    """RGB from 0 to 1 less its own mean in, also where convolutions pad; heatmaps with peaks of 255 out."""
    plain = build_model("cpn_50", SIZE, 5)
    weight_files.save(tmp_path / "w.pth", renamed(state_of(plain), pytorch_cpn))
    with pytest.warns(
        UserWarning, match="weights of pytorch-cpn have a mean; build the model with channel_order='cpn'"
    ):
        load_pytorch_weights(plain, tmp_path / "w.pth")
    model = build_model("cpn_50", SIZE, 5, channel_order="cpn")
    load_pytorch_weights(model, tmp_path / "w.pth")
    # The plain network undoes its own normalisation when it is given images that are normalised so.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    as_fed = images / 255 - np.array([122.7717, 115.9465, 102.9801]) / 255
    expected = np.asarray(plain((as_fed * std + mean) * 255)[-1])
    assert difference(np.asarray(model(images)[-1]) * 255, expected) < 1e-5
