"""Weight files as PyTorch writes them, and files from anyone: read as data, refused in one line, never executed."""

import io
import json
import os
import pickle
import resource
import struct
import sys
import zipfile

import keras
import numpy as np
import pytest
import seeded
import weight_files
from weight_files import Call

from hrnet_tf import InputError, load_pytorch_weights
from hrnet_tf.models import blocks, preprocess
from hrnet_tf.weights.containers import read_arrays

CONTAINERS = pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])


def read(path):
    return read_arrays(path)[0]


def same(arrays, others):
    return list(arrays) == list(others) and all(
        np.array_equal(arrays[name], others[name]) and np.shape(arrays[name]) == np.shape(others[name])
        for name in others
    )


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_files_that_pytorch_wrote(container):
    arrays = read(seeded.GOLDEN / f"torch_{container}.pth")
    assert same(arrays, seeded.load("torch_arrays"))
    assert {name: array.dtype.str for name, array in arrays.items() if "float32" not in name} == {
        **dict.fromkeys(("module.transposed", "module.part", "module.bfloat16", "module.parameter"), "<f4"),
        **{"module.half": "<f2", "module.double": "<f8", "module.counter": "<i8", "module.empty": "<f4"},
    }


@CONTAINERS
def test_the_tests_files_are_pytorchs(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    state = seeded_state()
    weight_files.save(tmp_path / "w.pth", {"state_dict": state, "epoch": 3, "lr": [0.5, None, True]}, legacy)
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert same(content["state_dict"], state) and content["lr"] == [0.5, None, True]


def seeded_state():
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (8, 3, 3, 3), "final_layer.weight": (2, 8, 1, 1), "final_layer.bias": (2,)}
    shapes |= {f"bn1.{name}": (8,) for name in ("weight", "bias", "running_mean", "running_var")}
    state = {name: rng.uniform(0.5, 1, shape).astype("f4") for name, shape in shapes.items()}
    return state | {"bn1.num_batches_tracked": np.array(3)}


@pytest.fixture(scope="module")
def model():
    """A network of a few layers that `seeded_state` fits."""
    images = keras.Input((32, 32, 3))
    x = blocks.conv_bn(preprocess.normalize(images, "rgb"), 8, 3, "conv1", "bn1", strides=2, use_relu=True)
    return keras.Model(images, blocks.conv(x, 2, 1, "final_layer", use_bias=True), name="tiny")


# What pickles can do to a reader that executes them.


class Touch:
    """Pickles to a call of os.system."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def attacks(path):
    """Operations that would make the file `path` if they were executed."""
    shell, touch = f"touch {path}", b"(X%bt"
    argument = touch % (struct.pack("<I", len(shell)) + shell.encode())
    code = f"open({str(path)!r}, 'w').close()"
    text = b"X" + struct.pack("<I", len(code)) + code.encode()
    return {
        "reduce": b"cposix\nsystem\n" + argument + b"R",
        "builtins": b"cbuiltins\nexec\n(" + text + b"tR",
        "python 2": b"c__builtin__\neval\n(" + text + b"tR",
        "instance": b"(" + argument[1:-1] + b"iposix\nsystem\n",
        "object": b"(cposix\nsystem\n" + argument[1:-1] + b"o",
        "stack global": b"X\x05\x00\x00\x00posixX\x06\x00\x00\x00system\x93" + argument + b"R",
        "new object": b"csubprocess\nPopen\n((" + b"X\x05\x00\x00\x00touchX" + argument[2:-1] + b"tt\x81",
        "setstate": b"cweight_files\nCall\n)\x81}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsb" + argument + b"b",
        "import": b"cthis_module_must_not_be_imported\nx\n)R",
        "attribute": b"chrnet_tf\nweights.load.os.system\n" + argument + b"R",
        "rebuild": b"ctorch._utils\n_rebuild_tensor_v2\n(cposix\nsystem\n" + argument + b"RtR",
    }


@CONTAINERS
@pytest.mark.parametrize("place", ["beside", "inside", "instead"])
@pytest.mark.parametrize("kind", list(attacks("")))
def test_nothing_is_executed(tmp_path, model, monkeypatch, kind, place, legacy):
    (tmp_path / "this_module_must_not_be_imported.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    attack = attacks(tmp_path / "proof")[kind]
    state = seeded_state()
    content = {"beside": {"state_dict": state, "perf": attack}, "inside": state | {"bn1.bias": attack}}
    model.set_weights([np.zeros_like(array) for array in model.get_weights()])
    weight_files.save(tmp_path / "w.pth", content.get(place, attack), legacy)
    if place == "beside":  # of no interest, so it does no harm
        load_pytorch_weights(model, tmp_path / "w.pth")
        np.testing.assert_array_equal(model.get_layer("bn1").beta, state["bn1.bias"])
    else:
        with pytest.raises(InputError, match=r"entries without a tensor: bn1.bias|holds no weights|is damaged"):
            load_pytorch_weights(model, tmp_path / "w.pth")
        assert not any(np.any(array) for array in model.get_weights())
    assert not (tmp_path / "proof").exists()
    assert "this_module_must_not_be_imported" not in sys.modules


def test_the_attacks_are_real(tmp_path):
    for kind in ("reduce", "instance", "object", "builtins", "stack global"):
        pickle.loads(b"\x80\x02" + attacks(tmp_path / "proof")[kind] + b".")
        assert (tmp_path / "proof").exists()
        (tmp_path / "proof").unlink()


def test_pickles_of_other_programs(tmp_path):
    for protocol in range(6):
        (tmp_path / "w.pth").write_bytes(pickle.dumps(Touch(tmp_path / "proof"), protocol))
        with pytest.raises(InputError, match=r"cannot be used as weights"):
            read(tmp_path / "w.pth")
    assert not (tmp_path / "proof").exists()


# Files that lie about sizes, or are something else.


def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor_pickle(offset=0, shape=(2,), strides=(1,), size=2, storage=b"ctorch\nFloatStorage\n", view=None):
    reference = weight_files._emit(("storage", storage, "0", "cpu", size, view), [], False) + b"Q"
    return Call("torch._utils", "_rebuild_tensor_v2", (reference, offset, shape, strides, False, {}))


def test_views_of_storages(tmp_path):
    numbers = np.arange(10, dtype="f4")
    view = tensor_pickle(offset=1, shape=(2, 2), strides=(1, 2), size=10, view=("1", 3, 5))
    weight_files.save(tmp_path / "w.pth", {"all": numbers, "view": view}, legacy=True)
    assert same(read(tmp_path / "w.pth"), {"all": numbers, "view": np.array([[4, 6], [5, 7]])})


def zip_of(entries, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def lies(tmp_path):
    """{what: content of a file that claims more than it has, or what cannot be}."""
    for name, arguments in {
        "beyond": {"shape": (3,)},
        "far offset": {"offset": 2**30},
        "repeated": {"shape": (2**15, 2**15), "strides": (0, 0)},
        "negative": {"shape": (2,), "strides": (-1,)},
        "fraction": {"shape": (2.0,)},
        "text": {"shape": ("many",)},
        "no strides": {"strides": ()},
        "dimensions": {"shape": (1,) * 70, "strides": (1,) * 70},
        "storage type": {"storage": b"ctorch\nComplexFloatStorage\n"},
        "storage of nothing": {"storage": None},
    }.items():
        weight_files.save(tmp_path / "w", {"bn1.bias": tensor_pickle(**arguments)})
        with zipfile.ZipFile(tmp_path / "w", "a") as file:
            file.writestr("archive/data/0", b"\0" * 8)
        yield name, (tmp_path / "w").read_bytes()
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    yield "no storage", zip_of({"a/data.pkl": weight_files._emit({"x": tensor_pickle()}, [], False) + b"."})
    for change in (
        *({"data_offsets": offsets} for offsets in ([0, 16], [8, 0], [-8, 0], [0], [0.5, 8], "ab", [0, 2**70], None)),
        *({"shape": shape} for shape in ([3], [-2], [2**62, 4], ["a", 10**10], [[0], 10**9], 2, [1] * 10**5)),
        *({"dtype": dtype} for dtype in ("F31", None, ["F32"], {})),
    ):
        yield f"safetensors {str(change)[:40]}", safetensors({"bn1.bias": entry | change}, b"\0" * 8)
    for header in (b"{", b"{}", b"[]", b'{"a": 1}', b'{"a": {}}', b"{" * 10**5, b'{"a":' * 10**5, b"{\xff}"):
        yield f"header {header[:10]}", safetensors(header)
    yield "huge header", struct.pack("<Q", 2**63) + b"{}"
    yield "name of two lines", safetensors({"bn1\nerror: bias": entry}, b"\0" * 8)
    yield "memo", b"\x80\x02Nr\xff\xff\xff\xff."
    yield "long text", b"\x80\x02X\xff\xff\xff\xff" + b"a" * 10
    yield "longer text", b"\x80\x04\x8d" + b"\xff" * 8 + b"a" * 10
    yield "long number", b"\x80\x02\x8b\xff\xff\xff\x7f" + b"a" * 10
    yield "tuples of tuples", b"\x80\x02)" + b"2\x86" * 10**4 + b"."
    pairs = b"".join(b"](X\x04\x00\x00\x00%04dNe" % i for i in range(2000))
    copies = b"(](" + pairs + b"eq\x000" + b"ccollections\nOrderedDict\n(h\x00tR" * 10**4 + b"t"
    yield "copies of pairs", b"\x80\x02" + copies + b"."
    yield "key of tuples", b"\x80\x02})" + b"q\x00h\x00\x86" * 100 + b"Ns."
    yield (
        "reference of tuples",
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n)" + (b"q\x00h\x00\x86" * 100 + b"NK\x02tQ."),
    )


def foreign():
    yield "empty", b""
    yield "text", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    yield "page", b"<!DOCTYPE html><html>Not found</html>"
    yield "picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    yield "photograph", b"\xff\xd8\xff\xe0" + bytes(range(256))
    yield "json", b'{"conv1.weight": [1, 2, 3]}'
    yield "list", pickle.dumps([1, 2, 3])
    yield "dict", pickle.dumps({"a": {"b": {}}}, 2)
    yield "arrays", pickle.dumps({"conv1.weight": np.zeros((8, 3, 3, 3))}, 2)
    yield "other zip", zip_of({"model/weights.bin": b"0" * 100})
    yield "compressed", zip_of({"archive/data.pkl": b"\x80\x02}."}, compression=zipfile.ZIP_DEFLATED)
    yield "bomb", zip_of({"a/data.pkl": b"\0" * 10**8}, compression=zipfile.ZIP_DEFLATED)
    yield "two pickles", zip_of({"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b"\x80\x02}."})
    yield "tar", b"storages" + b"\0" * 249 + b"ustar" + b"\0" * 250


def refusal(model, path):
    """The refusal of a file, or None if it could be loaded; either way the weights are all old or all new."""
    before = [np.zeros_like(array) for array in model.get_weights()]
    model.set_weights(before)
    try:
        load_pytorch_weights(model, path)
    except InputError as error:
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
        assert str(error).isprintable() and str(path) in str(error)
        return error
    assert all(np.all(np.isfinite(array)) and np.any(array) for array in model.get_weights())
    return None


def test_lies_and_foreign_files_are_refused(tmp_path, model):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "weights"
    for name, content in (*lies(tmp_path), *foreign()):
        path.write_bytes(content)
        assert refusal(model, path), name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # KiB


def test_paths_that_are_no_files(tmp_path, model):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing.pth", tmp_path / "pipe"):
        assert "cannot read" in str(refusal(model, path))


def mutations(content, rng, count):
    for i in range(count):
        data = bytearray(content)
        if i % 3 == 0:
            del data[rng.integers(len(data)) :]
        else:
            for _ in range(rng.integers(1, 4)):
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        yield bytes(data)


@pytest.mark.parametrize("container", ["legacy", "zip", "safetensors"])
def test_damaged_files(tmp_path, model, container):
    path = tmp_path / "weights"
    state = seeded_state()
    if container == "safetensors":
        from safetensors.numpy import save_file

        save_file(state, path)
    else:
        weight_files.save(path, {"state_dict": state, "perf": 0.5}, legacy=container == "legacy")
    content = path.read_bytes()
    refused = 0
    for data in mutations(content, np.random.default_rng(0), 100):
        path.write_bytes(data)
        refused += refusal(model, path) is not None
    assert refused > 40
