"""Downloads: broken off and gone on with, checked, from the next address, and everything that servers send instead."""

import hashlib
import json
import os
import re

import file_server
import numpy as np
import pytest
from file_server import Served

from hrnet_tf import InputError
from hrnet_tf.errors import MAX_LINE
from hrnet_tf.pretrained import download, local

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


@pytest.fixture
def server():
    with file_server.running() as running:
        yield running


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HRNET_TF_MIRROR", raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    return tmp_path / "cache" / "file.pth"


def get(path, *urls, sha256=SHA256, **options):
    return local._download("NAME", urls, sha256, path, options.get("allow_unverified", False))


def refusal(path, *urls, **options):
    """The line about a download that cannot be had; nothing of it is there."""
    with pytest.raises(InputError) as error:
        get(path, *urls, **options)
    line = f"error: {error.value}"
    assert len(line) <= MAX_LINE and "\n" not in line
    assert not path.exists()
    return line


def left(path):
    """What is in the cache besides locks."""
    return sorted(entry.name for entry in path.parent.iterdir() if entry.suffix != ".lock")


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8]])
def test_a_file_is_put_in_place_once(server, path, sha256):
    server.files["/a.pth"] = Served(CONTENT)
    assert get(path, f"{server.url}/a.pth", sha256=sha256) == path
    assert path.read_bytes() == CONTENT and left(path) == ["file.pth"]
    get(path, f"{server.url}/a.pth", sha256=sha256)
    assert server.asked == [("/a.pth", None)]


def test_broken_off_ten_times(server, path):
    ends = sorted(np.random.default_rng(1).integers(1, len(CONTENT) - 1, 10).tolist())
    server.files["/a.pth"] = Served(CONTENT, breaks=list(ends))
    get(path, f"{server.url}/a.pth")
    assert path.read_bytes() == CONTENT and left(path) == ["file.pth"]
    starts = [int(asked.removeprefix("bytes=")[:-1]) for _, asked in server.asked[1:]]
    # What was on its way when the connection broke is asked for again, what had arrived is not.
    assert len(starts) == 10 and starts == sorted(starts) and starts[0] > 0
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert starts[-1] > ends[-1] - 70_000


def test_what_an_earlier_process_has_left_is_gone_on_with(server, path):
    server.files["/a.pth"] = Served(CONTENT, breaks=[1_000_000, *[0] * 9])
    refusal(path, f"{server.url}/a.pth")
    assert left(path) == ["file.pth.part", "file.pth.part.json"]
    size = (path.parent / "file.pth.part").stat().st_size
    assert 900_000 < size <= 1_000_000
    server.files["/a.pth"].breaks.clear()
    server.asked.clear()
    get(path, f"{server.url}/a.pth")
    assert path.read_bytes() == CONTENT and left(path) == ["file.pth"]
    assert server.asked == [("/a.pth", f"bytes={size}-")]


RESTS = {  # what is asked for, in turn
    "no ranges": ["bytes=5000-"],
    "another version": ["bytes=5000-"],
    "another address": [None],
    "no version told": ["bytes=5000-", None],
    "longer than all": ["bytes=3000009-", None],
}


@pytest.mark.parametrize("change", list(RESTS))
def test_a_rest_that_does_not_belong_to_it_is_not_taken(server, path, change):
    path.parent.mkdir()
    part, note = (path.parent / f"file.pth.part{suffix}" for suffix in ("", ".json"))
    part.write_bytes(OTHER[::-1] + bytes(9) if change == "longer than all" else OTHER[::-1][:5000])
    url = "http://another/a.pth" if change == "another address" else f"{server.url}/a.pth"
    etag = "" if change == "no version told" else '"0"' if change == "another version" else '"1"'
    note.write_text(json.dumps({"url": url, "version": etag}))
    server.files["/a.pth"] = Served(CONTENT, ranges=change != "no ranges", etag=etag and '"1"')
    get(path, f"{server.url}/a.pth")
    assert path.read_bytes() == CONTENT and left(path) == ["file.pth"]
    assert [asked for _, asked in server.asked] == RESTS[change]


def test_a_file_that_changes_on_its_way_is_brought_from_the_start(server, path):
    server.files["/a.pth"] = Served(OTHER[::-1], breaks=[1_000_000], etag="", then=Served(CONTENT, etag=""))
    get(path, f"{server.url}/a.pth")
    assert path.read_bytes() == CONTENT and server.asked[-1] == ("/a.pth", None) and len(server.asked) == 3


def test_a_failed_address_and_a_wrong_hash_go_on_to_the_next(server, path, capsys):
    server.files["/wrong.pth"], server.files["/a.pth"] = Served(OTHER), Served(CONTENT)
    get(path, "http://127.0.0.1:9/a.pth", f"{server.url}/none.pth", f"{server.url}/wrong.pth", f"{server.url}/a.pth")
    assert path.read_bytes() == CONTENT and left(path) == ["file.pth"]
    notes = capsys.readouterr().err.splitlines()
    assert [note.partition(": ")[0] for note in notes] == ["note"] * 3
    assert "the connection is refused" in notes[0] and "answers 404" in notes[1] and "its SHA-256 is" in notes[2]
    assert sum(asked == ("/wrong.pth", None) for asked in server.asked) == 1


def test_the_mirror_is_tried_before_the_hosts(server, path, monkeypatch):
    monkeypatch.setenv("HRNET_TF_MIRROR", f"{server.url}/mirror/")
    server.files["/mirror/a.pth"], server.files["/host/a.pth"] = Served(CONTENT), Served(CONTENT)
    get(path, f"{server.url}/host/a.pth")
    assert server.asked == [("/mirror/a.pth", None)]
    path.unlink()
    server.files["/mirror/a.pth"] = Served(OTHER)
    get(path, f"{server.url}/host/a.pth")
    assert path.read_bytes() == CONTENT and server.asked[-1] == ("/host/a.pth", None)


PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"
INSTEAD = {
    "another file": (Served(OTHER), r"its SHA-256 is [0-9a-f]{16}\.\.\., not "),
    "a page": (Served(PAGE), "it is an HTML page, as servers send in place of a file"),
    "a page that says so": (Served(PAGE, headers={"Content-Type": "text/html; charset=utf-8"}), "it is an HTML page"),
    "nothing": (Served(b""), "it is empty"),
    "a pointer": (Served(b"version https://git-lfs.github.com/spec/v1\noid"), "it is a Git LFS pointer"),
    "a refusal": (Served(status=403), "the server answers 403 Forbidden"),
    "a broken server": (Served(status=503), "the server answers 503 Service Unavailable"),
    "redirections for ever": (Served(status=302, headers={"Location": "/a.pth"}), "Exceeded 30 redirects"),
}


@pytest.mark.parametrize("kind", list(INSTEAD))
def test_what_comes_in_place_of_the_file(server, path, kind):
    server.files["/a.pth"], said = INSTEAD[kind]
    line = refusal(path, f"{server.url}/a.pth")
    assert line.startswith(f"error: cannot download NAME: {server.url}/a.pth: ")
    assert line.endswith(f". Fetch it by hand and put it at {path}")
    assert re.search(said, line), line
    assert not [name for name in left(path) if not name.startswith("file.pth.part")]


def test_a_redirection_to_a_page_to_log_in_on(server, path):
    with file_server.running() as other:
        other.files["/login"] = Served(PAGE, headers={"Content-Type": "text/html"})
        server.files["/a.pth"] = Served(status=302, headers={"Location": f"{other.url}/login"})
        line = refusal(path, f"{server.url}/a.pth")
    assert f"as to log in on (redirected to {other.url.removeprefix('http://')})" in line


def test_no_network_and_no_answer(server, path, monkeypatch):
    line = refusal(path, "https://no-such-host.invalid/file-0123abcd.pth")
    assert "https://no-such-host.invalid/file-0123abcd.pth: " in line and f"put it at {path}" in line
    monkeypatch.setattr(download, "_TIMEOUT", (0.2, 0.2))
    server.files["/a.pth"] = Served(hangs=True)
    assert "a.pth: no answer within 0.2 seconds" in refusal(path, f"{server.url}/a.pth")


def test_a_file_without_a_hash_is_taken_when_asked_for_alone(server, path):
    server.files["/a.pth"], server.files["/page"] = Served(CONTENT), Served(PAGE)
    line = refusal(path, f"{server.url}/a.pth", sha256="")
    assert "NAME has no known SHA-256" in line and "--allow_unverified" in line and not server.asked
    assert "an HTML page" in refusal(path, f"{server.url}/page", sha256="", allow_unverified=True)
    get(path, f"{server.url}/a.pth", sha256="", allow_unverified=True)
    assert path.read_bytes() == CONTENT
    with pytest.raises(InputError, match="has no known SHA-256"):
        get(path, f"{server.url}/a.pth", sha256="")


def test_a_damaged_file_in_the_cache_is_replaced_by_a_whole_one_alone(server, path, capsys):
    path.parent.mkdir()
    path.write_bytes(OTHER)
    with pytest.raises(InputError, match="cannot download NAME"):
        get(path, f"{server.url}/a.pth")
    server.files["/a.pth"] = Served(CONTENT)
    get(path, f"{server.url}/a.pth")
    assert path.read_bytes() == CONTENT
    assert "its SHA-256 is" in capsys.readouterr().err


def test_a_file_that_was_put_there_by_hand_is_taken(path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert get(path, "https://no-such-host.invalid/a.pth") == path


def test_a_disk_that_takes_no_more(server, path):
    resource = pytest.importorskip("resource")
    server.files["/a.pth"] = Served(CONTENT)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*file.pth.part: File too large"):
            get(path, f"{server.url}/a.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left(path) == []


@pytest.mark.skipif(os.name != "posix", reason="folders are protected in another way")
def test_a_cache_that_cannot_be_written_to(server, path, tmp_path, monkeypatch):
    server.files["/a.pth"] = Served(CONTENT)
    (tmp_path / "file").write_text("")
    line = refusal(tmp_path / "file" / "a.pth", f"{server.url}/a.pth")
    assert "where downloads are kept: File exists. HRNET_TF_HOME names another folder" in line
    # A user of a machine may read what its administrator has put there.
    get(path, f"{server.url}/a.pth")
    (path.parent / "file.pth.lock").unlink()
    path.parent.chmod(0o555)
    try:
        assert get(path, f"{server.url}/a.pth") == path
        if os.getuid():  # nothing keeps the superuser from writing
            line = refusal(path.with_name("b.pth"), f"{server.url}/a.pth")
            assert "cannot write to" in line and "Permission denied" in line
    finally:
        path.parent.chmod(0o755)


def test_the_user_stops_it(server, path, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    server.files["/a.pth"] = Served(CONTENT)
    with monkeypatch.context() as patched:
        patched.setattr(download.progress, "bar", stop)
        with pytest.raises(KeyboardInterrupt):
            get(path, f"{server.url}/a.pth")
    assert not path.exists()
    get(path, f"{server.url}/a.pth")  # whose lock is free
    assert path.read_bytes() == CONTENT
