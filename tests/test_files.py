"""Writing beside and renaming: what is there is whole or as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from hrnet_tf.errors import InputError
from hrnet_tf.files import replacing


def test_file(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("first", "second"):
        with replacing(path) as temporary:
            assert (temporary.suffix, temporary.exists()) == (".txt", False)
            temporary.write_text(text)
    assert path.read_text() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("folder", ["a", "old"])
def test_folder(folder, tmp_path):
    path = tmp_path / folder
    for name in ("first", "second"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [entry.name for entry in path.iterdir()] == ["second"]
    assert [entry.name for entry in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(28, "No space left on device"), InputError),
        (tf.errors.ResourceExhaustedError(None, None, "No space left on device\nmore"), InputError),
        (KeyError("a bug"), KeyError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_failure_keeps_the_old(raised, seen, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(seen) as caught, replacing(path) as temporary:
        temporary.write_text("half")
        raise raised
    if seen is InputError:
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_old_folder_returns_if_the_new_one_cannot_move_in(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    replace = os.replace

    def failing_replace(source, target):
        if Path(target) == path and Path(source, "new").exists():
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(InputError, match=r"Permission denied"), replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [entry.name for entry in path.iterdir()] == ["old"]


def test_full_disk(tmp_path):
    script = """
import resource
from hrnet_tf.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    with replacing("a.txt") as temporary:
        temporary.write_bytes(bytes(1000))
except ValueError as error:
    print(error)
"""
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        == "cannot write a.txt: File too large\n"
    )
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path):
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(InputError, match=r"cannot write .*a.txt: No such file or directory"), replacing(path):
        pytest.fail("nothing to write to")


def test_file_and_folder_do_not_replace_each_other(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Is a directory"), replacing(tmp_path / "folder") as temporary:
        temporary.touch()
    with pytest.raises(InputError, match=r"Not a directory"), replacing(tmp_path / "file") as temporary:
        temporary.mkdir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"Permission denied"), replacing(tmp_path / "a.txt") as temporary:
        temporary.touch()
