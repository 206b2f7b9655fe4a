"""Writes weight files as PyTorch does, byte by byte, so that tests need no PyTorch and can write what it would not."""

import dataclasses
import pickle
import struct
import zipfile

import numpy as np
import seeded

_STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long"}
CLASSIFIER_ONLY = ("incre_modules.", "downsamp_modules.", "classifier.", "final_layer.")


@dataclasses.dataclass
class Call:
    """An object that a pickle makes by calling `module.name(*args)`, or by other operations than a call's."""

    module: str
    name: str
    args: tuple = ()
    operations: tuple = (b"R",)


def small_pose(num_keypoints=17, seed=0):
    """The state dict of a pose network hrnet_w18_small_v1, from the names of its classifier."""
    state = {
        name: array
        for name, array in seeded.state_dict("imagenet_hrnet_w18_small_v1", seed).items()
        if not name.startswith((*CLASSIFIER_ONLY, *(f"stage4.0.fuse_layers.{i}." for i in (1, 2, 3))))
    }
    rng = np.random.default_rng(seed)
    state["final_layer.weight"] = rng.normal(0, 1, (num_keypoints, 16, 1, 1)).astype("f4")
    return state | {"final_layer.bias": rng.normal(0, 1, num_keypoints).astype("f4")}


def save(path, content, legacy=False, folder="archive"):
    """Writes `content` (dicts, lists, text, numbers, arrays, Calls) as torch.save would before 1.6, or now."""
    storages = []
    data = b"\x80\x02" + _emit(content, storages, legacy) + b"."
    if legacy:
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
        pickles = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, system)]
        keys = pickle.dumps([str(key) for key in range(len(storages))], 2)
        numbers = [struct.pack("<q", array.size) + array.tobytes() for array in storages]
        path.write_bytes(b"".join([*pickles, data, keys, *numbers]))
        return
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/data.pkl", data)
        file.writestr(f"{folder}/byteorder", "little")
        for key, array in enumerate(storages):
            file.writestr(f"{folder}/data/{key}", array.tobytes())
        file.writestr(f"{folder}/version", "3\n")


def _emit(item, storages, legacy):
    """The operations that push `item`; the numbers of arrays go to `storages`."""

    def emit(*items):
        return b"".join(_emit(i, storages, legacy) for i in items)

    match item:
        case None:
            return b"N"
        case bool():
            return b"\x88" if item else b"\x89"
        case int():
            return b"J" + struct.pack("<i", item)
        case float():
            return b"G" + struct.pack(">d", item)
        case bytes():  # operations as they are
            return item
        case str():
            return b"X" + struct.pack("<I", len(item.encode())) + item.encode()
        case tuple():
            return b"(" + emit(*item) + b"t"
        case list():
            return b"](" + emit(*item) + b"e"
        case dict():
            return b"ccollections\nOrderedDict\n)R(" + emit(*(x for pair in item.items() for x in pair)) + b"u"
        case Call():
            return f"c{item.module}\n{item.name}\n".encode() + emit(item.args, *item.operations)
    storages.append(np.ascontiguousarray(item))
    storage_type = f"ctorch\n{_STORAGES[item.dtype.str[1:]]}Storage\n".encode()
    reference = ("storage", storage_type, str(len(storages) - 1), "cpu", item.size, *([None] if legacy else []))
    strides = tuple(stride // item.itemsize for stride in storages[-1].strides) if item.ndim else ()
    args = (emit(reference) + b"Q", 0, item.shape, strides, False, {})
    return emit(Call("torch._utils", "_rebuild_tensor_v2", args))
