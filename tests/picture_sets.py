"""The same pictures in all forms that a set of pictures may have."""

import io
import tarfile

import cv2
import numpy as np

from hrnet_tf.data.shards import write_shards
from hrnet_tf.scaling import stores
from hrnet_tf.scaling.parts import find_parts

NAMES = [f"{i:02}.jpg" for i in range(7)]
BROKEN = "03.jpg"  # which is cut off


def file_contents():
    """{name: bytes} of pictures, of which one is damaged."""
    rng = np.random.default_rng(0)
    files = {
        name: cv2.imencode(".jpg", rng.integers(0, 256, (60, 80, 3)).astype(np.uint8))[1].tobytes() for name in NAMES
    }
    return files | {BROKEN: files[BROKEN][:40]}


def write_sets(root, contents):
    """{kind: path} of the same pictures in all forms."""
    found = {"folder": root / "photos", "list": root / "list.txt"}
    (root / "photos").mkdir()
    for name, data in contents.items():
        (root / "photos" / name).write_bytes(data)
    for other in ("notes.txt", ".hidden.jpg"):
        (root / "photos" / other).write_bytes(b"no picture")
    found["list"].write_text("\n".join(f"photos/{name}" for name in NAMES))
    for kind, mode in (("tar", "w"), ("tgz", "w:gz")):
        found[kind] = root / f"shard.{kind}"
        with tarfile.open(found[kind], mode) as archive:
            for name, data in contents.items():
                for entry, content in ((name, data), (name.replace(".jpg", ".json"), b"{}")):
                    info = tarfile.TarInfo(entry)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    write_shards(root / "photos", NAMES, root / "records", 1 << 20)
    found["tfrecord"] = root / "records" / "shard-00000.tfrecord"
    if stores.is_installed("pyarrow"):
        found |= write_parquet(root, contents)
    return found


def write_parquet(root, contents):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "parquet": {"image": list(contents.values()), "file_name": NAMES},
        "parquet_paths": {"image": [f"photos/{name}" for name in NAMES]},
        "parquet_both": {"image": [{"bytes": data, "path": name} for name, data in contents.items()]},
    }
    for kind, table in columns.items():
        pq.write_table(pa.table(table), root / f"{kind}.parquet")
    return {kind: root / f"{kind}.parquet" for kind in columns}


def whole(path, part_pictures=100):
    """The only part of a set."""
    (part,) = find_parts(str(path), part_pictures)
    return part
