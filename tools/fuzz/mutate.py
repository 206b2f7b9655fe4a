"""Damage to files: bytes of any file, and the parts of those whose structure would hide most of it otherwise.

A mutator takes valid files and a `random.Random`, and gives the bytes of a damaged one.
"""

import copy
import io
import json
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Mutator = Callable[[Sequence[bytes], random.Random], bytes]

_DEEP = "nested too deeply"  # replaced by brackets in the text: json.dumps would refuse them
_TEXTS = ["", "1", "nan", "left_eye", "\ud800", "a\nb", "a\0b", "../..", "/dev/zero", "é", "x" * 10_000, _DEEP]
_NUMBERS = [0, 1, -1, 2, 17, 0.5, -0.0, 3.0, 1e-320, 1e300, -1e300, 1e7, 2**31, 2**63, -(2**63), 10**400]
ODD_VALUES = [
    *(None, True, False, *_NUMBERS, *_TEXTS, float("nan"), float("inf"), -float("inf")),
    *([], {}, [[]], [None], [1, 2], [1, 2, 3, 4], [[1, 2], [3, 4]], {"id": 1}, [{}], ["a", "b"], ["a", None]),
    *([float("nan")] * 4, [0] * 51, [1.5, "2", None, True], [10**400] * 4, [1e200] * 51, [True] * 4),
]
_INTEGERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
_HEAD = 512  # bytes in which most formats say what the others are
_PNG = b"\x89PNG\r\n\x1a\n"


def of_bytes(files: Sequence[bytes], rng: random.Random) -> bytes:
    """Bits flipped, bytes replaced, parts cut out, doubled, exchanged or taken from another file, up to eight times."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        _damage(data, files, rng)
    return bytes(data)


def _damage(data: bytearray, files: Sequence[bytes], rng: random.Random) -> None:
    """Damages `data` in one place, half of the time in its beginning."""
    end = min(len(data), _HEAD) if rng.random() < 0.5 else len(data)
    place, length = rng.randrange(end + 1), min(rng.choice((1, 2, 4, 16, 256, 4096)), len(data))
    match rng.randrange(8):
        case 0:
            for _ in range(rng.choice((1, 8))):
                if data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            data[place : place + length] = rng.randbytes(length)
        case 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_INTEGERS) & ((1 << 8 * size) - 1)
            data[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        case 3:
            del data[place:]
        case 4:
            del data[place : place + length]
        case 5:
            data[place:place] = data[place : place + length]
        case 6:
            other = rng.choice(files)
            start = rng.randrange(len(other) + 1)
            data[place : place + length] = other[start : start + length]
        case _:
            data[place : place + length] = bytes([rng.choice((0, 0xFF))]) * length


def of_json(files: Sequence[bytes], rng: random.Random) -> bytes:
    """Values exchanged, removed, doubled; sometimes cut off, in a wrong encoding, or with bytes changed."""
    content = json.loads(rng.choice(files))
    kind = rng.randrange(20)
    if kind > 3:
        mutate_json(content, rng)
    text = json.dumps(content).replace(f'"{_DEEP}"', rng.choice(("[" * 300 + "]" * 300, "[" * 10**5 + "]" * 10**5)))
    if kind == 0:
        return text[: rng.randrange(len(text))].encode()
    if kind == 1:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
    if kind == 2:
        return of_bytes([text.encode()], rng)
    return text.encode()


def mutate_json(content: Any, rng: random.Random) -> None:
    """Damages a parsed file in place, in one to four places."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = _places(content)
        if not found:
            return
        # Places in the numbers are many: without this, hardly anything else would be damaged.
        shallow = [(container, key) for container, key in found if isinstance(key, str)]
        container, key = rng.choice(shallow if shallow and rng.random() < 0.7 else found)
        kind = rng.randrange(6)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container[key], list):
            container[key] *= 2
        elif kind == 2 and isinstance(container[key], list):
            rng.shuffle(container[key])
        elif kind == 3 and isinstance(container[key], int | float):
            container[key] = rng.choice(
                (str(container[key]), -container[key], container[key] * 10**9, [container[key]])
            )
        elif kind == 4:
            container[key] = copy.deepcopy(rng.choice(found)[0])
        else:
            container[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a parsed JSON file."""
    found = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(item, dict | list):
            found += _places(item)
    return found


def of_text(files: Sequence[bytes], rng: random.Random) -> bytes:
    """Of text in lines: lines, and what tabs, spaces and signs set apart in them, exchanged, removed and doubled."""
    lines = rng.choice(files).split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(lines) + 1)
        line = lines[place] if place < len(lines) else b""
        cells = line.split(sign := rng.choice((b"\t", b" ", b"=", b",")))
        cells[rng.randrange(len(cells))] = _odd_text(rng)
        lines[place : place + rng.choice((0, 1, 1, 1))] = rng.choice(([sign.join(cells)], [line, line], []))
        if not lines:
            break
    data = b"\n".join(lines)
    return of_bytes([data], rng) if rng.random() < 0.2 else data


def _odd_text(rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(20))
    value = rng.choice([*_TEXTS, *_NUMBERS, "inf", "--", "-", "0x10", "1e5", "64x64", ",", "~", "%s", "{}"])
    return str(value).encode("utf-8", "surrogatepass")


def of_zip(files: Sequence[bytes], rng: random.Random) -> bytes:
    """An entry damaged, renamed, removed or doubled, with sizes and checksums that fit; or bytes of the whole."""
    if rng.random() < 0.3:
        return of_bytes(files, rng)
    with zipfile.ZipFile(io.BytesIO(rng.choice(files))) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    place = rng.randrange(len(entries))
    name, data = entries[place]
    match rng.randrange(12):
        case 0:
            del entries[place]
        case 1:
            entries.append((name, of_bytes([data], rng)))
        case 2:
            entries[place] = (rng.choice(("../../escaped", "/tmp/escaped", "a" * 300, f"{name}/x", "\n")), data)
        case 3:
            entries[place] = (name, rng.choice(entries)[1])
        case _:
            damage = of_json if name.endswith(".json") and rng.random() < 0.8 else of_bytes
            entries[place] = (name, damage([data], rng))
    written = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
    with zipfile.ZipFile(written, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a name that is there already
        for name, data in entries:
            archive.writestr(name, data)
    return written.getvalue()


def of_safetensors(files: Sequence[bytes], rng: random.Random) -> bytes:
    """The header as JSON, with a length that fits; or bytes of the whole."""
    data = rng.choice(files)
    if rng.random() < 0.3:
        return of_bytes(files, rng)
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = of_json([data[8:start]], rng)
    return struct.pack("<Q", len(header)) + header + data[start:]


def of_image(files: Sequence[bytes], rng: random.Random) -> bytes:
    """Bytes; of PNG, whose readers look at checksums first, with checksums that fit most of the time."""
    data = of_bytes(files, rng)
    return _with_checksums(data) if data.startswith(_PNG) and rng.random() < 0.8 else data


def _with_checksums(data: bytes) -> bytes:
    """A PNG file whose chunks have the checksums of what is in them."""
    fixed, place = bytearray(data), len(_PNG)
    while place + 12 <= len(fixed):
        end = place + 8 + struct.unpack_from(">I", fixed, place)[0]
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)
