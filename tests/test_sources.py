"""Paths as they are typed: lists, patterns, folders, streams; frames that come whether or not there is time."""

import contextlib
import itertools
import sys
import threading
import time

import av
import numpy as np
import pytest
from videos import write_clip

from hrnet_tf import InputError, visualize
from hrnet_tf.prediction import sources
from hrnet_tf.prediction.streams import Stream, newest, stream_of
from hrnet_tf.prediction.video import open_video

SOON = 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images a.png and b.png, sub/c.png, clips 1.mp4 and sub/2.mp4, an empty file, a text."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/b.png", "in/sub/c.png"):
        visualize.write_image(name, np.zeros((20, 30, 3), np.uint8))
    write_clip(tmp_path / "in" / "1.mp4", count=2)
    write_clip(tmp_path / "in" / "sub" / "2.mp4", count=2)
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "notes.txt").write_text("no path\n")
    return tmp_path


def found(*paths, **options):
    bad = []
    images, videos = sources.find(paths, bad.append, **options)
    return [str(path) for path in images], [str(path) for path in videos], [str(error) for error in bad]


def test_folders_have_images_and_videos(folder):
    images, videos, bad = found("in")
    assert (images, videos) == (["in/a.png", "in/b.png"], ["in/1.mp4"])
    assert len(bad) == 2 and "empty.jpg" in bad[0] and "notes.txt" in bad[1]
    images, videos, _ = found("in", recursive=True)
    assert (images, videos) == (["in/a.png", "in/b.png", "in/sub/c.png"], ["in/1.mp4", "in/sub/2.mp4"])
    assert found("in/sub", "in/b.png", "in/sub/c.png")[:2] == (["in/sub/c.png", "in/b.png"], ["in/sub/2.mp4"])


def test_patterns_that_the_shell_has_left(folder):
    assert found("in/*.png")[:2] == (["in/a.png", "in/b.png"], [])
    assert found("in/**/*.[mp][pn][4g]")[:2] == (["in/a.png", "in/b.png", "in/sub/c.png"], ["in/1.mp4", "in/sub/2.mp4"])
    with pytest.raises(InputError, match=r"in/\*.tif: nothing matches this pattern"):
        found("in/*.tif")
    visualize.write_image("in/[x].png", np.zeros((20, 30, 3), np.uint8))
    assert found("in/[x].png")[0] == ["in/[x].png"]


def test_lists_have_a_path_a_line(folder):
    (folder / "list.txt").write_text(
        "\ufeffin/b.png\n\n# in/a.png\n  in/1.mp4\nin/gone.png\nin/empty.jpg\nin/sub\n", "utf-8"
    )
    images, videos, bad = found("list.txt")
    assert (images, videos) == (["in/b.png", "in/sub/c.png"], ["in/1.mp4", "in/sub/2.mp4"])
    assert bad[0] == "in/gone.png does not exist" and "empty.jpg" in bad[1] and len(bad) == 2
    (folder / "none.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"none\.txt: a list of paths, one a line, without any"):
        found("none.txt")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot read binary\.txt as a list of paths"):
        found("binary.txt")


def test_what_is_typed_must_be_there_and_something_must_be_readable(folder):
    for path in ("in/gone.png", "gone"):
        with pytest.raises(InputError, match=f"{path} does not exist"):
            found("in", path)
    assert found("in/a.png", "in/empty.jpg")[0] == ["in/a.png"]
    (folder / "nothing").mkdir()
    for paths in (["in/empty.jpg"], ["in/a.png", "nothing"], ["in/notes.txt"]):
        with pytest.raises(InputError, match="no image can be read there"):
            found(*paths)


def test_addresses_and_numbers_are_streams(folder):
    assert found("0", "rtsp://user:secret@host:554/live/ch1?x=1")[1] == ["camera 0", "rtsp://host:554/live/ch1?x=1"]
    stems = {"0": "camera_0", "rtsp://u:p@host:554/live/ch1.sdp?x=1": "ch1", "http://127.0.0.1:80/": "127_0_0_1_80"}
    assert {text: stream_of(text).stem for text in stems} == stems
    for text in ("photo.jpg", "a:b", "12:30.mp4", "c://x", "-1", ""):
        assert stream_of(text) is None
    visualize.write_image("7.png", np.zeros((20, 30, 3), np.uint8))
    (folder / "7.png").rename("7")
    assert found("7")[:2] == (["7"], [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cameras are files on Linux alone")
def test_a_camera_and_an_address_that_are_not_there_are_one_line():
    with pytest.raises(InputError, match=r"camera 77 cannot be opened: No such file or directory. Cameras here: "):
        Stream("77").open()
    with pytest.raises(InputError, match=r"cannot read rtsp://127.0.0.1:9/x: Connection refused"):
        Stream("rtsp://me:secret@127.0.0.1:9/x").open()


def test_a_camera_is_read_as_a_stream(monkeypatch):
    """FFmpeg's test pattern in the place of a camera."""
    monkeypatch.setitem(
        __import__("hrnet_tf").prediction.streams._CAMERAS, "linux", ("lavfi", "testsrc=d={}:r=10:s=64x48")
    )
    with (
        pytest.warns(UserWarning, match="camera 1: 10 frames could be read, 1 s: it has ended"),
        open_video(Stream("1")) as video,
    ):
        frames = list(video)
    assert video.is_live and len(frames) == 10 and frames[3].image.shape == (48, 64, 3)
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(10)])


def test_the_newest_item_comes_and_others_are_left_out():
    stop, release, taken = threading.Event(), threading.Semaphore(0), []

    def items():
        for i in itertools.count():
            if i > 2:
                release.acquire()
            yield i

    with contextlib.closing(newest(items(), stop)) as found:
        taken.append(next(found))
        for _ in range(5):  # of 3 to 7, while nobody asks
            release.release()
        deadline = time.monotonic() + SOON
        while taken[-1][0] < 7 and time.monotonic() < deadline:
            taken.append(next(found))
        assert taken[-1] == (7, 7) and [i for i, _ in taken] == sorted({i for i, _ in taken})
        stop.set()
        release.release()
        assert next(found, None) is None


def test_the_newest_passes_errors_and_the_end_on():
    assert [i for i, _ in newest(iter([5]), threading.Event())] == [0]

    def broken():
        yield 1
        raise av.FFmpegError(1, "broken")

    with pytest.raises(av.FFmpegError):
        list(newest(broken(), threading.Event()))
