"""Readers of weights, of networks, of model cards and of detectors."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fuzz import mutate
from fuzz.reader import Reader

if TYPE_CHECKING:
    import keras

    from hrnet_tf.model_card import ModelCard

_SIDE = 32  # of crops in pixels


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    kinds = ("f4", "f8", "f2", "i8", "u1")
    return {f"layer{i}.weight": rng.normal(0, 1, (2, 3, i + 1)).astype(kind) for i, kind in enumerate(kinds)}


def _safetensors_files(folder: Path) -> list[bytes]:
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    names = {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<i8": "I64", "|u1": "U8"}
    data = b""
    for name, array in _arrays().items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": names[array.dtype.str], "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return [struct.pack("<Q", len(text)) + text + data]


def _pickle() -> bytes:
    """As PyTorch writes a state dict within another dict."""
    storages = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte"}

    def number(value):
        return b"J" + struct.pack("<i", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    items = b""
    for key, (name, array) in enumerate(_arrays().items()):
        kind = f"ctorch\n{storages[array.dtype.str[1:]]}Storage\n".encode()
        storage = b"(" + text("storage") + kind + text(str(key)) + text("cpu") + number(array.size) + b"tQ"
        strides = [stride // array.itemsize for stride in array.strides]
        arguments = storage + number(0) + numbers(array.shape) + numbers(strides) + b"\x89}"
        items += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"
    state = b"ccollections\nOrderedDict\n)R(" + items + b"u"
    return b"\x80\x02}(" + text("epoch") + number(3) + text("state_dict") + state + text("lr") + b"G" + bytes(8) + b"u."


def _pth_files(folder: Path) -> list[bytes]:
    """Of now and, where PyTorch is installed, of before 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", _pickle())
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(_arrays().values()):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return [file.getvalue()]


def _legacy_files(folder: Path) -> list[bytes]:
    import pickle

    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    pickles = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps([str(key) for key in range(len(_arrays()))], 2)
    numbers = [struct.pack("<q", array.size) + array.tobytes() for array in _arrays().values()]
    return [b"".join([*pickles, _pickle(), keys, *numbers])]


def _read_weights(path: Path) -> None:
    """All numbers are touched."""
    from hrnet_tf.weights import read_checkpoint

    for array in read_checkpoint(path).state_dict.values():
        np.array(array)


def _model() -> "keras.Model":
    """One convolution, which has the shapes of a pose network."""
    import keras

    images = keras.Input((_SIDE, _SIDE, 3))
    layer = keras.layers.Conv2D(17, 3, 4, "same", kernel_initializer="ones")  # the same in every run
    return keras.Model(images, layer(images), name="network")


def _save_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.ones((17, 3, 4, 4), np.float32), "kernel")
    nodes = [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["maps"], strides=[4, 4]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("Transpose", ["positive"], ["heatmaps"], perm=[0, 2, 3, 1]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", _SIDE, _SIDE, 3])
    heatmaps = helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ["batch", _SIDE // 4, _SIDE // 4, 17])
    graph = helper.make_graph(nodes, "network", [images], [heatmaps], [kernel])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def _save_litert(path: Path) -> None:
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(_model()).convert())


def _made(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """What `make` writes to the path that it is called with, made once."""
    path = folder / "valid" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        make(path)
    return path


def _card() -> "ModelCard":
    from hrnet_tf.model_card import ModelCard
    from hrnet_tf.skeletons import COCO

    return ModelCard("network", (_SIDE, _SIDE), COCO, metrics={"AP": 0.5})


def _network_files(folder: Path, suffix: str) -> list[bytes]:
    from hrnet_tf.model_card import write_card

    writers = {".keras": lambda path: _model().save(path), ".onnx": _save_onnx, ".tflite": _save_litert}
    path = _made(folder, f"model{suffix}", writers[suffix])
    write_card(path, _card())
    return [path.read_bytes()]


def _read_network(path: Path) -> None:
    """Loaded, and what is no Keras model run; its card too."""
    from hrnet_tf.model_card import read_card
    from hrnet_tf.prediction.network import load_network

    read_card(path)
    network, _ = load_network(path)
    network.heatmaps(np.zeros((2, *network.input_size, 3), np.uint8))


def _saved_model_files(folder: Path) -> list[bytes]:
    from hrnet_tf.export import export_saved_model

    path = _made(folder, "saved", lambda path: export_saved_model(_model(), path, _card()))
    target = folder / "saved"
    if not target.exists():
        target.symlink_to(path)
        (folder / "graph.pb").write_bytes((path / "saved_model.pb").read_bytes())
    return [(folder / "graph.pb").read_bytes()]


def _read_saved_model(path: Path) -> None:
    import tensorflow as tf

    from hrnet_tf.prediction.network import load_network

    network, _ = load_network(path.parent)
    network.heatmaps(tf.zeros((2, *network.input_size, 3), tf.uint8))


def _card_files(folder: Path) -> list[bytes]:
    (folder / "model.tflite").touch()
    return [json.dumps(_card().to_json()).encode()]


def _read_card(path: Path) -> None:
    from hrnet_tf.model_card import read_card

    card = read_card(path.with_suffix(".tflite"))
    assert card is not None and card.decoding and card.skeleton.num_keypoints


def _reader(suffix: str, mutator: mutate.Mutator) -> Reader:
    return Reader(
        f"networks, {suffix}", f"model{suffix}", lambda folder: _network_files(folder, suffix), mutator, _read_network
    )


READERS = {
    "pth": Reader("weights of torch.save", "weights.pth", _pth_files, mutate.of_zip, _read_weights),
    "pth_legacy": Reader("the same before 1.6", "weights.pth", _legacy_files, mutate.of_bytes, _read_weights),
    "safetensors": Reader(
        "weights of safetensors", "weights.bin", _safetensors_files, mutate.of_safetensors, _read_weights
    ),
    "keras": _reader(".keras", mutate.of_zip),
    "onnx": _reader(".onnx", mutate.of_bytes),
    "tflite": _reader(".tflite", mutate.of_bytes),
    "saved_model": Reader(
        "the graph of a SavedModel", "saved/saved_model.pb", _saved_model_files, mutate.of_bytes, _read_saved_model
    ),
    "card": Reader("model cards", "model.json", _card_files, mutate.of_json, _read_card),
}
