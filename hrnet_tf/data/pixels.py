"""How many pixels an image may have: told from its header, so that a small file cannot ask for gigabytes.

Of formats whose header is not known here OpenCV decodes up to 2^30 pixels, and `read_image` counts afterwards.
"""

import io
import re
import struct
from typing import BinaryIO

from hrnet_tf.errors import InputError

# An image of so many takes 600 MB in memory, and as much again to be turned.
DEFAULT_MAX_PIXELS = 200_000_000
# OpenCV's `warpAffine` ends the process where an image has more than 2^31 bytes, at 3 bytes a pixel.
HIGHEST_MAX_PIXELS = (1 << 31) // 3
# JPEG markers that hold a frame's size: SOF0 to SOF15 but for DHT, JPG and DAC.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNM = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s")
_PAM = re.compile(rb"P7\n.{0,200}?WIDTH (\d{1,9})\nHEIGHT (\d{1,9})\n", re.DOTALL)
_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101
_max_pixels = DEFAULT_MAX_PIXELS


class TooManyPixelsError(InputError):
    """An image has more pixels than `limit_pixels` allows."""


def limit_pixels(count: int) -> None:
    """Sets how many pixels an image may have that this process reads, from 1 to `HIGHEST_MAX_PIXELS`."""
    global _max_pixels  # of the process, as OpenCV's own limit
    if not 1 <= count <= HIGHEST_MAX_PIXELS:
        raise ValueError(f"`count` must be from 1 to {HIGHEST_MAX_PIXELS}. Received: {count}")
    _max_pixels = count


def check_pixels(size: tuple[int, int] | None, name: object) -> None:
    """Raises TooManyPixelsError if `size` (width, height), of an image called `name`, has more pixels than allowed."""
    if size is not None and size[0] * size[1] > _max_pixels:
        raise TooManyPixelsError(
            f"{name} has {size[0]} x {size[1]} pixels, more than {_max_pixels}. Make it smaller, or allow more: "
            "--max_pixels, in Python hrnet_tf.data.pixels.limit_pixels"
        )


def stored_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that the header of an image file claims, None where there is none or the format is another."""
    try:
        if data.startswith(b"\xff\xd8"):
            size, _ = jpeg_frame(io.BytesIO(data))
            return size
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith(b"GIF8"):
            return struct.unpack_from("<HH", data, 6)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data[4:8] == b"ftyp":  # AVIF: of the picture and of its tiles
            sizes = [struct.unpack(">II", found) for found in re.findall(rb"ispe.{4}(.{8})", data[:65536], re.DOTALL)]
            return max(sizes, key=lambda size: size[0] * size[1], default=None)
        if (start := data.find(b"\xff\x4f\xff\x51")) >= 0 and (start == 0 or data[4:8] == b"jP  "):
            return struct.unpack_from(">II", data, start + 8)
    except struct.error:  # it is cut off
        return None
    text = _PNM.match(data) or _PAM.match(data)
    return (int(text[1]), int(text[2])) if text else None


def jpeg_frame(file: BinaryIO) -> tuple[tuple[int, int] | None, bytes]:
    """(width, height) of a JPEG file, None where it has none, and its EXIF block, b"" where it has none."""
    file.seek(2)
    exif = b""
    while len(start := file.read(4)) == 4 and start[0] == 0xFF:
        marker, length = start[1], struct.unpack(">H", start[2:])[0]
        segment = file.read(length - 2) if length >= 2 else b""
        if marker in _FRAMES and len(segment) >= 5:
            height, width = struct.unpack(">HH", segment[1:5])
            return (width, height), exif
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif = segment[6:]
    return None, exif


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _tiff(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    found = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 8)
    return (found[_TIFF_WIDTH], found[_TIFF_HEIGHT]) if len(found) == 2 else None


def _webp(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None
