"""Videos made for tests, by PyAV alone, and read again by it alone."""

from fractions import Fraction

import av
import numpy as np

TICKS = 90000
CORNERS = [(220, 20, 20), (20, 200, 20), (20, 20, 220), (235, 235, 235)]  # top left and right, bottom left and right


def picture(i, size=(96, 64)):
    """Frame i [H,W,3]: a grey of its own, a colour in each corner, and noise between, so that it takes some bytes."""
    width, height = size
    image = np.full((height, width, 3), 30 + 15 * i, np.uint8)
    image[16:26] = np.random.default_rng(i).integers(0, 256, (10, width, 3), np.uint8)
    for (rows, columns), colour in zip(
        [(np.s_[:16], np.s_[:16]), (np.s_[:16], np.s_[-16:]), (np.s_[-16:], np.s_[:16]), (np.s_[-16:], np.s_[-16:])],
        CORNERS,
        strict=True,
    ):
        image[rows, columns] = colour
    return image


def number_of(image):
    """Which frame's grey the middle of an image has."""
    height, width = image.shape[:2]
    return round((image[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4].mean() - 30) / 15)


def corners_of(image):
    """Which of CORNERS' colours are top left, top right, bottom left and bottom right in an image."""
    places = [(5, 5), (5, -6), (-6, 5), (-6, -6)]
    colours = np.array([image[place] for place in places], int)
    return [int(np.abs(np.array(CORNERS) - colour).sum(axis=1).argmin()) for colour in colours]


def write_clip(
    path,
    codec="libx264",
    times=None,
    count=12,
    size=(96, 64),
    sound=None,
    sound_at=0,
    layout="mono",
    turned=None,
    rate=10,
    movflags="",
):
    """Writes pictures at 10 frames a second or at `times`.

    `sound` names a codec for a tone of 440 Hz from `sound_at` on, in seconds; `turned` are arguments of
    `set_display_rotation`; `rate` is what the file announces, None for nothing.
    """
    times = [i / 10 for i in range(count)] if times is None else times
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "6"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if rate is None:
            stream.codec_context.framerate = Fraction(0)
        if rate in (None, 10) and path.suffix != ".avi":
            stream.codec_context.time_base = Fraction(1, TICKS)
        if turned:
            stream.set_display_rotation(*turned)
        tone = container.add_stream(sound, rate=48000) if sound else None
        if tone:
            tone.layout = layout
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, size), "rgb24")
            frame.time_base, frame.pts = Fraction(1, TICKS), round(time * TICKS)
            container.mux(stream.encode(frame))
            if tone:
                container.mux(tone.encode(_tone(i * 4800 + round(sound_at * 48000), 4800)))
        for made in [stream, tone] if tone else [stream]:
            container.mux(made.encode(None))
    return path


def _tone(start, count):
    wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(start, start + count) / 48000)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], "s16", "mono")
    frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), start
    return frame


def read_clip(path):
    """(images, times in seconds, length of the pictures in seconds) of a video, as stored."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(stream)]
        length = float(stream.duration * stream.time_base) if stream.duration else None
    return [image for image, _ in frames], [time for _, time in frames], length


def read_sound(path):
    """(name of the codec, samples [n] of the first channel from -1 to 1, samples a second, time of the first)."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", "mono")
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return stream.codec_context.codec.canonical_name, samples, frames[0].sample_rate, frames[0].time


def sound_packets(path):
    """What a video's sound is coded as: [(time in seconds, bytes)]."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets if packet.size]
