"""What a file is, told from how it begins: for the message about a file that is something else than was wanted."""

import re

# How many bytes `what_it_is` looks at.
LOOKED_AT = 512

_IMAGES = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"GIF8": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
}
_VIDEOS = {
    b"\x1a\x45\xdf\xa3": "a WebM or Matroska video",
    b"\0\0\x01\xba": "an MPEG video",
    b"\0\0\x01\xb3": "an MPEG video",
    b"\x30\x26\xb2\x75": "a Windows Media video",
}
_UNPACK = "unpack it and give the file inside"
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer in place of the file: `git lfs pull` fetches the file itself",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": f"compressed by gzip: {_UNPACK}",
    b"BZh": f"compressed by bzip2: {_UNPACK}",
    b"\xfd7zXZ\0": f"compressed by xz: {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"compressed by zstd: {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive: {_UNPACK}",
    b"Rar!": f"a RAR archive: {_UNPACK}",
    b"PK\x03\x04": f"a zip archive: {_UNPACK}",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes weights and MATLAB its version 7.3",
    b"MATLAB 5.0": "a MATLAB file",
    b"\x93NUMPY": "an array of numpy",
    b"\x80\x02": "a pickle of Python",
    b"\x80\x03": "a pickle of Python",
    b"\x80\x04": "a pickle of Python",
    b"\x80\x05": "a pickle of Python",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8",
}
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.{0,200}?-->\s*)?<(?:!doctype html|html|head|body)\b", re.I | re.S)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def what_it_is(head: bytes) -> str:
    """What a file is, and what to do about it where that is the same for everybody.

    Args:
        head: its first `LOOKED_AT` bytes, or all of it if it has fewer.

    Returns:
        what can follow "it is", such as "a Git LFS pointer in place of the file: `git lfs pull` fetches the file
        itself"; "" where that cannot be told.
    """
    if not head:
        return "empty"
    if not head.strip(b"\0"):
        return "nothing but zeros: copy or download it again"
    for table in (_IMAGES, _VIDEOS, _OTHERS):
        for start, name in table.items():
            if head.startswith(start):
                return name
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "a BMP image"
    if _PAGE.match(head):
        return "an HTML page, as servers send in place of a file: download the file itself"
    if head[4:8] == b"ftyp":
        return _of_brand(head)
    if head[:4] == b"RIFF":
        return {b"WEBP": "a WebP image", b"AVI ": "an AVI video"}.get(head[8:12], "")
    if head[257:262] == b"ustar":
        return f"a tar archive: {_UNPACK}"
    if re.match(rb"[\[{]\0|\0[\[{]", head):
        return _OTHERS[b"\xff\xfe"]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"["):
        return "text in JSON"
    return "an XML file" if start.startswith(b"<?xml") else ""


def is_image(head: bytes) -> bool:
    """Whether a file that begins with `head` is an image by its first bytes."""
    return what_it_is(head).endswith(" image")


def is_video(head: bytes) -> bool:
    """Whether a file that begins with `head` is a video by its first bytes."""
    return what_it_is(head).endswith(" video")


def _of_brand(head: bytes) -> str:
    """What an ISO media file is: AVIF, HEIC and MP4 begin alike."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, size, 4))}
    if brands & {b"avif", b"avis"}:
        return "an AVIF image"
    if head[8:12] in _HEIC:
        return "a HEIC photograph, whatever its name ends in: convert it to JPEG or PNG"
    return "an MP4 or QuickTime video"
