"""The dataset doctor on image files: headers, files that are missing, damaged or turned, the picture of the worst."""

import json
import os
import struct

import cv2
import numpy as np
import pytest
from conftest import write_annotations
from test_doctor import found, serious

from hrnet_tf import doctor
from hrnet_tf.data.header import read_header
from hrnet_tf.doctor import images as doctor_images

SAMPLE = os.environ.get("HRNET_TF_COCO_SAMPLE")


def with_orientation(data, orientation):
    """A JPEG file with an EXIF block put behind its first marker."""
    block = b"Exif\0\0MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_headers_say_what_decoding_finds(tmp_path, orientation):
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8)
    data = with_orientation(cv2.imencode(".jpg", image)[1].tobytes(), orientation)
    path = tmp_path / "image.jpg"
    path.write_bytes(data)
    header = read_header(path)
    assert (header.size, header.orientation, header.ends_well) == ((50, 30), orientation, True)
    # OpenCV turns by EXIF unless told not to: that it does shows that the block is a proper one.
    assert cv2.imread(str(path)).shape[:2] == ((50, 30) if orientation >= 5 else (30, 50))
    for length in (len(data) - 2, len(data) // 2):
        path.write_bytes(data[:length])
        assert not read_header(path).ends_well
    for length in range(len(data) - len(cv2.imencode(".jpg", image)[1]) + 20):
        path.write_bytes(data[:length])
        assert read_header(path) is None


def test_png_headers(tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.zeros((30, 50, 3), np.uint8))
    assert read_header(path).size == (50, 30) and read_header(path).ends_well
    path.write_bytes(path.read_bytes()[:-12])
    assert not read_header(path).ends_well


def test_files_are_checked(dataset, monkeypatch):
    monkeypatch.setattr(doctor_images, "MAX_DECODED", 1)  # the first; the others must be seen by their headers
    folder = dataset / "images" / "tiny"
    report, _ = doctor.check_split(str(dataset), "tiny")
    assert not serious(report)
    names = [f"{i:012}.jpg" for i in range(1, 5)]
    (folder / names[0]).unlink()
    data = (folder / names[1]).read_bytes()
    (folder / names[1]).write_bytes(data[: len(data) // 2])
    path = dataset / "annotations" / "person_keypoints_tiny.json"
    content = json.loads(path.read_text())
    # As an annotation tool that honours EXIF would record it, and stored the other way.
    (folder / names[2]).write_bytes(with_orientation((folder / names[2]).read_bytes(), 6))
    content["images"][2].update(width=120, height=160)
    content["images"][3].update(width=320, height=240)
    path.write_text(json.dumps(content))
    report, _ = doctor.check_split(str(dataset), "tiny")
    codes = ("image_missing", "image_unreadable", "image_turned_by_exif", "image_size_differs")
    for code, name in zip(codes, names, strict=True):
        assert found(report, code).examples == ({"image": name},), code
        assert found(report, code).total == 4
    assert not {f.code for f in doctor.check_split(str(dataset), "tiny", check_images=False)[0].findings} & set(codes)


def test_exif_that_may_not_matter_is_told(dataset):
    path = dataset / "images" / "tiny" / "000000000002.jpg"
    path.write_bytes(with_orientation(path.read_bytes(), 3))  # upside down: width and height cannot tell
    report, _ = doctor.check_split(str(dataset), "tiny")
    finding = found(report, "exif_orientation")
    assert (finding.severity, finding.count, finding.total) == ("warning", 1, 4)
    assert serious(report) == {"exif_orientation"} and report.exit_code == 2


def test_damage_inside_a_file_shows_when_it_is_decoded(dataset, monkeypatch):
    monkeypatch.setattr(doctor_images, "MAX_DECODED", 1)
    path = dataset / "images" / "tiny" / "000000000003.jpg"
    data = cv2.imencode(".png", cv2.imread(str(path)))[1].tobytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(1000) + data[middle + 1000 :])  # its header and end are whole
    assert not serious(doctor.check_split(str(dataset), "tiny")[0])
    report, _ = doctor.check_split(str(dataset), "tiny", decode_all=True)
    assert found(report, "image_unreadable").examples == ({"image": "000000000003.jpg"},)


def test_the_picture_shows_those_found_and_nobody_else(dataset):
    content = json.loads((dataset / "annotations" / "person_keypoints_tiny.json").read_text())
    content["annotations"][2]["area"] = content["annotations"][5]["area"] = 0
    write_annotations(dataset, "tiny", content)
    report, _ = doctor.check_split(str(dataset), "tiny")
    assert found(report, "area_zero").rows == (2, 5)
    picture = doctor.draw_worst(report)
    assert picture.dtype == np.uint8 and picture.shape == (8 + 280 + 22 + 8, 4 * 288 + 8, 3)
    red = (picture == (255, 60, 60)).all(axis=-1)
    # A cell for each of the two, with a box in it; the other two cells of the row are empty.
    assert red[:, 8:288].sum() > 100 and red[:, 296:576].sum() > 100 and not red[:, 584:].any()
    for file in (dataset / "images" / "tiny").iterdir():
        file.unlink()
    assert doctor.draw_worst(report) is None


@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_COCO_SAMPLE names no folder with a COCO sample")
def test_coco_sample_is_whole():
    report, _ = doctor.check_split(SAMPLE, "val2017", decode_all=True)
    assert {finding.code for finding in report.findings} == {"without_keypoints"}
    assert found(report, "without_keypoints").count == 2
    assert report.counts == {"images": 4, "people": 14, "to train on": 12, "keypoints": 17}
