"""Frames of videos, read with PyAV (FFmpeg). Frames are [H,W,3] uint8 RGB, as they are looked at."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import VideoReformatter

from hrnet_tf import first_bytes
from hrnet_tf.data.pixels import check_pixels
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable
from hrnet_tf.prediction.streams import Stream, why

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".m4v",
    ".3gp",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".ts",
    ".mts",
)

# Of videos that do not say how many frames a second they have, and the most that is believed.
_DEFAULT_RATE, _MAX_RATE = 25.0, 1000.0
# Seconds: times that go back by more begin anew, as where files were joined; by less, they are out of order.
_BEGINS_ANEW = 0.5
_LEAST_STEP = 0.0001
# A video that ends earlier than it announces, by more frames and more seconds (the last packets of sound may say no
# length), breaks off.
_MISSING_FRAMES, _MISSING_SECONDS = 1.5, 0.1


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        image: [H,W,3] uint8 RGB, turned as the video's display matrix says.
        time: seconds since the first frame; later frames have greater times.
    """

    image: np.ndarray
    time: float


class Clock:
    """Makes the times of frames or packets increase, in seconds.

    What has no time comes the mean distance after the last one, and so does what begins anew after an end.
    """

    def __init__(self, distance: float):
        """
        Args:
            distance: between frames in seconds, until there are two.
        """
        self._distance = distance
        self._offset = self._first = self._last = 0.0
        self._count = 0

    @property
    def distance(self) -> float:
        """The mean distance so far."""
        return (self._last - self._first) / (self._count - 1) if self._count > 1 else self._distance

    def __call__(self, time: float | None) -> float:
        """The time to take for what says `time`, or None where it says nothing."""
        following = self._last + self.distance if self._count else 0.0
        taken = following if time is None else time + self._offset
        if not self._count:
            self._first = taken
        elif time is not None and taken < self._last - _BEGINS_ANEW:
            self._offset, taken = following - time, following
        elif taken < self._last + _LEAST_STEP:
            taken = self._last + _LEAST_STEP
        self._last = taken
        self._count += 1
        return taken


class Video:
    """The frames of an open video, in the order in which they are shown; iterated once.

    What of a damaged file can be decoded comes, and a warning at the end says what does not.

    Attributes:
        path: of the file, or the `Stream`.
        is_live: whether frames come in their time, and without an end that is known.
        announced: how many frames the file announces, 0 where it does not.
        start: what the file's own clock says at the first frame, in seconds; known from that on.
        end: when the last frame read so far ends, in seconds since the first one's beginning.
    """

    def __init__(
        self,
        path: Path | Stream,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        tells: bool = True,
    ):
        self.path, self._tells = path, tells
        self.is_live = isinstance(path, Stream) and (path.is_camera or not container.duration)
        self.announced = stream.frames
        self._is_mp4 = "mp4" in container.format.name.split(",")
        if self._is_mp4 and stream.frames:
            self.announced = min(stream.frames, len(stream.index_entries))  # without those that its edit list cuts off
        self.start = self.end = 0.0
        self._container, self._stream = container, stream
        rate = float(stream.guessed_rate or 0)
        self._clock = Clock(1 / (rate if 0 < rate <= _MAX_RATE else _DEFAULT_RATE))
        self._file_end = 0.0  # on the file's own clock, by the packets of all that it holds
        self._frames = self._packets = self._damaged = self._lost = 0
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Frame]:
        reformatter = VideoReformatter()  # keeps its tables, which each frame by itself would make again
        for frame in self._decoded():
            check_pixels((frame.width, frame.height), f"video {self.path}")
            base = frame.time_base or 0
            time = None if frame.pts is None else float(frame.pts * base)
            if not self._frames:
                self.start = time or 0.0
            time = self._clock(None if time is None else time - self.start)
            length = float(frame.duration * base) if frame.duration else 0.0
            self.end = time + (length if length >= _LEAST_STEP else self._clock.distance)
            self._frames += 1
            self._damaged += frame.is_corrupt
            yield Frame(_turned(reformatter.reformat(frame, format="rgb24").to_ndarray(), _matrix(frame)), time)
        if self._tells:
            self._tell()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, IndexError) as error:  # IndexError: PyAV meets a stream that came up on the way
                self._error = error if isinstance(error, av.FFmpegError) else None
                return
            if packet is None:
                return
            if packet.pts is not None:
                self._file_end = max(self._file_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self._stream.index:  # `stream_index` of the last, empty packets is 0
                continue
            self._packets += packet.size > 0
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                self._lost += 1
                continue
            yield from frames

    def _tell(self):
        """Warns of what the file announces or holds and could not be read."""
        wrong = []
        if not self.is_live and self._breaks_off():
            wrong.append("it breaks off before the end that it announces")
        if self._error is not None:
            wrong.append(f"it cannot be read further ({why(self._error)})")
        elif self.is_live:
            wrong.append("it has ended")
        if self._lost:
            wrong.append(f"packets that could not be decoded: {self._lost}")
        if self._damaged:
            wrong.append(f"damaged among these frames: {self._damaged}")
        if self._frames and wrong:
            count = f"{self._frames} of {self.announced}" if self.announced > self._frames else f"{self._frames}"
            line = f"video {self.path}: {count} frames could be read, {self.end:.4g} s: {'; '.join(wrong)}"
            warnings.warn(line, stacklevel=2)

    def _breaks_off(self) -> bool:
        if self._is_mp4 and self.announced:
            return self._packets < self.announced
        announced = (self._container.duration or 0) / av.time_base  # from 0, wherever the first frame is
        if self._container.format.name == "avi":  # there FFmpeg takes the length from what the file has
            announced = max(announced, self.start + self.announced * self._clock.distance)
        missing = announced - max(self._file_end, self.start + self.end)
        return missing > max(_MISSING_FRAMES * self._clock.distance, _MISSING_SECONDS)


def is_video(path: PathLike) -> bool:
    """Whether the path is a video's, by its first bytes or, where those do not tell, by its suffix.

    Raises:
        InputError: `path` is a pipe or a device.
    """
    check_readable(path)
    head = _head(Path(path))
    if first_bytes.is_video(head):
        return True
    return Path(path).suffix.lower() in VIDEO_SUFFIXES and not first_bytes.is_image(head)


@contextlib.contextmanager
def open_video(path: PathLike | Stream, tells: bool = True) -> Iterator[Video]:
    """Yields the `Video` of a file, camera or address, whose frames stream: its length takes no memory.

    Args:
        path: of the file, or a `Stream`.
        tells: whether to warn at the end of what cannot be read.

    Raises:
        InputError: `path` does not exist or is no video, or nothing comes from there.
    """
    path = path if isinstance(path, Stream) else Path(path)
    with path.open() if isinstance(path, Stream) else _opened_file(path) as container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            has = "sound alone" if container.streams.audio else "neither pictures nor sound"
            raise InputError(f"cannot decode video {path}: it has {has}")
        if stream.codec_context is None:
            raise InputError(f"cannot decode video {path}: FFmpeg does not know how its pictures are coded")
        stream.thread_type = (
            "SLICE"  # threads for whole frames lose the last ones, unsaid, where one of them is damaged
        )
        yield Video(path, container, stream, tells)


def opened(path: PathLike | Stream) -> av.container.InputContainer:
    """The container of a file or address; raises `av.FFmpegError`.

    FFmpeg takes `12:30.mp4` for an address, but no whole path.
    """
    return path.open() if isinstance(path, Stream) else av.open(os.path.abspath(path), metadata_errors="ignore")


def _opened_file(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise InputError(f"video {path} does not exist")
    try:
        return opened(path)
    except av.FFmpegError as error:
        kind = first_bytes.what_it_is(_head(path))
        is_one = not kind or kind.endswith(" video")
        text = f"truncated or not a video ({path.stat().st_size} bytes)" if is_one else f"it is {kind}"
        raise InputError(f"cannot decode video {path}: {text}") from error


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(first_bytes.LOOKED_AT)
    except OSError:
        return b""


def _matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """[2,2] of the display matrix, which maps (x, y) of the stored frame to (x, y) @ matrix, or None without one."""
    found = frame.side_data.get("DISPLAYMATRIX")
    return np.frombuffer(bytes(found), np.int32, 9).reshape(3, 3)[:2, :2] if isinstance(found, SideData) else None


def _turned(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """The image turned and mirrored by a display matrix, to the nearest right angle."""
    if matrix is None:
        return image
    size = np.abs(matrix.astype(np.int64))
    if np.trace(size) < size.sum() - np.trace(size):
        image, matrix = image.swapaxes(0, 1), matrix[::-1]
    return np.ascontiguousarray(image[:: 1 if matrix[1, 1] >= 0 else -1, :: 1 if matrix[0, 0] >= 0 else -1])
