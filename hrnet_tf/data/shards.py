"""Images in a few large TFRecord files, shards, instead of a file each.

For disks and mounted object stores that are slow to open files. A folder of shards takes the place of an image
folder: it has `shard-00000.tfrecord` and so on, whose records are `tf.train.Example`s of `file_name` and `image`, the
bytes of the file as they were, and `index.json`, {file name: [number of the shard, offset, length]} of these bytes.
Reading goes straight to them, in whatever order; other programs can read the records one after the other.
"""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hrnet_tf import progress
from hrnet_tf.data.layouts import ImageFolder
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable, read_json, replacing

_INDEX = "index.json"
_SHARD = "shard-{:05}.tfrecord"
# Of an image in a shard, instead of its path: shard, offset and length.
_PLACE = re.compile(r"(.*\.tfrecord)@(\d+)\+(\d+)", re.DOTALL)
# A TFRecord is length (8 bytes), checksum (4), the record, checksum (4).
_BEFORE, _AROUND = 12, 16


def image_paths(image_dir: PathLike, names: Sequence[str]) -> list[str]:
    """Paths of the images `names` of an image folder; of a folder of shards, what `read_bytes` takes instead.

    Images that are there under another spelling of their name are found (see `layouts.ImageFolder`).

    Raises:
        InputError: the index of the shards is damaged.
    """
    index_path = os.path.join(image_dir, _INDEX)
    if not os.path.isfile(index_path):
        return ImageFolder(image_dir).paths(names)
    paths = [os.path.join(image_dir, name) for name in names]
    index = read_json(index_path)
    places = []
    for name, path in zip(names, paths, strict=True):
        try:
            shard, offset, length = (int(number) for number in index[name])
            places.append(f"{os.path.join(image_dir, _SHARD.format(shard))}@{offset}+{length}")
        except KeyError:
            places.append(path)  # absent, as `check_images_exist` will say
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{index_path} is damaged at image {name!r}: write the shards anew") from error
    return places


def file_of(path: PathLike) -> PathLike:
    """The file that an image is in: `path` itself, or its shard."""
    place = _PLACE.fullmatch(os.fspath(path))
    return place[1] if place else path


def read_bytes(path: PathLike) -> bytes:
    """The bytes of an image file, or of an image in a shard.

    Raises:
        InputError: the file cannot be read, or ends before the image does.
    """
    place = _PLACE.fullmatch(os.fspath(path))
    check_readable(file_of(path), "image")
    try:
        with open(file_of(path), "rb") as file:
            if not place:
                return file.read()
            begin, length = int(place[2]), int(place[3])
            if begin + length > os.fstat(file.fileno()).st_size:
                raise InputError(f"cannot read image {path}: the shard is truncated")
            file.seek(begin)
            return file.read(length)
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror}") from error


def write_shards(image_dir: PathLike, names: Sequence[str], out_dir: PathLike, shard_bytes: int) -> int:
    """Writes the images `names` of an image folder as a folder of shards, which appears when it is complete.

    Args:
        image_dir: the folder that the names are relative to.
        names: of the files, in the order in which they are written.
        out_dir: the folder to write; its parent exists.
        shard_bytes: a shard is ended once it has so many.

    Returns:
        the number of shards.

    Raises:
        InputError: `out_dir` exists, an image cannot be read, or nothing can be written there.
    """
    if os.path.exists(out_dir):
        raise InputError(f"{out_dir} exists. Remove it, or choose another folder")
    with replacing(out_dir) as folder:
        folder.mkdir()
        index: dict[str, tuple[int, int, int]] = {}
        writer: Any = None  # of the shard, once there is one
        shard, position = -1, shard_bytes
        try:
            paths = image_paths(image_dir, names)
            for name, path in progress.track(zip(names, paths, strict=True), "writing", "images", len(names)):
                image = read_bytes(path)
                if position >= shard_bytes:
                    if writer:
                        writer.close()
                    shard, position = shard + 1, 0
                    writer = tf.io.TFRecordWriter(os.fspath(folder / _SHARD.format(shard)))
                record = _example(name, image)
                writer.write(record)
                index[name] = (shard, position + _BEFORE + record.index(image), len(image))
                position += len(record) + _AROUND
        finally:
            if writer:
                writer.close()
        (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    return shard + 1


def _example(name, image):
    """A serialised `tf.train.Example`."""
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in (("file_name", name.encode()), ("image", image))
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
