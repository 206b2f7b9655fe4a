"""Image files into pixels: what OpenCV leaves out is done here, which is orientation, 12 bits and damage.

OpenCV decodes all but undamaged JPEG: libjpeg tells it of damage on stderr, without a file's name, and it goes on.
simplejpeg decodes those to the same pixels and says what libjpeg says.

Shape legend: H and W image.
"""

import io
import re
import struct

import cv2
import numpy as np
import simplejpeg

from hrnet_tf.data.pixels import jpeg_frame

_JPEG, _PNG, _TIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*")
_OTHER_16_BITS = (b"P2", b"P3", b"P5", b"P6", b"\0\0\0\x0cjP  ")  # PGM, PPM and JPEG 2000 hold 8 bits or more
# What libjpeg says of files that it decodes nevertheless.
_DAMAGE = re.compile(r"Corrupt JPEG data|Inconsistent progression|Invalid (?:progressive|component|SOS)|Warning")
# Which colours of JPEG simplejpeg makes RGB of.
_COLORS = ("RGB", "YCbCr", "Gray")
# How many pixels OpenCV takes at most.
_MAX_PIXELS = 1 << 30
_BITS_TAG, _ORIENTATION_TAG = 0x0102, 0x0112
# What turns a picture as stored upright, by EXIF orientation: transposed first, then rows and columns reversed.
_TO_UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# Orientation of AVIF's `irot`, quarter turns against the clock, and of `imir`, 0 for rows and 1 for columns reversed.
_AVIF = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (0, 1): 2, (1, 0): 5, (1, 1): 7, (2, 0): 2, (2, 1): 4, (3, 0): 7, (3, 1): 5,
}  # fmt: skip


def decode(data: bytes, turn: bool) -> tuple[np.ndarray | None, str]:
    """Pixels of an image file.

    Args:
        data: the bytes of the file.
        turn: as its orientation says; else as stored. Every format's is known that OpenCV reads.

    Returns:
        RGB [H,W,3] uint8, None if it cannot be decoded; and what is to be said of the file, such as that it is
        damaged, "" if there is nothing.
    """
    image, note = None, ""
    if data.startswith(_JPEG):
        image, note = _decode_jpeg(data)
        if image is not None and not (turn and b"Exif" in data):
            return image, note
    if data.startswith(_PNG) and not _is_whole_png(data):
        return None, ""
    # OpenCV looks at Exif alone, which AVIF says to disregard where it says itself how to turn.
    of_avif = _avif_orientation(data) if data[4:8] == b"ftyp" else None
    flags = cv2.IMREAD_COLOR_RGB
    if not turn or of_avif:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    encoded = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(encoded, flags) if data else None
        if image is not None and _may_have_16_bits(data):
            deep = cv2.imdecode(encoded, flags | cv2.IMREAD_ANYDEPTH)
            if deep is not None and deep.dtype == np.uint16 and (shift := unused_bits(deep)) < 8:
                image, note = (deep >> shift).astype(np.uint8), twelve_bits_note(shift)
    except cv2.error:  # such as a header that claims more pixels than OpenCV takes
        return None, ""
    if image is None:
        return None, ""
    if data.startswith(_TIFF) and not turn:  # OpenCV turns them always
        image = _as_stored(image, exif_orientation(data))
    if turn and of_avif:
        image = _turned(image, of_avif)
    return image, note


def unused_bits(image: np.ndarray) -> int:
    """By how many bits to shift uint16 values to the right for uint8: 8, or less where they use 12 or 8 bits alone."""
    highest = int(image.max(initial=0))
    if 0 < highest < 1 << 8:
        return 0
    return 4 if 0 < highest < 1 << 12 else 8


def twelve_bits_note(shift: int) -> str:
    """What to say of 16-bit pixels that `unused_bits` gave less than 8 for."""
    bits = 8 + shift
    return f"its 16-bit pixels are all below {1 << bits}: taken for {bits}-bit ones, as they would be black otherwise"


def exif_orientation(data: bytes) -> int:
    """Tag 0x0112, 1 to 8, of the first directory of a TIFF file or EXIF block; 1, upright, where there is none."""
    orientation = _first_short(data, _ORIENTATION_TAG)
    return orientation if orientation in _TO_UPRIGHT else 1


def _first_short(data, wanted):
    """The first number of a tag of 16-bit numbers in the first directory of a TIFF file, None where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, length, value = struct.unpack_from(order + "HHIH", data, place)
            if tag == wanted:
                # More than two of them lie elsewhere.
                (elsewhere,) = struct.unpack_from(order + "I", data, place + 8)
                return value if length <= 2 else struct.unpack_from(order + "H", data, elsewhere)[0]
    except struct.error:  # a directory outside the data
        pass
    return None


def _decode_jpeg(data):
    """RGB [H,W,3] of an undamaged JPEG, else None; and what is to be said of it."""
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in _COLORS or height * width > _MAX_PIXELS:
            return None, ""
        return simplejpeg.decode_jpeg(data, "RGB", strict=True), ""
    except (ValueError, MemoryError) as error:
        if not _DAMAGE.search(str(error)):
            return None, ""
        return None, f"it is damaged, and part of the picture may be wrong ({error}): fetch or export it again"


def decode_reduced(data: bytes, factor: int, turn: bool) -> np.ndarray | None:
    """RGB [H,W,3] uint8 of an undamaged JPEG file at a half, quarter or eighth of its sides, which takes less memory.

    Pixel (x, y) is the mean of about those from `factor` · (x, y) on.

    Args:
        data: the bytes of the file.
        factor: 2, 4 or 8.
        turn: as its orientation says.

    Returns:
        the picture, None where the file is no such.
    """
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in _COLORS:
            return None
        size = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
        image = simplejpeg.decode_jpeg(data, "RGB", **size, min_factor=factor, strict=True)
    except (ValueError, MemoryError):
        return None
    return _turned(image, exif_orientation(jpeg_frame(io.BytesIO(data))[1])) if turn else image


def _is_whole_png(data):
    """Whether all chunks up to the last are in the data: OpenCV allocates what their lengths claim, up to 4 GB."""
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if kind == b"IEND":
            return place <= len(data)
    return False


def _may_have_16_bits(data):
    if data.startswith(_TIFF):
        return _first_short(data, _BITS_TAG) == 16
    return data.startswith(_OTHER_16_BITS) or (data.startswith(_PNG) and data[24:25] == b"\x10")


def _turned(image, orientation):
    """A picture as stored, turned upright."""
    transpose, rows, columns = _TO_UPRIGHT[orientation]
    image = image.transpose(1, 0, 2) if transpose else image
    return np.ascontiguousarray(image[:: -1 if rows else 1, :: -1 if columns else 1])


def _as_stored(image, orientation):
    """An upright picture, turned back."""
    transpose, rows, columns = _TO_UPRIGHT[orientation]
    image = image[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(image.transpose(1, 0, 2) if transpose else image)


def _avif_orientation(data):
    """The EXIF orientation that the boxes `irot` and `imir` of an AVIF file come to, None where it has none."""
    rotation, mirror = (re.search(b"\0\0\0\x09" + name + b"([\0-\x03])", data[:65536]) for name in (b"irot", b"imir"))
    if not rotation and not mirror:
        return None
    return _AVIF.get((rotation[1][0] if rotation else 0, mirror[1][0] if mirror else None))
