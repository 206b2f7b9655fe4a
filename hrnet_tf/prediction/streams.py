"""Cameras and addresses that videos come from, and frames that come whether or not there is time for them."""

import dataclasses
import glob
import re
import sys
import threading
import urllib.parse
from collections.abc import Generator, Iterable
from typing import TypeVar

import av

from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import reason

_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "srt", "tcp")
# Seconds that an answer, and then the next frame, is waited for.
PATIENCE = 10.0
# By TCP frames come whole; what FFmpeg takes by default loses packets of large ones.
_OPTIONS = {"rtsp_transport": "tcp"}
# How FFmpeg calls the cameras of a system, and what it takes for the number n.
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none")}
# How often a consumer that waits for a frame looks whether it is to stop, in seconds.
_LOOK = 0.2

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Stream:
    """A camera, by its number, or an address.

    Attributes:
        address: it.
    """

    address: str

    @property
    def name(self) -> str:
        """The address without a password."""
        return "camera " + self.address if self.is_camera else re.sub(r"//[^/@]*@", "//", self.address)

    @property
    def stem(self) -> str:
        """What files that come of it are called."""
        parts = urllib.parse.urlsplit(self.name)
        path = parts.path.strip("/").rpartition("/")[2].partition(".")[0]
        return re.sub(r"[^\w-]+", "_", path or parts.netloc) or "stream"

    @property
    def is_camera(self) -> bool:
        return self.address.isdecimal()

    def __str__(self) -> str:
        return self.name

    def open(self) -> av.container.InputContainer:
        """Its container.

        Raises:
            InputError: there is no such camera, or nothing comes from the address.
        """
        if self.is_camera:
            return self._open_camera()
        try:
            return av.open(self.address, options=_OPTIONS, timeout=(PATIENCE, PATIENCE), metadata_errors="ignore")
        except (av.FFmpegError, ValueError) as error:
            raise InputError(f"cannot read {self}: {why(error)}. Is the address right, and does it send?") from error

    def _open_camera(self):
        form, template = _CAMERAS.get(sys.platform, ("", ""))
        if not form:
            raise InputError(f"{self}: cameras are read on Linux and macOS alone. Give the address of a stream")
        try:
            return av.open(template.format(self.address), format=form, timeout=(PATIENCE, PATIENCE))
        except (av.FFmpegError, ValueError) as error:
            there = sorted(glob.glob("/dev/video*"))
            raise InputError(
                f"{self} cannot be opened: {why(error)}. Cameras here: {listed(there) or 'none'}"
            ) from error


def stream_of(text: str) -> Stream | None:
    """The `Stream` that a text names: a number, or an address such as rtsp://host/path; None of any other."""
    scheme, separator, rest = text.partition("://")
    is_one = text.isdecimal() or (separator and rest and scheme.lower() in _SCHEMES)
    return Stream(text) if is_one else None


def why(error: BaseException) -> str:
    """What went wrong in reading, in one line."""
    return f"nothing came for {PATIENCE:g} s" if isinstance(error, av.ExitError) else reason(error)


def newest(items: Iterable[T], stop: threading.Event) -> Generator[tuple[int, T], None, None]:
    """Number, from 0, and item: each time the one that came last, without those that there was no time for.

    Args:
        items: iterated by another thread as fast as they come.
        stop: ends this, at once here, and in the other thread with the next item.
    """
    change = threading.Condition()
    waiting: list[tuple[int, T]] = []
    ended: list[BaseException | None] = []

    def read():
        error = None
        try:
            for numbered in enumerate(items):
                with change:
                    waiting[:] = [numbered]
                    change.notify()
                if stop.is_set():
                    break
        except BaseException as raised:
            error = raised
        with change:
            ended.append(error)
            change.notify()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while not stop.is_set():
            with change:
                change.wait_for(lambda: waiting or ended, _LOOK)
                taken = waiting.pop() if waiting else None
            if taken is not None:
                yield taken
            elif ended:
                if ended[0] is not None:
                    raise ended[0]
                return
    finally:
        stop.set()
        thread.join()
