"""Frames of videos, read and written with OpenCV. Frames are [H,W,3] uint8 RGB."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")

# Of videos that do not say how many frames a second they have, and the most that is believed.
_DEFAULT_FPS, _MAX_FPS = 25.0, 1000.0


def is_video(path: PathLike) -> bool:
    """Whether the path is a video's, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@contextlib.contextmanager
def open_video(path: PathLike) -> Iterator[tuple[Iterator[np.ndarray], float, int]]:
    """Yields an iterator over the frames of a video, the frames per second and how many frames the file announces.

    Raises:
        InputError: `path` does not exist or is no video.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"video {path} does not exist")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"cannot decode video {path}: truncated or not a video ({path.stat().st_size} bytes)")
        fps = capture.get(cv2.CAP_PROP_FPS)
        if not 0 < fps <= _MAX_FPS:  # also NaN
            fps = _DEFAULT_FPS
        yield _frames(capture), fps, max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()


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
