"""The files that weights come in: PyTorch's zip container, the one before it, and safetensors.

Nothing is allocated on the word of a file alone: the sizes that it claims are compared with its own.
"""

import dataclasses
import functools
import io
import json
import math
import mmap
import os
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, check_readable, reason
from hrnet_tf.first_bytes import LOOKED_AT, what_it_is
from hrnet_tf.weights.entries import choose
from hrnet_tf.weights.pickles import DamagedError, Storage, Tensor, read_pickle

_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"  # what every pickle of protocol 2 and later starts with
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_BFLOAT16 = "bfloat16"  # numpy has none
# Of safetensors, in bytes: some 100,000 tensors.
_MAX_HEADER = 16 << 20
# By PyTorch's name of a storage and by safetensors' of a type.
_DTYPES = {
    **dict.fromkeys(("FloatStorage", "F32"), "<f4"),
    **dict.fromkeys(("DoubleStorage", "F64"), "<f8"),
    **dict.fromkeys(("HalfStorage", "F16"), "<f2"),
    **dict.fromkeys(("BFloat16Storage", "BF16"), _BFLOAT16),
    **dict.fromkeys(("LongStorage", "I64"), "<i8"),
    **dict.fromkeys(("IntStorage", "I32"), "<i4"),
    **dict.fromkeys(("ShortStorage", "I16"), "<i2"),
    **dict.fromkeys(("CharStorage", "I8"), "i1"),
    **dict.fromkeys(("ByteStorage", "U8"), "u1"),
    **dict.fromkeys(("BoolStorage", "BOOL"), "?"),
}


@dataclasses.dataclass(frozen=True)
class _Content:
    """What a file holds: its object, and the bytes of each storage that this refers to."""

    container: str
    size: int  # of the file, in bytes
    root: object
    read_storage: Callable[[str], memoryview | bytes]


def read_arrays(path: PathLike, state_dict: str | None = None) -> tuple[dict[str, np.ndarray], str, list[str]]:
    """The weights in a file, which is recognised by what it holds and not by its name.

    Args:
        path: a file of `torch.save`, of any year from 2017 on, or of safetensors.
        state_dict: which of several to take, see `entries.choose`.

    Returns:
        {name as in the file: array in PyTorch layout, not to be written to}, what the container is, and what to
        say about which state dict was taken.

    Raises:
        InputError: the file cannot be read, is damaged, or holds no weights.
    """
    check_readable(path)
    try:
        with open(path, "rb") as file:
            content = _open(file)
            tensors, said = choose(content.root, state_dict)
            tensors = {name: _checked(name, tensor) for name, tensor in tensors.items()}
            if sum(math.prod(tensor.shape) for tensor in tensors.values()) > content.size:
                raise DamagedError("its tensors are larger than the file")
            arrays = {name: _array(tensor, content.read_storage) for name, tensor in tensors.items()}
            return arrays, content.container, said
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    except DamagedError as error:
        raise InputError(f"{path} cannot be used as weights: {error}") from error


def _open(file: BinaryIO) -> _Content:
    if not os.fstat(file.fileno()).st_size:
        raise DamagedError("it is empty")
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if data[:4] == _ZIP_MAGIC:
        return _open_zip(file, len(data))
    if data[:1] == _PICKLE_MAGIC:
        return _open_legacy(data)
    if data[8:9] == b"{":
        return _open_safetensors(data)
    kind = what_it_is(data[:LOOKED_AT])
    raise DamagedError(f"it is {kind}" if kind else "it is neither a file of torch.save nor of safetensors")


def _checked(name, tensor):
    """`tensor`, if its numbers can be those of a tensor of a supported type."""
    storage = tensor.storage
    is_valid = isinstance(tensor.shape, tuple) and isinstance(tensor.strides, tuple)
    is_valid = is_valid and len(tensor.shape) == len(tensor.strides)
    if not is_valid or not _are_sizes((storage.offset, storage.size, tensor.offset, *tensor.shape, *tensor.strides)):
        raise DamagedError(f"its tensor {name} has no valid shape")
    if storage.type_name not in _DTYPES:
        raise DamagedError(f"its tensor {name} is of the unsupported type {storage.type_name!r}")
    return tensor


def _are_sizes(numbers):
    """Whether all are integers, and they and their number are of a size that they may be calculated with."""
    return len(numbers) < 100 and all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def _raw_dtype(dtype):
    return np.dtype("<u2" if dtype == _BFLOAT16 else dtype)


def _array(tensor, read_storage):
    """The array of a checked tensor, bfloat16 as float32."""
    dtype = _DTYPES[tensor.storage.type_name]
    raw_dtype = _raw_dtype(dtype)
    data = read_storage(tensor.storage.key)
    numbers = np.frombuffer(data, raw_dtype, count=len(data) // raw_dtype.itemsize)
    numbers = numbers[tensor.storage.offset :][: tensor.storage.size][tensor.offset :]
    last = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and last >= len(numbers):
        raise DamagedError("its tensors reach beyond their storage")
    strides = [stride * raw_dtype.itemsize for stride in tensor.strides]
    try:
        array = np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
    except (ValueError, OverflowError) as error:  # such as too many dimensions
        raise DamagedError("its tensors have no valid shape") from error
    return (array.astype("<u4") << 16).view("<f4") if dtype == _BFLOAT16 else array


def _open_zip(file, size):
    """PyTorch's container since 1.6: uncompressed entries `<folder>/data.pkl` and `<folder>/data/<key>`."""
    try:
        archive = zipfile.ZipFile(file)
        entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise DamagedError("it is a damaged zip file") from error
    folders = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if other := _other_zip(entries):
        raise DamagedError(other)
    if len(folders) != 1:
        raise DamagedError(f"it is a zip file, but not of torch.save: {len(entries)} entries ({listed(entries)})")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise DamagedError("it is a compressed zip file, which torch.save does not write")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise DamagedError("its entries are larger than the file")

    @functools.cache
    def read(name):
        try:
            entry = entries[folders[0] + name]
            if not entry.CRC:  # some builds of PyTorch write none
                del entry.CRC
            with archive.open(entry) as opened:
                return opened.read()  # checks the CRC
        except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise DamagedError(f"its entry {name!r} is damaged or missing") from error

    if folders[0] + "byteorder" in entries and read("byteorder") != b"little":
        raise DamagedError("it was written on a big-endian machine")
    root, _ = read_pickle(io.BytesIO(read("data.pkl")))
    return _Content("zip container", size, root, lambda key: read(f"data/{key}"))


def _other_zip(entries):
    """What else a zip file is that has other programs' entries, and what to do; else ""."""
    if any(name.endswith("/constants.pkl") for name in entries):
        return (
            "it is a TorchScript archive, a program with its weights: load it by torch.jit.load and save the weights "
            "alone, torch.save(module.state_dict(), FILE)"
        )
    if "model.weights.h5" in entries:
        return "it is a .keras file, which is converted already: give it as the model"
    return ""


def _open_legacy(data):
    """PyTorch's container before 1.6: five pickles, then the storages, each after its number of elements."""
    magic, _ = read_pickle(data)
    if magic != _LEGACY_MAGIC:
        raise DamagedError("it is a pickle, but not of torch.save")
    protocol, _ = read_pickle(data)
    system, _ = read_pickle(data)
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DamagedError("it is of another version of torch.save, or written on a big-endian machine")
    root, storage_types = read_pickle(data)
    keys, _ = read_pickle(data)
    position = data.tell()
    spans = {}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise DamagedError("its list of storages is damaged")
    for key in keys:
        dtype = _DTYPES.get(storage_types.get(key))
        if dtype is None:
            raise DamagedError("it has storages of an unsupported type")
        start = position + 8
        position = start + int.from_bytes(data[position:start], "little") * _raw_dtype(dtype).itemsize
        if position > len(data):
            raise DamagedError("it is cut off or damaged")
        spans[key] = slice(start, position)

    def read(key):
        if key not in spans:
            raise DamagedError(f"its storage {key!r} is missing")
        return memoryview(data)[spans[key]]

    return _Content("legacy container", len(data), root, read)


def _open_safetensors(data):
    """The format of huggingface/safetensors: length of the header, header in JSON, the data."""
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise DamagedError("it is cut off or damaged")
    if start > _MAX_HEADER:
        raise DamagedError(f"its header has {start} bytes, of at most {_MAX_HEADER}")
    root, spans = {}, {}
    try:
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            shape, (first, last), dtype = tuple(entry["shape"]), entry["data_offsets"], str(entry["dtype"])
            if not _are_sizes((*shape, first, last)) or last > len(data) - start:
                raise DamagedError(f"its tensor {name!r} has no valid shape, or it is cut off")
            strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
            root[name] = Tensor(Storage(name, dtype, math.prod(shape)), 0, shape, strides)
            spans[name] = slice(start + first, start + last)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError("its header is damaged") from error
    return _Content("safetensors", len(data), root, lambda name: memoryview(data)[spans[name]])
