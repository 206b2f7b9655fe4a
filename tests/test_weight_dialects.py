"""Weight files as many programs write them: the same weights under other names, and files that are something else."""

import io
import re
import struct
import zipfile

import keras
import numpy as np
import pytest
import seeded
import weight_files
from test_convert_tool import convert
from weight_files import Call

from hrnet_tf import InputError, build_model, load_pytorch_weights, load_state_dict
from hrnet_tf.errors import MAX_LINE
from hrnet_tf.weights import initialize_from, read_checkpoint

SMALL = "hrnet_w18_small_v1"


@pytest.fixture(scope="module")
def state():
    return weight_files.small_pose()


@pytest.fixture(scope="module")
def wanted(state):
    model = build_model(SMALL, (64, 64))
    load_state_dict(model, state)
    return model.get_weights()


@pytest.fixture(scope="module")
def model():
    return build_model(SMALL, (64, 64))


def prefixed(state, prefix):
    return {prefix + name: array for name, array in state.items()}


def mmpose(state, prefix=""):
    return {prefix + ("head." if "final" in name else "backbone.") + name: array for name, array in state.items()}


def zeros(state):
    return {name: np.zeros_like(array) for name, array in state.items()}


def averages(state):
    """With mmcv's second copy of every entry, under names that are those of a buffer."""
    return state | {"ema_" + name.replace(".", "_"): array for name, array in zeros(state).items()}


# What a program writes -> what is said about it, or nothing.
FILES = {
    **{
        key: (lambda state, key=key: {"epoch": 3, key: state}, f"weights of the file's '{key}' taken")
        for key in ("state_dict", "model_state_dict", "model", "net", "network", "module", "ema", "teacher", "anything")
    },
    "nested": (lambda state: {"model": {"state_dict": state, "step": 3}}, "the file's 'model.state_dict' taken"),
    "averages beside": (
        lambda state: {"ema": zeros(state), "optimizer": {"conv1": zeros(state)}, "model": state},
        "weights of the file's 'model' taken, not of 'ema' (convert's --state_dict chooses)",
    ),
    "averages within": (lambda state: averages(mmpose(state)), "entries 'ema_*' left out, which mmcv keeps"),
    "mmengine": (
        lambda state: (
            {"ema_state_dict": {"steps": np.array(3)} | mmpose(zeros(state), "module.")} | {"state_dict": mmpose(state)}
        ),
        "weights of the file's 'state_dict' taken, not of 'ema_state_dict'",
    ),
    **{
        prefix: (lambda state, prefix=prefix: prefixed(state, prefix), f"'{prefix}' stripped from all names")
        for prefix in ("model.", "module.", "_orig_mod.", "student.", "backbone.", "net.module.model._orig_mod.")
    },
    "compiled mmpose": (lambda state: mmpose(state, "_orig_mod."), "'_orig_mod.' stripped from all names"),
    "lightning": (
        lambda state: {"state_dict": prefixed(state, "model.") | {"loss.weight": np.ones(3, "f4")}},
        "'model.' stripped from COUNT names, 1 others left out (loss 1)",
    ),
    "distilled": (
        lambda state: prefixed(zeros(state), "teacher.") | prefixed(state, "student."),
        "'student.' stripped from COUNT names, COUNT others left out (teacher COUNT); of several, as 'teacher'",
    ),
}


@pytest.mark.parametrize("kind", list(FILES))
def test_the_same_weights_under_other_names(tmp_path, model, state, wanted, kind):
    make, said = FILES[kind]
    weight_files.save(tmp_path / "w.pth", make(state))
    report = load_pytorch_weights(model, tmp_path / "w.pth")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), wanted, strict=True))
    assert said.replace("COUNT", str(len(state))) in str(report)
    assert not report.not_taken and not report.kept_fresh


@pytest.mark.parametrize(
    ("kind", "choice"), [("averages beside", "ema"), ("mmengine", "ema_state_dict"), ("distilled", "teacher")]
)
def test_another_state_dict_can_be_chosen(tmp_path, model, state, kind, choice):
    weight_files.save(tmp_path / "w.pth", FILES[kind][0](state))
    load_pytorch_weights(model, tmp_path / "w.pth", state_dict=choice)
    assert not any(np.any(array) for array in model.get_weights())
    with pytest.raises(InputError, match="it has no state dict or prefix 'other', but"):
        read_checkpoint(tmp_path / "w.pth", "other")


def test_mmpose_files_of_imagenet_initialise(tmp_path, model):
    classifier = seeded.state_dict("imagenet_hrnet_w18_small_v1", 0)
    classifier = {re.sub(r"^(incre_modules|final_layer)\.", "head.", name): a for name, a in classifier.items()}
    weight_files.save(tmp_path / "w.pth", {"state_dict": classifier})
    assert any(name.startswith("head.0.") for name in classifier)
    report = initialize_from(model, tmp_path / "w.pth")
    assert report.dialect == "ImageNet classifier" and report.kept_fresh == ["final_layer.weight", "final_layer.bias"]
    assert read_checkpoint(tmp_path / "w.pth").num_keypoints is None


def without_crc(content):
    """A zip file whose entries and directory say CRC 0."""
    data = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            data[start + offset : start + offset + 4] = bytes(4)
    return bytes(data)


def test_files_without_checksums(tmp_path, model, state, wanted):
    weight_files.save(tmp_path / "w.pth", state)
    content = without_crc((tmp_path / "w.pth").read_bytes())
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is not None
    (tmp_path / "w.pth").write_bytes(content)
    load_pytorch_weights(model, tmp_path / "w.pth")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), wanted, strict=True))


def zipped(**entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


MODULE = Call("models.yolo", "PoseNet", (), (b"\x81", {"_modules": {}, "weight": np.ones(3, "f4")}, b"b"))
# Bytes of a file, or what is pickled in it -> what it is said to be.
SOMETHING_ELSE = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer .* `git lfs pull`"),
    (b"\n<!DOCTYPE html><html><title>Google Drive", "an HTML page, as servers send .* download the file itself"),
    (b"\xff\xd8\xff\xe0" + bytes(100), "it is a JPEG image"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file, as Keras writes weights"),
    (b"\x1f\x8b\x08" + bytes(100), "compressed by gzip: unpack it"),
    (bytes(300), "nothing but zeros"),
    (b"", "it is empty"),
    (zipped(model__constants="", model__data="", **{"a/constants.pkl": "", "a/data.pkl": ""}), "a TorchScript archive"),
    (zipped(**{"config.json": "{}", "model.weights.h5": ""}), "a .keras file, which is converted already"),
    (zipped(**{f"{i}.txt": "" for i in range(500)}), r"not of torch.save: 500 entries \(0.txt, .* and \d+ more\)"),
    (MODULE, r"whole pickled module \(models.yolo.PoseNet\), .* torch.save\(module.state_dict\(\), FILE\)"),
    ({"model": MODULE, "epoch": 3}, r"whole pickled module \(models.yolo.PoseNet\)"),
    (
        {f"setting_{i}": 3 for i in range(900)},
        r"holds no weights .* a dict of 900 entries \(setting_0, .* and \d+ more",
    ),
    ({"conv1.weight": np.ones(3, "f4")} | {f"a{i}": 1 for i in range(900)}, "900 entries without a tensor: a0, a1"),
]


@pytest.mark.parametrize(("content", "said"), SOMETHING_ELSE, ids=[said[:30] for _, said in SOMETHING_ELSE])
def test_what_else_a_file_is(tmp_path, model, content, said):
    if isinstance(content, bytes):
        (tmp_path / "w.pth").write_bytes(content)
    else:
        weight_files.save(tmp_path / "w.pth", content)
    with pytest.raises(InputError, match=said) as error:
        load_pytorch_weights(model, tmp_path / "w.pth")
    assert len(f"error: {error.value}") <= MAX_LINE and str(tmp_path) in str(error.value)


def test_what_does_not_fit_is_counted_in_one_short_line(tmp_path, model, state):
    others = {name: np.zeros((1, *array.shape), "f4") for name, array in list(state.items())[:100]}
    foreign = {f"a_module_of_another_network.{i}": np.zeros(3, "f4") for i in range(500)}
    weight_files.save(tmp_path / "w.pth", others | foreign)
    with pytest.raises(InputError) as error:
        load_pytorch_weights(model, tmp_path / "w.pth")
    assert len(f"error: {error.value}") <= MAX_LINE
    assert "500 unexpected: a_module_of_another_network.0" in str(error.value)
    assert re.search(r"\d+ missing: .* more; 500 unexpected: .* and \d+ more; \d+ of another shape", str(error.value))


def test_what_pytorch_writes_of_a_whole_network(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU())
    torch.save(network, tmp_path / "whole.pth")
    torch.jit.trace(network, torch.zeros(1, 3, 4, 4)).save(tmp_path / "script.pt")
    for name, said in (
        ("whole.pth", r"whole pickled module \(torch.nn.modules.container"),
        ("script.pt", "TorchScript"),
    ):
        with pytest.raises(InputError, match=said):
            read_checkpoint(tmp_path / name)


def test_a_head_with_offsets_is_no_head_of_three_times_the_keypoints(tmp_path):
    weight_files.save(tmp_path / "udp.pth", mmpose(weight_files.small_pose(51)))
    result = convert(model=SMALL, input_size="64x64", weights=tmp_path / "udp.pth", out=tmp_path / "out.keras")
    assert result.returncode == 1 and "51 channels, as UDP with offsets has for 17 keypoints" in result.stderr
    assert not (tmp_path / "out.keras").exists()


def test_convert_takes_the_named_state_dict_and_says_so(tmp_path, state):
    small = {"conv1.weight": state["conv1.weight"]}
    weight_files.save(tmp_path / "w.pth", {"state_dict": small, "ema_state_dict": prefixed(state, "module.")})
    flags = {"model": SMALL, "input_size": "64x64", "weights": tmp_path / "w.pth", "out": tmp_path / "out.keras"}
    result = convert(**flags, state_dict="ema_state_dict")
    assert result.returncode == 0, result.stderr
    assert "weights of the file's 'ema_state_dict' taken, not of 'state_dict'" in result.stdout
    assert "'module.' stripped from all names" in result.stdout
    converted = keras.models.load_model(tmp_path / "out.keras")
    np.testing.assert_array_equal(converted.get_layer("final_layer").bias, state["final_layer.bias"])


def test_names_of_two_thousand_letters(tmp_path, model):
    header = b'{"%s":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' % (b"a" * 2000)
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(InputError) as error:
        load_pytorch_weights(model, tmp_path / "w")
    assert len(f"error: {error.value}") <= MAX_LINE and str(tmp_path / "w") in str(error.value)
