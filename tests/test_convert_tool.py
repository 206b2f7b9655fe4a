"""The tool that converts PyTorch's weights, and the order of channels that a network was trained on."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import seeded
import weight_files
from test_weights import RENAMES, SMALL, equal, renamed

import hrnet_tf
from hrnet_tf import build_model, load_pytorch_weights, load_state_dict


def random_resnet18(seed=0):
    """A pose_resnet18 with weights of useful size, and its state dict."""
    model = build_model("pose_resnet18", (64, 64), num_keypoints=4)
    rng = np.random.default_rng(seed)
    names = hrnet_tf.weights.state_dict.match_state_dict(model, {}).missing
    state = {}
    for name in names:
        module, _, parameter = name.rpartition(".")
        layer = model.get_layer(module.replace(".", "_"))
        if getattr(layer, "kernel", None) is not None and parameter == "weight":
            shape = np.array(layer.kernel.shape)[[3, 2, 0, 1]]
            state[name] = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype("f4")
        else:
            size = layer.bias.shape if hasattr(layer, "kernel") else layer.gamma.shape
            is_positive = parameter in ("weight", "running_var")
            state[name] = (rng.uniform(0.5, 1, size) if is_positive else rng.normal(0, 0.1, size)).astype("f4")
    return model, state


@pytest.fixture(scope="module")
def state():
    return weight_files.small_pose()


@pytest.fixture(scope="module")
def resnet():
    return random_resnet18()


def test_bgr_equals_rgb_of_reversed_channels(resnet):
    rgb, state = resnet
    load_state_dict(rgb, state)
    bgr = build_model("pose_resnet18", (64, 64), num_keypoints=4, channel_order="bgr")
    load_state_dict(bgr, state)
    images = seeded.images(0, 2, 64, 64)
    images[..., 0] = 0
    expected = np.asarray(rgb(images[..., ::-1]))
    assert np.linalg.norm(np.asarray(bgr(images)) - expected) / np.linalg.norm(expected) < 1e-6
    assert np.linalg.norm(np.asarray(rgb(images)) - expected) / np.linalg.norm(expected) > 0.1


def test_official_resnets_on_rgb_are_warned_of(tmp_path, resnet):
    model, state = resnet
    weight_files.save(tmp_path / "official.pth", state)
    weight_files.save(tmp_path / "mmpose.pth", {"state_dict": renamed(state, RENAMES["mmpose0"])})
    with pytest.warns(UserWarning, match=r"trained on BGR; build the model with channel_order='bgr'"):
        load_pytorch_weights(model, tmp_path / "official.pth")
    bgr = build_model("pose_resnet18", (64, 64), num_keypoints=4, channel_order="bgr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_pytorch_weights(model, tmp_path / "mmpose.pth")
        load_pytorch_weights(bgr, tmp_path / "official.pth")


def convert(**flags):
    command = [sys.executable, "tools/convert_weights.py", *(f"--{name}={value}" for name, value in flags.items())]
    return subprocess.run(command, cwd=seeded.GOLDEN.parents[1], capture_output=True, text=True)


def test_convert_tool(tmp_path, resnet):
    _, state = resnet
    weight_files.save(tmp_path / "weights.pth", state, legacy=True)
    files = {"weights": tmp_path / "weights.pth", "out": tmp_path / "out.keras"}
    result = convert(model="pose_resnet18", input_size="64x96", **files)
    assert result.returncode == 0, result.stderr
    assert "official weights (legacy container): 117 tensors taken" in result.stdout
    assert "pose_resnet18 64x96, 4 keypoints, trained on BGR, takes RGB" in result.stdout
    converted = keras.models.load_model(tmp_path / "out.keras")
    expected = build_model("pose_resnet18", (64, 96), num_keypoints=4, channel_order="bgr")
    load_state_dict(expected, state)
    assert equal(converted.get_weights(), expected.get_weights())
    images = seeded.images(0, 1, 64, 96)
    np.testing.assert_allclose(converted(images), expected(images), rtol=1e-4, atol=1e-5)


def test_convert_tool_refuses_in_one_line(tmp_path, state):
    weight_files.save(tmp_path / "weights.pth", {n: a for n, a in state.items() if n != "conv1.weight"})
    result = convert(model=SMALL, input_size="64x64", weights=tmp_path / "weights.pth", out=tmp_path / "out.keras")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].endswith("1 missing: conv1.weight")
    assert not (tmp_path / "out.keras").exists()
