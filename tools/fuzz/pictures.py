"""Readers of images and videos."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fuzz import mutate
from fuzz.reader import Reader

_SIZE = (48, 64)  # height, width
# By the ending of the file, codecs that FFmpeg writes it with.
_VIDEOS = {
    ".mp4": ("libx264", "mpeg4"),
    ".mov": ("libx264", "prores_ks"),
    ".avi": ("mjpeg", "mpeg4", "ffv1"),
    ".mkv": ("libx265", "libvpx"),
    ".webm": ("libvpx-vp9",),
    ".mpg": ("mpeg2video", "mpeg1video"),
    ".ts": ("libx264",),
    ".flv": ("flv",),
    ".wmv": ("wmv2",),
    ".gif": ("gif",),
}


def _pixels(seed: int = 0) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(seed).integers(0, 256, (*_SIZE, 3), np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 3)


def image_files(folder: Path | None = None) -> list[bytes]:
    """An image in every format and kind of pixels that OpenCV and Pillow write."""
    return [*_by_opencv(), *_by_pillow()]


def _by_opencv() -> Iterator[bytes]:
    import cv2

    colour = _pixels()
    grey, deep = colour[..., 0], colour.astype(np.uint16) * 257
    alpha = np.dstack([colour, grey])
    sixteen_bits = [(suffix, deep) for suffix in (".png", ".tiff", ".jp2", ".ppm")]
    formats = (".jpg", ".png", ".gif", ".bmp", ".tiff", ".webp", ".jp2", ".avif", ".ppm", ".pam", ".sr", ".hdr")
    for suffix, image in [
        *((suffix, colour) for suffix in formats),
        *((suffix, grey) for suffix in (".jpg", ".png", ".pgm", ".pbm", ".tiff")),
        *((suffix, alpha) for suffix in (".png", ".tiff", ".webp")),
        *sixteen_bits,
        (".png", deep // 16),
    ]:
        good, data = cv2.imencode(suffix, image)
        if good:
            yield data.tobytes()
    yield cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    yield cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    yield cv2.imencode(".webp", colour, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


def _by_pillow() -> Iterator[bytes]:
    """CMYK, palettes, a bit a pixel, EXIF, several frames, other compressions of TIFF."""
    from PIL import Image

    image = Image.fromarray(_pixels())
    exif = Image.Exif()
    exif[0x0112] = 6
    palette, other = image.quantize(16), Image.fromarray(_pixels(1))
    for kind, picture, options in [
        ("JPEG", image.convert("CMYK"), {}),
        ("JPEG", image, {"exif": exif, "subsampling": 0}),
        ("PNG", palette, {}),
        ("PNG", image.convert("1"), {}),
        ("PNG", image.convert("LA"), {}),
        ("PNG", image, {"exif": exif}),
        ("PNG", image, {"save_all": True, "append_images": [other]}),
        ("GIF", palette, {"save_all": True, "append_images": [other.quantize(8)]}),
        ("TIFF", image.convert("CMYK"), {}),
        ("TIFF", palette, {}),
        ("TIFF", image, {"compression": "tiff_lzw"}),
        ("TIFF", image, {"compression": "jpeg"}),
        ("TIFF", image, {"compression": "tiff_deflate", "exif": exif}),
        ("TIFF", image.convert("1"), {"compression": "group4"}),
        ("WEBP", image, {"exif": exif}),
        ("WEBP", image, {"save_all": True, "append_images": [other]}),
        ("BMP", palette, {}),
        ("MPO", image, {"save_all": True, "append_images": [other]}),
    ]:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield file.getvalue()


def _read_image(path: Path) -> None:
    from hrnet_tf.data.header import read_header
    from hrnet_tf.data.records import read_image
    from hrnet_tf.prediction.video import is_video

    read_header(path)
    is_video(path)
    for turn in (False, True):
        image = read_image(path, turn, note=str)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


def _video_files(folder: Path) -> list[bytes]:
    kept = folder / "valid"
    if not kept.exists():
        kept.mkdir()
        for suffix, codecs in _VIDEOS.items():
            for codec in codecs:
                _write_clip(kept / f"{codec}{suffix}", codec)
    return [path.read_bytes() for path in sorted(kept.iterdir())]


def _write_clip(path: Path, codec: str) -> None:
    """Eight frames, and in some a tone."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "4"})
        stream.height, stream.width = _SIZE
        stream.pix_fmt = next(iter(stream.codec_context.codec.video_formats)).name
        if path.suffix == ".mp4":
            stream.set_display_rotation(90)
        tone = container.add_stream("aac", rate=48000) if codec == "libx264" else None
        for i in range(8):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(_pixels(i), "rgb24").reformat(format=stream.pix_fmt))
            )
            if tone:
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.float32), "fltp", "mono")
                sound.sample_rate = 48000
                container.mux(tone.encode(sound))
        for made in filter(None, (stream, tone)):
            container.mux(made.encode(None))


def _read_video(path: Path) -> None:
    from hrnet_tf.prediction.video import open_video

    with open_video(path) as video:
        for frame in video:
            assert frame.image.dtype == np.uint8 and frame.image.size


READERS = {
    "images": Reader("images of all formats", "image.bin", image_files, mutate.of_image, _read_image),
    "videos": Reader("videos", "video.bin", _video_files, mutate.of_bytes, _read_video),
}
