"""Files as people have them: images, JSON and videos that are something else, turned, damaged, of odd depth or rate."""

import gzip
import json
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from conftest import write_dataset
from tool_runs import complaint, run, training
from videos import write_clip

from hrnet_tf import InputError
from hrnet_tf.data.decoding import decode
from hrnet_tf.data.records import read_image
from hrnet_tf.errors import MAX_LINE
from hrnet_tf.files import read_json
from hrnet_tf.mat_files import read_mat
from hrnet_tf.prediction.video import is_video, open_video

HEIC = struct.pack(">I4s4sI8s", 24, b"ftyp", b"heic", 0, b"mif1heic") + bytes(500)
MP4 = struct.pack(">I4s4sI8s", 24, b"ftyp", b"isom", 512, b"isommp41") + bytes(500)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
PAGE = b"<!doctype html>\n<html><body>404</body></html>"
JPEG = cv2.imencode(".jpg", np.full((40, 60, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def picture():
    """[32,48,3] uint8 without any symmetry, of large even patches."""
    patches = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    return np.kron(patches, np.ones((16, 16, 1), np.uint8))


NOT_IMAGES = [
    (HEIC, "it is a HEIC photograph, whatever its name ends in: convert it to JPEG or PNG"),
    (MP4, "it is an MP4 or QuickTime video, whatever its name ends in: `hrnet-tf predict` takes videos"),
    (LFS, "it is a Git LFS pointer in place of the file: `git lfs pull` fetches the file itself"),
    (PAGE, "it is an HTML page, as servers send in place of a file: download the file itself"),
    (b"%PDF-1.7", "it is a PDF document"),
    (gzip.compress(JPEG), "it is compressed by gzip: unpack it"),
    (JPEG[:-2], "truncated or damaged, though it begins as a JPEG image"),
    (JPEG[:200], "truncated or damaged, though it begins as a JPEG image"),
    (bytes(4096), "it is nothing but zeros"),
    (b"", "it is empty"),
    (b"something", "truncated or not an image (9 bytes)"),
]


@pytest.mark.parametrize(("content", "said"), NOT_IMAGES, ids=[said[:30] for _, said in NOT_IMAGES])
def test_what_is_no_image_is_named(tmp_path, content, said):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_image(path)
    assert f"cannot decode image {path}: " in str(error.value) and said in str(error.value)


NOT_JSON = [
    ('{"images": []}'.encode("utf-16"), "it is text in UTF-16: save it as UTF-8"),
    ('{"images": []}'.encode("utf-16-le"), "it is text in UTF-16: save it as UTF-8"),
    (gzip.compress(b"{}"), "it is compressed by gzip: unpack it"),
    (b"PK\x03\x04" + bytes(100), "it is a zip archive: unpack it"),
    (LFS, "a Git LFS pointer"),
    (PAGE, "an HTML page"),
    (b"<?xml version='1.0'?><annotation/>", "it is an XML file"),
    (JPEG, "it is a JPEG image"),
    (b"", "it is empty"),
    (b'{"images": [}', "is not valid JSON: Expecting value: line 1"),
]


@pytest.mark.parametrize(("content", "said"), NOT_JSON, ids=[said[:30] for _, said in NOT_JSON])
def test_what_is_no_json_is_named(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "a.json")
    assert said in str(error.value) and str(tmp_path / "a.json") in str(error.value)


def test_what_is_no_matlab_file_is_named(tmp_path):
    (tmp_path / "a.mat").write_bytes(LFS)
    with pytest.raises(InputError, match="a Git LFS pointer"):
        read_mat(tmp_path / "a.mat", ["x"])


def exif(orientation):
    return struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 3, 1, orientation, 0)


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def turned_file(suffix, picture, orientation):
    """The bytes of an image file that stores `picture` and says how it is to be turned."""
    data = cv2.imencode(suffix, picture[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tiff" else [])[1]
    data = bytearray(data.tobytes())
    if suffix == ".png":
        return bytes(data[:33]) + png_chunk(b"eXIf", exif(orientation)) + bytes(data[33:])
    if suffix == ".jpg":
        block = b"Exif\0\0" + exif(orientation)
        return bytes(data[:2]) + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + bytes(data[2:])
    return with_tiff_orientation(data, orientation) if suffix == ".tiff" else with_avif_orientation(data, orientation)


def with_tiff_orientation(data, orientation):
    """With the directory written anew at the end, with one entry more."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [bytes(data[start + 2 + 12 * i :][:12]) for i in range(count)]
    entries = [entry for entry in entries if entry[:2] != b"\x12\x01"]
    entries = sorted(
        [*entries, struct.pack("<HHII", 0x112, 3, 1, orientation)], key=lambda e: struct.unpack("<H", e[:2])
    )
    data += bytes(len(data) % 2)
    struct.pack_into("<I", data, 4, len(data))
    return bytes(data) + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


# Quarter turns against the clock, and 0 for rows or 1 for columns reversed afterwards.
AVIF = {1: (), 2: (None, 1), 3: (2,), 4: (None, 0), 5: (1, 0), 6: (3,), 7: (3, 0), 8: (1,)}


def with_avif_orientation(data, orientation):
    """With boxes `irot` and `imir` added to the properties of the picture, and all sizes and places grown by theirs."""
    rotation, mirror = (*AVIF[orientation], None, None)[:2]
    boxes = [box for box in ((b"irot", rotation), (b"imir", mirror)) if box[1] is not None]
    added = b"".join(struct.pack(">I4sB", 9, name, value) for name, value in boxes)
    properties = data.index(b"ipco") - 4
    end = properties + struct.unpack_from(">I", data, properties)[0]
    association = data.index(b"ipma") - 4
    assert data[association + 8 : association + 16] == bytes(7) + b"\x01"  # of one item, in one byte each
    known, last = 0, properties + 8
    while last < end:
        known, last = known + 1, last + struct.unpack_from(">I", data, last)[0]
    count = association + 18
    numbers = bytes(0x80 | (known + 1 + i) for i in range(len(boxes)))
    tail = count + 1 + data[count]
    grown = {properties: len(added), association: len(numbers)}
    for name in (b"iprp", b"meta"):
        grown[data.index(name) - 4] = len(added) + len(numbers)
    for place, by in grown.items():
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + by)
    place = data.index(b"iloc") + 4 + 4 + 2 + 2 + 2 + 2 + 2  # of the first extent's offset
    struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(added) + len(numbers))
    data[count] += len(boxes)
    return bytes(data[:end]) + added + bytes(data[end:tail]) + numbers + bytes(data[tail:])


UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".avif"])
@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_orientation_is_followed_in_prediction_and_not_in_training(tmp_path, picture, suffix, orientation):
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(turned_file(suffix, picture, orientation))
    stored, upright = read_image(path), read_image(path, turn=True)
    for got, wanted in ((stored, picture), (upright, UPRIGHT[orientation](picture))):
        assert got.shape == wanted.shape
        assert np.abs(got.astype(int) - wanted).mean() < 12  # of patches as far apart as 60, by lossy formats


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm", ".jp2"])
@pytest.mark.parametrize(
    ("highest", "expected", "said"),
    [
        (65535, 255, ""),
        (4096, 16, ""),
        (4095, 255, "taken for 12-bit ones"),
        (200, 200, "taken for 8-bit ones"),
        (0, 0, ""),
    ],
)
def test_images_that_use_part_of_16_bits(tmp_path, suffix, highest, expected, said):
    values = np.linspace(0, highest, 9600).reshape(80, 120).astype(np.uint16)
    path = tmp_path / f"deep{suffix}"
    path.write_bytes(cv2.imencode(suffix, values, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes())
    notes = []
    image = read_image(path, note=notes.append)
    assert image.dtype == np.uint8 and image.max() == expected
    assert len(notes) == bool(said) and all(said in note and str(path) in note for note in notes)


def damaged_jpeg(shape):
    """The bytes of a JPEG with a gap, of which libjpeg tells, as it does of some."""
    noise = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, shape, np.uint8))[1].tobytes()
    gaps = (noise[:i] + bytes(40) + noise[i + 40 :] for i in range(1000, len(noise) - 100, 50))
    return next(data for data in gaps if decode(data, False)[1])


def test_damage_inside_a_jpeg_is_noted_with_its_name(tmp_path, picture):
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path)
    path.write_bytes(damaged_jpeg((64, 64, 3)))
    with pytest.warns(UserWarning, match=r"photo.jpg: it is damaged, .*Corrupt JPEG data: .*fetch or export it again"):
        assert read_image(path).shape == (64, 64, 3)


def test_the_doctor_finds_damage_and_depth(tmp_path):
    write_dataset(tmp_path)
    for name, content in (
        ("000000000002.jpg", damaged_jpeg((120, 160, 3))),
        ("000000000003.jpg", cv2.imencode(".png", np.full((120, 160), 3000, np.uint16))[1].tobytes()),
    ):
        assert cv2.imdecode(np.frombuffer(content, np.uint8), 1).shape == (120, 160, 3)
        (tmp_path / "images" / "tiny" / name).write_bytes(content)
    result = run("check_dataset", data_dir=tmp_path, split="tiny", json=tmp_path / "report.json")
    assert "JPEG files are damaged inside" in result.stdout, result.stdout + result.stderr
    codes = {
        finding["code"]: finding["count"] for finding in json.loads((tmp_path / "report.json").read_text())["findings"]
    }
    assert codes["image_damaged"] == codes["image_depth"] == 1 and "image_unreadable" not in codes


@pytest.mark.parametrize("sampling", [0x411111, 0x420000 | 0x2111, 0x221111, 0x111111, 0x211111])
@pytest.mark.parametrize("shape", [(40, 60, 3), (41, 61, 3), (33, 17), (8, 8, 3)])
@pytest.mark.parametrize("progressive", [0, 1])
def test_undamaged_jpegs_are_read_as_opencv_reads_them(sampling, shape, progressive):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, shape, np.uint8), (0, 0), 1)
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = cv2.imencode(".jpg", image, options)[1]
    np.testing.assert_array_equal(decode(data.tobytes(), False)[0], cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


def test_training_names_the_way_past_a_bad_image(tmp_path):
    write_dataset(tmp_path / "data")
    path = tmp_path / "data" / "images" / "tiny" / "000000000002.jpg"
    path.write_bytes(path.read_bytes()[:-2])
    message = complaint(run("evaluate", model="x.keras", data_dir=tmp_path / "data", val_split="tiny"))
    assert "x.keras" in message
    message = complaint(run("train", **training(tmp_path)))
    assert f"cannot decode image {path}: truncated" in message and "--skip_bad_images" in message


def test_videos_are_known_by_their_first_bytes(tmp_path):
    video = write_clip(tmp_path / "clip.mp4")
    (tmp_path / "clip.jpg").write_bytes(video.read_bytes())
    (tmp_path / "photo.mp4").write_bytes(JPEG)
    assert is_video(video) and is_video(tmp_path / "clip.jpg") and not is_video(tmp_path / "photo.mp4")
    with open_video(tmp_path / "clip.jpg") as found:
        assert len(list(found)) == found.announced == 12
    (tmp_path / "lfs.mp4").write_bytes(LFS)
    with pytest.raises(InputError, match=r"lfs.mp4: it is a Git LFS pointer"), open_video(tmp_path / "lfs.mp4"):
        pass


def test_lines_of_errors_are_short(tmp_path):
    long = tmp_path / ("a" * 200)
    texts = [f"{long} is not usable: {'reason ' * 1000} do this", json.dumps(list(range(10000)))]
    for text in texts:
        message = str(InputError(text))
        assert len(f"error: {message}") <= MAX_LINE and message.startswith(text[:150]) and message.endswith(text[-100:])
