"""Frames of videos, read and written with OpenCV. Frames are [H,W,3] uint8 RGB."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from hrnet_tf import first_bytes
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")

# Of videos that do not say how many frames a second they have, and the most that is believed.
_DEFAULT_FPS, _MAX_FPS = 25.0, 1000.0
_MAX_FRAMES = 1e9
# The announced rate is compared with that of so many frames, and is kept if they differ by less than this share.
_LOOKED_AT_FRAMES, _SAME_RATE = 50, 0.05


def is_video(path: PathLike) -> bool:
    """Whether the path is a video's, by its first bytes or, where those do not tell, by its suffix."""
    head = _head(Path(path))
    if first_bytes.is_video(head):
        return True
    return Path(path).suffix.lower() in VIDEO_SUFFIXES and not first_bytes.is_image(head)


@contextlib.contextmanager
def open_video(path: PathLike) -> Iterator[tuple[Iterator[np.ndarray], float, int]]:
    """Yields an iterator over the frames of a video, the frames per second and how many frames the file announces.

    Where the rate that the file announces is not that of its first frames' times, as in videos of variable rate,
    it is taken from the times of all frames, so that a copy is as long as the original; that is said.

    Raises:
        InputError: `path` does not exist or is no video.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"video {path} does not exist")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            kind = first_bytes.what_it_is(_head(path))
            is_one = not kind or kind.endswith(" video")
            why = f"truncated or not a video ({path.stat().st_size} bytes)" if is_one else f"it is {kind}"
            raise InputError(f"cannot decode video {path}: {why}")
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        count = int(announced) if 0 < announced < _MAX_FRAMES else 0  # neither NaN
        fps, counted = _frame_rate(path, capture.get(cv2.CAP_PROP_FPS))
        yield _frames(capture), fps, counted or count
    finally:
        capture.release()


def _frame_rate(path: Path, announced: float) -> tuple[float, int]:
    """The frames per second to go by, and how many frames there are if they had to be counted, else 0."""
    plausible = 0 < announced <= _MAX_FPS  # not of NaN
    measured, _ = _measured_rate(path, _LOOKED_AT_FRAMES)
    if plausible and (not measured or abs(measured / announced - 1) < _SAME_RATE):
        return announced, 0
    count = 0
    if measured:
        measured, count = _measured_rate(path, None)
    fps = measured if 0 < measured <= _MAX_FPS else announced if plausible else _DEFAULT_FPS
    said = f"announces {announced:g} frames a second" if math.isfinite(announced) else "announces no frame rate"
    source = "by the times of its frames" if measured else "as there is nothing to tell it by"
    warnings.warn(f"video {path} {said}: {fps:.4g} are taken, {source}", stacklevel=4)
    return fps, count


def _measured_rate(path: Path, limit: int | None) -> tuple[float, int]:
    """The mean rate of the first `limit` frames, or of all, by their times, 0 if these do not tell; and how many."""
    capture = cv2.VideoCapture(str(path))
    times: list[float] = []
    try:
        while (limit is None or len(times) < limit) and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    finally:
        capture.release()
    lasted = times[-1] - times[0] if len(times) > 1 else 0.0
    return ((len(times) - 1) * 1000 / lasted if lasted > 0 else 0.0), len(times)


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(first_bytes.LOOKED_AT)
    except OSError:
        return b""


@contextlib.contextmanager
def video_writer(path: PathLike, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields a function that adds a frame to the MPEG-4 file `path`; sides are cut to even numbers.

    Raises:
        InputError: OpenCV cannot write it; raised by the first frame.
    """
    writer: cv2.VideoWriter | None = None

    def write(frame):
        nonlocal writer
        if writer is None:
            height, width = frame.shape[:2]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
            if not writer.isOpened():
                raise InputError(f"this OpenCV cannot write MPEG-4 video of {width}x{height} pixels")
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    try:
        yield write
    finally:
        if writer is not None:
            writer.release()


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    success, image = capture.read()
    while success:
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        success, image = capture.read()
