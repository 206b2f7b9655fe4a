"""Sets of pictures: their parts, and what is read of them."""

import io
import os
import pathlib
import tarfile

import numpy as np
import pytest
from picture_sets import NAMES, file_contents, whole, write_sets

from hrnet_tf import InputError
from hrnet_tf.scaling import stores
from hrnet_tf.scaling.parts import Part, find_parts

fsspec = pytest.importorskip("fsspec", reason="needs fsspec, of the extra ray")
with_arrow = pytest.mark.skipif(not stores.is_installed("pyarrow"), reason="needs pyarrow, of the extra ray")
KINDS = ("folder", "list", "tar", "tgz", "tfrecord", "parquet", "parquet_paths", "parquet_both")
SHARDS = ("tar", "tgz", "tfrecord", "parquet")


@pytest.fixture(scope="module")
def contents():
    return file_contents()


@pytest.fixture(scope="module")
def sets(contents, tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"), contents)


def test_folders_and_lists_are_cut_into_parts_and_what_is_no_picture_is_left_out(sets):
    for kind, start in (("folder", ""), ("list", "photos/")):
        parts = find_parts(str(sets[kind]), 3)
        assert [part.name for part in parts] == ["part-000000", "part-000001", "part-000002"]
        assert [name for part in parts for name in part.names] == [start + name for name in NAMES]
        assert [os.path.basename(path) for path in parts[2].paths] == NAMES[6:]
        assert all(Part.from_json(part.to_json()) == part for part in parts)


def test_folders_of_shards(tmp_path):
    for name in ("b/1.tar", "a.tar", ".c.tar", "README.md", "x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(part.name, part.kind) for part in find_parts(str(tmp_path), 1)] == [("a", "tar"), ("b/1", "tar")]
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(InputError, match="would have one name"):
        find_parts(str(tmp_path), 1)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(InputError, match=r"shards of several kinds, a\.parquet, a\.tar"):
        find_parts(str(tmp_path), 1)


def test_what_is_no_set_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.md").touch()
    for name, message in (
        ("nowhere", "does not exist"),
        ("empty.txt", "is empty"),
        ("photo.jpg", "takes single images"),
        ("text", "Received: files such as a.md"),
    ):
        with pytest.raises(InputError, match=message):
            find_parts(str(tmp_path / name), 1)
    with pytest.raises(InputError, match="cannot open nostore"):
        find_parts("nostore://bucket/a", 1)


@with_arrow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("remote", [False, True])
def test_all_forms_give_the_same_pictures(sets, contents, kind, remote):
    """In a store that is not this machine's disk, too."""
    from hrnet_tf.scaling.reading import pictures

    path = str(sets[kind])
    if remote:
        store = fsspec.filesystem("memory")
        root = sets["folder"].parent
        for file in root.rglob("*"):
            if file.is_file():
                store.pipe_file(f"/sets/{file.relative_to(root)}", file.read_bytes())
        path = f"memory://sets/{sets[kind].relative_to(root)}"
    found = [(name, read()) for name, read in pictures(whole(path), "image")]
    assert [pathlib.PurePath(name).name for name, _ in found] == NAMES
    assert [data for _, data in found] == list(contents.values())


@with_arrow
@pytest.mark.parametrize("kind", SHARDS)
def test_shards_that_are_cut_off_are_noticed_wherever(sets, tmp_path, kind):
    from hrnet_tf.scaling.reading import DamagedPartError, pictures

    data = sets[kind].read_bytes()
    for length in np.linspace(1, len(data) - 1, 23).astype(int):
        path = tmp_path / sets[kind].name
        path.write_bytes(data[:length])
        try:
            found = list(pictures(whole(path), "image"))
        except DamagedPartError as error:
            assert "truncated" in str(error)
        else:  # some of the zeros that fill up the end are gone
            assert kind == "tar" and len(found) == len(NAMES)


@with_arrow
def test_names_are_text_whatever_they_are_in_the_shard(contents, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hrnet_tf.scaling.reading import pictures

    data = contents[NAMES[0]]
    with tarfile.open(tmp_path / "a.tar", "w", encoding="utf-8", errors="surrogateescape") as archive:
        info = tarfile.TarInfo("b\udcff.jpg")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    pq.write_table(pa.table({"image": [data], "file_name": [17]}), tmp_path / "a.parquet")
    found = [name for path in ("a.tar", "a.parquet") for name, _ in pictures(whole(tmp_path / path), "image")]
    assert found == ["b\\udcff.jpg", "17"]


@with_arrow
def test_a_column_that_is_not_there_is_named_with_those_that_are(sets):
    from hrnet_tf.scaling.reading import DamagedPartError, pictures

    with pytest.raises(DamagedPartError, match=r"--image_column=photo.* image \(binary\), file_name \(string\)"):
        list(pictures(whole(sets["parquet"]), "photo"))
