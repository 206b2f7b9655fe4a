"""The results of a part as Parquet: a row for each person, and one for a picture in which there is nobody.

Shape legend: N people, K keypoints.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from hrnet_tf.prediction.people import Person
from hrnet_tf.scaling.stores import writing
from hrnet_tf.skeletons import Skeleton

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Rows that are kept until they are written: some 10 MB of 133 keypoints.
_ROWS = 4096


def schema(skeleton: Skeleton) -> pa.Schema:
    """The columns, and under "keypoints" in the metadata the names of the K keypoints as JSON."""
    number = pa.float32()
    columns = [
        pa.field("image", pa.string(), False),  # name of the picture in its part
        pa.field("index", pa.int64(), False),  # its number there, from 0
        pa.field("person", pa.int32()),  # number in the picture, from 0; null where nobody was found
        pa.field("box", pa.list_(number, 4)),  # x, y, width, height in pixels
        pa.field("score", number),
        pa.field("keypoints", pa.list_(number, 3 * skeleton.num_keypoints)),  # x, y, score of the first, and so on
        pa.field("note", pa.string()),  # that the picture is damaged, and how
        pa.field("error", pa.string()),  # why it could not be read
    ]
    return pa.schema(columns, {"keypoints": json.dumps(skeleton.names)})


def rows(image: str, index: int, people: Sequence[Person], note: str | None, error: str | None) -> list[dict]:
    """The rows of a picture, in which there is nobody where it could not be read."""
    of_picture = {"image": image, "index": index, "note": note, "error": error}
    if not people:
        return [of_picture]
    return [
        {
            **of_picture,
            "person": person,
            "box": one.box.tolist(),
            "score": one.score,
            "keypoints": one.keypoints.ravel().tolist(),
        }
        for person, one in enumerate(people)
    ]


@contextlib.contextmanager
def rows_writer(store: "AbstractFileSystem", path: str, skeleton: Skeleton) -> Iterator[Callable[[list[dict]], None]]:
    """Yields a function that adds rows to a Parquet file, which is there once the block has ended well.

    Raises:
        InputError: it cannot be written.
    """
    columns, waiting = schema(skeleton), []

    with writing(store, path) as file, pq.ParquetWriter(file, columns, compression="zstd") as writer:

        def add(found: list[dict]) -> None:
            waiting.extend(found)
            if len(waiting) >= _ROWS:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, columns))
            waiting.clear()

        yield add
        flush()
