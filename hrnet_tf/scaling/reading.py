"""The pictures of a part, one after the other: files, Parquet, WebDataset's tar and TFRecord.

Nothing is unpacked to disk, and of a part no more is in memory than is being predicted.
"""

import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from hrnet_tf.data.shards import read_bytes
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import reason
from hrnet_tf.scaling.parts import IMAGE_SUFFIXES, Part, beside
from hrnet_tf.scaling.stores import HIDDEN, is_local, open_store

# Rows of Parquet that are in memory at a time, with the bytes of their pictures.
_ROWS = 16
# Columns that say what a picture of bytes is called, and entries of records that do, the first that is there.
_NAMES = ("file_name", "image/filename")
_RECORD_IMAGES = ("image", "image/encoded")
# A tar archive ends in two blocks of zeros.
_TAR_END = 1024
# A TFRecord is length (8 bytes), checksum (4), the record, checksum (4).
_BEFORE, _AFTER = 12, 4
# What says that a picture is not there to be read, now or later; anything else may be the store's fault.
_ABSENT = (FileNotFoundError, PermissionError, IsADirectoryError)


class DamagedPartError(InputError):
    """A part cannot be read to its end, so that there are no results of it."""


def _utf8(name):
    """A name as Parquet takes it: those of files may be of any bytes, those in a column of any kind."""
    return str(name).encode("utf-8", "backslashreplace").decode()


class Encoded(NamedTuple):
    """A picture as it is stored.

    Attributes:
        name: what it is called.
        read: gives the bytes of its file, or raises InputError where it cannot be read, and DamagedPartError where
            nothing of the part can be for now.
    """

    name: str
    read: Callable[[], bytes]


def pictures(part: Part, column: str) -> Iterator[Encoded]:
    """The pictures of a part, in its order.

    Args:
        part: to read.
        column: of Parquet, that has their bytes, paths, or both as Hugging Face's datasets write them.

    Raises:
        DamagedPartError: it is truncated or damaged, cannot be read, or has no such column.
    """
    if part.kind == "files":
        for name, path in zip(part.names, part.paths, strict=True):
            yield Encoded(_utf8(name), _reader(path))
        return
    (path,) = part.paths
    try:
        if part.kind == "parquet":
            yield from _of_parquet(path, column)
        else:
            yield from (_of_tar if part.kind == "tar" else _of_records)(path)
    except InputError:
        raise
    # Each store, tarfile, zlib and Arrow raise their own.
    except Exception as error:
        raise DamagedPartError(f"{path} is truncated or damaged, or cannot be read: {reason(error)}") from error


def _reader(path):
    """What reads the file of a picture."""

    def read():
        store, inner = open_store(path)
        if is_local(store):
            return read_bytes(inner)
        try:
            return store.cat_file(inner)
        except _ABSENT as error:
            raise InputError(f"cannot read image {path}: {reason(error) or type(error).__name__}") from error
        except Exception as error:
            raise DamagedPartError(f"cannot read {path}: {reason(error)}") from error

    return read


def _has(data):
    """What gives bytes that have been read, or says that there are none."""

    def read():
        if data is None:
            raise InputError("it is null")
        return data

    return read


def _of_parquet(path, column):
    with _open(path) as file:
        table = pq.ParquetFile(file)
        fields = {field.name: field.type for field in table.schema_arrow}
        if column not in fields or not _is_images(fields[column]):
            raise DamagedPartError(
                f"{path}: --image_column={column} must be a column of bytes or of paths. There are: "
                f"{listed(f'{name} ({kind})' for name, kind in fields.items())}"
            )
        name_column = next((name for name in _NAMES if name in fields and name != column), None)
        folder = path.rpartition("/")[0]
        row = 0
        for batch in table.iter_batches(_ROWS, columns=[name for name in (column, name_column) if name]):
            names = batch.column(name_column).to_pylist() if name_column else [None] * len(batch)
            for name, value in zip(names, batch.column(column).to_pylist(), strict=True):
                yield _of_value(name, value, folder, row)
                row += 1


def _is_images(kind):
    if pa.types.is_struct(kind):
        return bool({"bytes", "path"} & {field.name for field in kind})
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary)) or _is_text(kind)


def _is_text(kind):
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _of_value(name: str | None, value: Any, folder: str, row: int) -> Encoded:
    """The picture of a cell: bytes, a path, both, or nothing."""
    path = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
    data = value.get("bytes") if isinstance(value, dict) else value if isinstance(value, bytes) else None
    name = name or path or str(row)
    return Encoded(_utf8(name), _reader(beside(folder, path)) if data is None and path else _has(data))


def _of_tar(path):
    with _open(path, compression=None if path.lower().endswith(".tar") else "gzip") as file:
        stream = _Stream(file)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for entry in archive:
                name = entry.name.rpartition("/")[2].lower()
                if entry.isfile() and name.endswith(IMAGE_SUFFIXES) and not name.startswith(HIDDEN):
                    content = archive.extractfile(entry)
                    yield Encoded(_utf8(entry.name), _has(content and content.read()))
        while stream.read(_TAR_END):
            pass
    if len(stream.end) < _TAR_END or stream.end.strip(b"\0"):  # which tarfile takes for the end too
        raise DamagedPartError(f"{path} is truncated: the end of a tar archive is missing. Fetch it again")


class _Stream:
    """A file that keeps the last `_TAR_END` bytes that were read."""

    def __init__(self, file: BinaryIO):
        self._file, self.end = file, b""

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.end = (self.end + data)[-_TAR_END:]
        return data


def _of_records(path):
    from tensorflow.train import Example

    with _open(path, compression="infer") as file:
        for number, record in enumerate(_records(file, path)):
            features = Example.FromString(record).features.feature
            image, name = (_first(features, keys) for keys in (_RECORD_IMAGES, _NAMES))
            if image is None:
                raise DamagedPartError(
                    f"{path}: record {number} has no picture: {' or '.join(_RECORD_IMAGES)} is wanted. There are: "
                    f"{listed(sorted(features)) or 'no entries'}"
                )
            yield Encoded(name.decode(errors="replace") if name else str(number), _has(image))


def _first(features, keys):
    """The bytes of the first of these entries that a record has, or None."""
    values = [features[key].bytes_list.value for key in keys if key in features]
    return values[0][0] if values and len(values[0]) else None


def _records(file: BinaryIO, path: str) -> Iterator[bytes]:
    """The records of a file; their checksums are not looked at, as pictures that are damaged say so."""
    while head := file.read(_BEFORE):
        (length,) = struct.unpack("<Q", head[:8]) if len(head) == _BEFORE else (0,)
        record = b"" if len(head) < _BEFORE or length > _longest(file) else file.read(length + _AFTER)
        if len(record) < length + _AFTER:
            raise DamagedPartError(f"{path} is truncated or damaged: a record ends early. Fetch it again")
        yield record[:length]


def _longest(file):
    """How many bytes a record may have: those of the file, where that tells its size."""
    return getattr(file, "size", None) or 1 << 31


def _open(path, **options):
    return fsspec.open(path, "rb", **options)
