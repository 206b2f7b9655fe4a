import collections
import pathlib
import re

import numpy as np
import onnx
import pytest
import seeded

from hrnet_tf import build_model, export, load_state_dict
from hrnet_tf.cli import flagfiles
from hrnet_tf.models.variants import MODEL_NAMES

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("res*.flags"))
# Basic blocks of layers 1 to 4; the reference's goldens have none of these networks.
SHALLOW = {"pose_resnet18": (2, 2, 2, 2), "pose_resnet34": (3, 4, 6, 3)}


def shallow_shapes(num_blocks, num_keypoints=17):
    """{PyTorch parameter name: shape} of a pose_resnet of basic blocks, written down without the model."""
    shapes = {}

    def batch_norm(name, channels):
        shapes.update({f"{name}.{p}": (channels,) for p in ("weight", "bias", "running_mean", "running_var")})

    def conv_bn(conv, bn, filters, channels, size):
        shapes[f"{conv}.weight"] = (filters, channels, size, size)
        batch_norm(bn, filters)

    conv_bn("conv1", "bn1", 64, 3, 7)
    channels = 64
    for layer, (filters, blocks) in enumerate(zip((64, 128, 256, 512), num_blocks, strict=True), start=1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            conv_bn(f"{name}.conv1", f"{name}.bn1", filters, channels, 3)
            conv_bn(f"{name}.conv2", f"{name}.bn2", filters, filters, 3)
            if channels != filters:
                conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", filters, channels, 1)
            channels = filters
    for i, inputs in zip((0, 3, 6), (512, 256, 256), strict=True):
        shapes[f"deconv_layers.{i}.weight"] = (inputs, 256, 4, 4)
        batch_norm(f"deconv_layers.{i + 1}", 256)
    return shapes | {"final_layer.weight": (num_keypoints, 256, 1, 1), "final_layer.bias": (num_keypoints,)}


def draw(shapes):
    """Weights of such sizes that signals keep theirs."""
    return {
        name: seeded._draw_seeded(np.random.default_rng(i), name, shape).astype(np.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }


def torch_heatmaps(state, num_blocks, images):
    """[B,h,w,K] of a pose_resnet of basic blocks, in PyTorch's own operations."""
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    state = {name: torch.from_numpy(value) for name, value in state.items()}

    def batch_norm(x, name):
        return nn.batch_norm(x, *(state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")))

    def conv_bn(x, conv, bn, stride=1):
        weight = state[f"{conv}.weight"]
        return batch_norm(nn.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2), bn)

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.from_numpy(((images / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    x = nn.max_pool2d(nn.relu(conv_bn(x, "conv1", "bn1", 2)), 3, stride=2, padding=1)
    for layer, blocks in enumerate(num_blocks, start=1):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = nn.relu(conv_bn(x, f"{name}.conv1", f"{name}.bn1", stride))
            y = conv_bn(y, f"{name}.conv2", f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                x = conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = nn.relu(x + y)
    for i in (0, 3, 6):
        x = nn.conv_transpose2d(x, state[f"deconv_layers.{i}.weight"], stride=2, padding=1)
        x = nn.relu(batch_norm(x, f"deconv_layers.{i + 1}"))
    return seeded.nhwc(nn.conv2d(x, state["final_layer.weight"], state["final_layer.bias"]))


def num_trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_heatmaps_equal_the_reference():
    golden = seeded.load("resnet50_256x192")
    height, width = int(golden["height"]), int(golden["width"])
    expected = seeded.nhwc(golden["heatmaps_nchw"])
    model = build_model("pose_resnet50", (height, width))
    load_state_dict(model, seeded.state_dict("pose_resnet_50_coco", int(golden["seed"])))
    heatmaps = np.asarray(model(seeded.images(int(golden["image_seed"]), len(expected), height, width)))
    assert np.linalg.norm(heatmaps - expected) / np.linalg.norm(expected) < 1e-5


@pytest.mark.parametrize(("depth", "parameters"), [(50, 33_999_697), (101, 52_991_825), (152, 68_635_473)])
def test_names_and_shapes_are_the_references(depth, parameters):
    model = build_model(f"pose_resnet{depth}", (64, 64))
    assert num_trainable(model) == parameters
    names = seeded.state_shapes(f"pose_resnet_{depth}_coco")
    load_state_dict(model, {name: np.broadcast_to(np.float32(2), shape) for name, shape in names.items()})
    assert all((variable.numpy() == 2).all() for variable in model.variables)


@pytest.mark.parametrize(("name", "parameters"), [("pose_resnet18", 15_376_721), ("pose_resnet34", 25_484_881)])
def test_shallow_ones_equal_pytorchs_operations(name, parameters):
    state = draw(shallow_shapes(SHALLOW[name]))
    assert parameters == sum(value.size for key, value in state.items() if "running" not in key)
    model = build_model(name, (64, 96))
    assert num_trainable(model) == parameters
    load_state_dict(model, state)
    images = seeded.images(0, 2, 64, 96)
    expected = torch_heatmaps(state, SHALLOW[name], images)
    heatmaps = np.asarray(model(images))
    assert np.linalg.norm(heatmaps - expected) / np.linalg.norm(expected) < 1e-5


def test_takes_the_smallest_size():
    assert build_model("pose_resnet18", (32, 64), 3).output_shape == (None, 8, 16, 3)


@pytest.mark.slow
def test_onnx_equals_the_model_in_few_operations(tmp_path):
    model = build_model("pose_resnet18", (64, 64), num_keypoints=5)
    load_state_dict(model, draw(shallow_shapes(SHALLOW["pose_resnet18"], num_keypoints=5)))
    images = seeded.images(0, 3, 64, 64)
    difference = export.export_onnx(model, tmp_path / "model.onnx", crops=images)
    assert difference < 1e-5 < np.asarray(model(images)).std()
    census = collections.Counter(node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node)
    # 17 of the blocks, 3 projections and the final one; sizes are constants, hence no Shape.
    assert (census["Conv"], census["ConvTranspose"], census["MaxPool"], census["Transpose"]) == (21, 3, 1, 2)
    assert set(census) <= {"Conv", "ConvTranspose", "MaxPool", "Transpose", "Pad", "Relu", "Add", "Mul"}


def flags_of(config):
    """{flag: value} of a configuration, the files that it names included; of two values the later counts."""
    arguments = flagfiles.expand([f"--flagfile={config}"])
    return dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)


def test_configs_cover_every_network_at_both_sizes():
    networks = [name for name in MODEL_NAMES if name.startswith("pose_resnet")]
    expected = {f"{name.removeprefix('pose_')}".replace("resnet", "res") for name in networks}
    assert set(CONFIGS) == {f"{name}_{size}.flags" for name in expected for size in ("256x192", "384x288")}


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_are_the_published_recipe(config):
    depth, size = re.fullmatch(r"res(\d+)_(\d+x\d+)\.flags", config).groups()
    expected = {
        "model": f"pose_resnet{depth}",
        "input_size": size,
        "heatmap_sigma": {"256x192": "2", "384x288": "3"}[size],
        "batch_size": "128",
        "epochs": "140",
        "learning_rate": "1e-3",
        "learning_rate_drops": "90,120",
        "scale_factor": "0.3",
        "rotation_factor": "40",
        "flip_probability": "0.5",
        "half_body_probability": "0",
        "work_dir": f"work/{config.removesuffix('.flags')}",
    }
    assert expected.items() <= flags_of(config).items()
