"""Videos written with PyAV (FFmpeg): H.264 in MP4, as browsers play it, with the sound of another video.

Frames are [H,W,3] uint8 RGB.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, reason
from hrnet_tf.prediction.video import Clock, Video, opened

_ENCODER = "libx264"
# Without B-frames, MP4 has the frames in their order and the length of each of them exactly.
_ENCODER_OPTIONS = {"preset": "superfast", "crf": "20", "bf": "0"}
_TIME_BASE = Fraction(1, 90000)  # a multiple of what videos count in, films at 23.976 included
_DEFAULT_LENGTH = 0.04  # of one frame alone, in seconds
# Sound that browsers play from MP4; any other is made AAC.
_SOUND_AS_IT_IS = ("aac", "mp3", "opus", "flac")
_SOUND_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_PRIMING = 0.1  # seconds of sound before the first frame that are kept: what decoders start up with


@contextlib.contextmanager
def video_writer(path: PathLike, source: Video | None = None) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Yields a function (image [H,W,3], time in seconds) that adds a frame to the MP4 file `path`; times increase.

    The first frame gives the size, with an odd side longer by a pixel; later ones of other sizes are fitted into
    it with their proportions, black beside them. A block that ends early leaves no file.

    Args:
        path: of the file.
        source: the video whose frames these are: the copy gets its sound and the length of its last frame. Without it
            there is no sound, and the last frame lasts as long as the one before.

    Raises:
        InputError: the file cannot be written, or this FFmpeg has no H.264 encoder; raised by the first frame.
    """
    copy = _Copy(Path(path), source)
    try:
        yield copy.add
        copy.finish()
    except BaseException:
        copy.abandon()
        raise


class _Copy:
    """An MP4 file that is being written. A frame waits until the next one says how long it lasts."""

    def __init__(self, path: Path, source: Video | None):
        self._path, self._source = path, source
        self._container: av.container.OutputContainer | None = None
        self._sound: _Sound | None = None
        self._waiting: tuple[np.ndarray, float] | None = None
        self._length = _DEFAULT_LENGTH

    def add(self, image: np.ndarray, time: float) -> None:
        with self._writing():
            if self._container is None:
                self._begin(image)
            if self._waiting is not None:
                self._length = time - self._waiting[1]
                self._encode(*self._waiting, self._length)
            self._waiting = _fitted(image, self._width, self._height), time

    def finish(self) -> None:
        if self._container is None or self._waiting is None:
            return
        rest = self._source.end - self._waiting[1] if self._source else self._length
        with self._writing():
            self._encode(*self._waiting, rest)
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._sound.add(None)
                self._sound.close()
            self._container.close()

    def abandon(self) -> None:
        if self._container is None:
            return
        with contextlib.suppress(av.FFmpegError):
            if self._sound:
                self._sound.close()
            self._container.close()
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except av.FFmpegError as error:
            raise InputError(f"cannot write video {self._path}: {reason(error)}") from error

    def _begin(self, image):
        if _ENCODER not in av.codecs_available:
            raise InputError(f"this FFmpeg cannot write H.264, as it lacks {_ENCODER}: install PyAV's own wheel, `av`")
        height, width = image.shape[:2]
        self._width, self._height = width + width % 2, height + height % 2
        self._container = av.open(os.path.abspath(self._path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = stream = self._container.add_stream(_ENCODER, options=_ENCODER_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        context = stream.codec_context
        context.time_base = _TIME_BASE
        context.flags |= av.codec.context.Flags.frame_duration
        # Said, so that players need not guess it by the size.
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._reformatter = VideoReformatter()
        self._sound = _sound_of(self._source, self._container) if self._source else None

    def _encode(self, image, time, length):
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(image, "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.time_base = _TIME_BASE
        frame.pts, frame.duration = round(time / _TIME_BASE), round(length / _TIME_BASE)
        if self._sound:
            self._sound.add(time)
        self._container.mux(self._stream.encode(frame))


def _fitted(image, width, height):
    """The image in another size: an odd side's last pixels doubled, or else scaled and centred on black."""
    rows, columns = image.shape[:2]
    if (rows + rows % 2, columns + columns % 2) == (height, width):
        return cv2.copyMakeBorder(image, 0, height - rows, 0, width - columns, cv2.BORDER_REPLICATE)
    scale = min(width / columns, height / rows)
    columns, rows = max(round(columns * scale), 1), max(round(rows * scale), 1)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    return canvas


def _sound_of(source, output):
    """The `_Sound` of a video for another container, None if it has none; what cannot be kept is warned of."""
    try:
        container = opened(source.path)
        stream = container.streams.best("audio")
        if stream is None:
            container.close()
            return None
        return _Sound(container, stream, source, output)
    except (av.FFmpegError, ValueError) as error:
        warnings.warn(f"video {source.path}: its sound is left out of the copy: {reason(error)}", stacklevel=2)
        return None


class _Sound:
    """The sound of a video on its way into a copy, in step with the frames."""

    def __init__(self, container, stream, source, output):
        self._container, self._stream, self._source, self._output = container, stream, source, output
        if stream.codec_context is None:
            raise ValueError("FFmpeg does not know how it is coded")
        if stream.codec_context.codec.canonical_name in _SOUND_AS_IT_IS:
            self._made = output.add_stream_from_template(stream)
            self._packets = self._copied()
        else:
            rate = stream.codec_context.sample_rate
            self._made = output.add_stream("aac", rate=rate if rate in _SOUND_RATES else max(_SOUND_RATES))
            self._made.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            self._packets = self._coded_anew()
        self._next: tuple[float, av.Packet] | None = None

    def add(self, until: float | None) -> None:
        """Writes what sounds up to a time in seconds, or all that is left."""
        while True:
            self._next = self._next or next(self._packets, None)
            if self._next is None or (until is not None and self._next[0] > until):
                return
            self._output.mux(self._next[1])
            self._next = None

    def close(self) -> None:
        self._packets.close()
        self._container.close()

    def _read(self):
        """The packets with their times in seconds since the first frame."""
        clock = None
        try:
            for packet in self._container.demux(self._stream):
                base = packet.time_base
                clock = clock or Clock(float(packet.duration * base) if packet.duration else _DEFAULT_LENGTH)
                if not packet.size:
                    return
                stamp = packet.pts if packet.dts is None else packet.dts
                time = clock(None if stamp is None else float(stamp * base) - self._source.start)
                if time >= -_PRIMING:
                    yield time, packet
        except (av.FFmpegError, IndexError):  # as in reading the frames, which tells of it
            return

    def _copied(self):
        for time, packet in self._read():
            ahead = (packet.pts or 0) - (packet.dts or 0) if packet.dts is not None else 0
            packet.dts = round(time / packet.time_base)
            packet.pts = packet.dts + ahead
            packet.stream = self._made
            yield time, packet

    def _coded_anew(self):
        rate, kind = self._made.rate, None
        for time, packet in self._read():
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                continue
            for frame in frames:
                if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):  # changes in broadcasts
                    resampler = av.AudioResampler("fltp", self._made.layout, rate)
                frame.pts, frame.time_base = round(time * frame.sample_rate), Fraction(1, frame.sample_rate)
                time += frame.samples / frame.sample_rate
                for part in resampler.resample(frame):
                    yield from ((float(coded.pts / Fraction(rate)), coded) for coded in self._made.encode(part))
        yield from ((float(coded.pts / Fraction(rate)), coded) for coded in self._made.encode(None))
