"""GPUs, none of which is here: what is decided about them, with their details mocked and their errors simulated."""

import os
import subprocess
import sys
import threading
import types

import keras
import pytest
import tensorflow as tf
from conftest import USE_GPU
from tool_runs import complaint, run

from hrnet_tf import devices
from hrnet_tf.cli import shared
from hrnet_tf.devices import out_of_memory
from hrnet_tf.errors import MAX_LINE, InputError
from hrnet_tf.export import check
from hrnet_tf.files import replacing

OOM = "OOM when allocating tensor with shape[1024,256,256,256] and type float on /device:GPU:0"


@pytest.mark.parametrize(
    "text",
    [
        OOM,
        f"Graph execution error:\n\nDetected at node conv1\n{OOM}\n\t [[{{{{node conv1}}}}]]\n" + 9000 * "x",
        f"2 root error(s) found.\n  (0) RESOURCE_EXHAUSTED:  {OOM}\n  (1) CANCELLED: Function was cancelled",
        "Out of memory while trying to allocate 68719476736 bytes.",
    ],
)
def test_lack_of_memory_is_one_line_with_what_to_do(text):
    error = out_of_memory(tf.errors.ResourceExhaustedError(None, None, text), "lower --batch_size")
    assert str(error).startswith("out of memory: ") and str(error).endswith("; lower --batch_size")
    assert OOM in str(error) or "68719476736" in str(error)
    assert "\n" not in str(error) and len(str(error)) < MAX_LINE


def test_other_errors_are_left_alone():
    full = "/memory/a.tmp; No space left on device"
    for other in (tf.errors.ResourceExhaustedError(None, None, full), tf.errors.InternalError(None, None, OOM)):
        assert out_of_memory(other, "lower it") is None
    assert out_of_memory(MemoryError("Unable to allocate 9 TiB"), "lower it") is None


def mock_gpus(monkeypatch, *capabilities):
    """Has TensorFlow tell of GPUs of these compute capabilities."""
    details = {f"/physical_device:GPU:{i}": capability for i, capability in enumerate(capabilities)}
    found = [tf.config.PhysicalDevice(name, "GPU") for name in details]
    for function in ("list_physical_devices", "get_visible_devices"):
        monkeypatch.setattr(tf.config, function, lambda kind: found if kind == "GPU" else [])
    told = {name: {"device_name": "a card", "compute_capability": values} for name, values in details.items()}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: told[device.name])


@pytest.mark.parametrize(
    ("capabilities", "auto"),
    [((), False), (((8, 0),), True), (((9, 0), (9, 0)), True), (((12, 0),), False), (((8, 9), (12, 0)), False)],
)
def test_xla_is_on_where_there_are_gpus_that_it_does_not_abort_on(capabilities, auto, monkeypatch):
    """The RTX 50's are of 12.0, on which XLA ends the process."""
    mock_gpus(monkeypatch, *capabilities)
    assert devices.has_gpu() == bool(capabilities)
    assert devices.use_xla() == auto
    for xla, expected in {"auto": auto, "on": True, "off": False}.items():
        monkeypatch.setattr(shared, "FLAGS", types.SimpleNamespace(xla=xla))
        assert shared.use_xla() == expected


def tf32():
    return tf.config.experimental.tensor_float_32_execution_enabled()


def test_tf32_is_back_once_the_last_of_several_threads_has_done_without_it():
    """Each on its own would put back what it found: off, where another was at it already."""
    inside, first_is_out = threading.Barrier(2), threading.Event()
    seen = []

    def first():
        with devices.without_tensor_float_32():
            inside.wait(10)
        first_is_out.set()

    def second():
        with devices.without_tensor_float_32():
            inside.wait(10)
            first_is_out.wait(10)
            seen.append(tf32())

    tf.config.experimental.enable_tensor_float_32_execution(True)
    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False] and tf32()


START = """
import os, sys, types
from hrnet_tf.cli.main import main
def predict():
    import tensorflow as tf
    print(os.environ["TF_FORCE_GPU_ALLOW_GROWTH"], tf.config.experimental.tensor_float_32_execution_enabled())
sys.modules["hrnet_tf.cli.predict"] = types.SimpleNamespace(main=predict)
main(["predict", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("flags", "growth", "said"),
    [(("--notf32",), None, "true False"), pytest.param((), "false", "false True", marks=pytest.mark.slow)],
)
def test_commands_share_gpus_and_do_without_tf32_if_told_to(flags, growth, said, monkeypatch):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    if growth:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", growth)
    command = [sys.executable, "-c", START, "--model=a", "--input=b", "--out_dir=c", *flags]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.split("\n")[0] == said, result.stderr


def insatiable_network(path):
    """Writes a SavedModel that wants a petabyte for every crop."""

    def heatmaps(images):
        size = tf.shape(images)[:2] * 2**24 // [1, 64]
        return {"heatmaps": tf.zeros((tf.shape(images)[0], 16, 16, 17)) + tf.reduce_max(tf.random.uniform(size))}

    signature = tf.function(heatmaps).get_concrete_function(tf.TensorSpec((None, 64, 64, 3), tf.uint8, name="images"))
    tf.saved_model.save(tf.Module(), str(path), signatures={"heatmaps": signature})
    return path


@pytest.mark.parametrize("command", ["predict", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_commands_that_run_out_of_memory_say_what_to_do_in_one_line(command, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")  # with its allocator TensorFlow tries for ten seconds
    (tmp_path / "out").mkdir()
    inputs = {
        "predict": {"input": dataset / "images" / "tiny", "out_dir": tmp_path / "out", "whole_image": True},
        "evaluate": {"data_dir": dataset, "val_split": "tiny", "metrics": tmp_path / "out" / "metrics.json"},
    }
    model = insatiable_network(tmp_path / "model")
    said = complaint(run(command, model=model, batch_size=4, **inputs[command]))
    assert "error: out of memory: OOM when allocating tensor" in said
    assert said.endswith("; lower --batch_size (4) or give --precision=bfloat16\n")
    assert not any((tmp_path / "out").iterdir())


def test_exports_that_run_out_of_memory_say_so_and_not_that_the_disk_is_full(tmp_path, monkeypatch):
    images = keras.Input((64, 64, 3), name="images")
    model = keras.Model(images, keras.layers.Conv2D(2, 1, strides=4)(images))

    def run_out(crops):
        raise tf.errors.ResourceExhaustedError(None, None, OOM)

    monkeypatch.setattr(check, "heatmap_runner", lambda path: run_out)
    message = r"^out of memory: OOM when .* export on the CPU: CUDA_VISIBLE_DEVICES=-1"
    with pytest.raises(InputError, match=message), replacing(tmp_path / "model.onnx") as path:
        check.check_heatmaps(path, model, None)


@pytest.mark.skipif(USE_GPU, reason="HRNET_TF_TEST_GPU asks for one")
def test_tests_use_no_gpu():
    script = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['NVIDIA_TF32_OVERRIDE'])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "-1 0\n"
    assert not devices.has_gpu()


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([], "float32"),
        ([(7, 5)], "float32"),
        ([(8, 0), (7, 0)], "float32"),
        ([(8, 0), (9, 0)], "mixed_bfloat16"),
        ([(12, 0)], "mixed_bfloat16"),
    ],
)
def test_training_is_in_bfloat16_where_every_gpu_has_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(range(len(capabilities))))
    details = lambda gpu: {"compute_capability": capabilities[gpu]}  # noqa: E731
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    assert devices.training_precision() == precision


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "--xla_gpu_force_conv_nhwc=true --xla_gpu_deterministic_ops=true"),
        ("--xla_dump_to=x", "--xla_dump_to=x --xla_gpu_force_conv_nhwc=true --xla_gpu_deterministic_ops=true"),
        ("--xla_gpu_force_conv_nhwc=false", "--xla_gpu_force_conv_nhwc=false --xla_gpu_deterministic_ops=true"),
    ],
)
def test_layout_of_convolutions_and_fixed_order_are_flags_that_xla_knows(monkeypatch, given, expected):
    enabled = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: enabled.append(True))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if given:
        monkeypatch.setenv("XLA_FLAGS", given)
    devices.convolve_channels_last()
    devices.compute_deterministically()
    assert os.environ["XLA_FLAGS"] == expected and enabled == [True]
    if not given:  # it ends the process at a flag that it does not know
        script = (
            "import tensorflow as tf; print(tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1)).numpy())"
        )
        assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "2"


def test_what_results_follow_from_is_told(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [0, 1])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"device_name": "NVIDIA H100"})
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 0)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    told = {"device": "NVIDIA H100", "threads": 3, "TensorFlow": tf.__version__, "Keras": keras.__version__}
    assert devices.in_words() == told
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    assert devices.in_words() == told | {"device": "CPU", "threads": len(os.sched_getaffinity(0))}
