"""The list of published networks: every row of it, and lists of one's own."""

import re
import urllib.parse

import file_server
import pytest
from file_server import Served

from hrnet_tf import InputError, pretrained, skeletons
from hrnet_tf.codecs import CODECS
from hrnet_tf.errors import MAX_LINE
from hrnet_tf.models.build import build_model
from hrnet_tf.models.variants import MODEL_NAMES, TOP_DOWN
from hrnet_tf.pretrained import table

ALL = pretrained.names()
DETECTORS = tuple(name for name in ALL if pretrained.find(name).is_detector)
NAMES = tuple(name for name in ALL if name not in DETECTORS)
# What these hosts write into file names is how the SHA-256 of the file begins.
HASH_IN_NAME = re.compile(r"[-_]([0-9a-f]{8})(?:[-_]\d{8})?\.pth")
# Published with a SHA-384 alone.
UNHASHED = ("higher_hrnet_w32_coco_512x512_official",)
HOSTS_WITH_HASHES = ("download.openmmlab.com", "github.com", "download.pytorch.org")


@pytest.mark.parametrize("name", NAMES)
def test_row(name):
    entry = pretrained.find(name)
    size = f"{entry.input_size[0]}x{entry.input_size[1]}"
    assert entry.network in MODEL_NAMES and name.startswith(f"{entry.network}_")
    assert entry.is_classifier or f"_{size}" in name
    assert ("_dark" in name, "_udp" in name) == (entry.codec == "dark", entry.codec == "udp") and entry.codec in CODECS
    assert all(side % 32 == 0 for side in entry.input_size)
    for url in entry.urls:
        parts = urllib.parse.urlsplit(url)
        assert parts.scheme == "https" and parts.geturl() == url
        if parts.netloc in HOSTS_WITH_HASHES:
            assert HASH_IN_NAME.search(parts.path)[1] == entry.sha256
    assert (len(entry.sha256) in (8, 64) or name in UNHASHED) and entry.licence and entry.source
    if entry.is_classifier:
        with pytest.raises(InputError, match="is a classifier"):
            pretrained.card(name)
    else:
        card = pretrained.card(name)
        assert (card.name, card.input_size, card.codec) == (entry.network, entry.input_size, entry.codec)
        assert card.skeleton == skeletons.named(entry.keypoint_set)
        card.skeleton.check_mirroring("nothing")  # so that the flip test is possible
        assert re.match(r"[^:|]+, [^:|]*boxes[^:|]*: \S.* [\d.]+", entry.metrics)


def test_no_file_is_there_twice():
    urls = [url for name in ALL for url in pretrained.find(name).urls]
    hashes = [pretrained.find(name).sha256 for name in NAMES]
    assert len(set(urls)) == len(urls) and len(set(hashes)) == len(hashes) == len(NAMES) == 226


@pytest.mark.parametrize("name", DETECTORS)
def test_row_of_a_detector(name):
    entry = pretrained.find(name)
    assert entry.licence and entry.source and re.match(r"[^:|]+, [^:|]+: AP 0\.\d+", entry.metrics)
    file = entry.urls[0].rpartition("/")[2]
    # Of the archives the file name has the hash of what they were made of, not theirs.
    assert (file == f"{name}.onnx" and len(entry.sha256) == 64) or (file.endswith(".zip") and not entry.sha256)
    for other in (pretrained.model_file, pretrained.weights_file, pretrained.card, pretrained.load_pretrained):
        with pytest.raises(InputError, match=f"is a detector, .* --detector={name}"):
            other(name)


def test_networks_are_no_detectors():
    with pytest.raises(
        InputError, match=r"is no detector, but predicts keypoints\. Detectors are yolox_nano, yolox_tiny,"
    ):
        pretrained.detector_file("hrnet_w32_coco_256x192")
    with pytest.raises(InputError, match=r"no file or folder yolox_xs, and no network is called 'yolox_xs'.*yolox_x"):
        pretrained.detector_file("yolox_xs")


# Keypoints that MMPose's files have, counted in its configurations.
HEADS = {"coco": 17, "mpii": 16, "coco_wholebody": 133, "halpe": 136, "wflw": 98, "deepfashion2": 294, "hand21": 21}
HEADS |= {"300w": 68, "aflw": 19, "cofw": 29, "ap10k": 17, "animalpose": 20, "atrw": 15, "horse10": 22, "locust": 35}
HEADS |= {"zebra": 9, "fly": 32, "crowdpose": 14, "aic": 14, "jhmdb": 15, "h36m": 17, "mhp": 16, "mpii_trb": 40}
HEADS |= {"posetrack18": 17, "animalkingdom": 23, "macaque": 17, "interhand2d": 21, "rhd": 21, "300wlp": 68}
HEADS |= {"deepfashion_upper": 6, "deepfashion_lower": 4, "deepfashion_full": 8, "humanart": 17}
HEADS |= {"coco_wholebody_face": 68, "coco_wholebody_hand": 21}


def test_keypoint_sets_have_as_many_keypoints_as_the_files():
    sets = {pretrained.find(name).keypoint_set for name in NAMES} - {table.CLASSIFIER}
    assert {name: skeletons.named(name).num_keypoints for name in sets} == HEADS


@pytest.mark.slow
def test_every_network_is_built():
    entries = [entry for entry in map(pretrained.find, NAMES) if entry.kind == TOP_DOWN]
    # Neither the keypoints nor the size change any layer but the last and the shapes.
    for network in sorted({entry.network for entry in entries}):
        sizes = {entry.input_size for entry in entries if entry.network == network}
        for size in sizes if network == "hrnet_w32" else [max(sizes)]:
            assert build_model(network, size, 133).output_shape == (None, size[0] // 4, size[1] // 4, 133)


def test_names_by_pattern():
    assert pretrained.names("w32_coco_256x192_udp") == ("hrnet_w32_coco_256x192_udp", "hrnet_w32_coco_256x192_udp_2021")
    assert pretrained.names("hrnet_w48_*_384x288_dark") == (
        *("hrnet_w48_coco_384x288_dark", "hrnet_w48_wholebody_384x288_dark", "hrnet_w48_halpe_384x288_dark"),
    )
    assert pretrained.names("nothing") == ()


def test_an_unknown_name_has_three_near_ones():
    with pytest.raises(InputError) as error:
        pretrained.find("hrnet_w23_coco_256x192")
    nearest = re.search("nearest are (.*); `hrnet-tf models`", str(error.value))[1].split(", ")
    assert len(nearest) == 3 and "hrnet_w32_coco_256x192" in nearest and set(nearest) <= set(ALL)


HEADER = "name\tnetwork\tinput_size\tkeypoint_set\tsha256\turls"
ROW = "mine\thrnet_w32\t256x192\tcoco\t0123abcd\thttps://host/file.pth"


def test_a_list_of_ones_own_adds_and_replaces_rows(tmp_path, monkeypatch):
    rows = [
        "comment\turls\tsha256\tinput_size\tnetwork\tkeypoint_set\tname",
        "\thttps://a/x.pth http://b/y.pth\tABCDEF12\t128x96\thrnet_w18_small_v1\tmpii\thrnet_w32_coco_256x192",
        "",
        "\thttps://a/z.keras\t\t64x64\tpose_resnet18\tcoco\tmine",
    ]
    (tmp_path / "list.tsv").write_text("\r\n".join(rows) + "\n", encoding="utf-8-sig")
    monkeypatch.setenv("HRNET_TF_PRETRAINED", str(tmp_path / "list.tsv"))
    assert set(pretrained.names()) - set(ALL) == {"mine"}
    entry = pretrained.find("hrnet_w32_coco_256x192")
    assert entry.urls == ("https://a/x.pth", "http://b/y.pth") and entry.sha256 == "abcdef12"
    assert entry.input_size == (128, 96) and entry.codec == "msra" and not entry.licence
    assert pretrained.card("hrnet_w32_coco_256x192").skeleton == skeletons.MPII
    monkeypatch.delenv("HRNET_TF_PRETRAINED")
    assert pretrained.names() == ALL


def test_a_list_at_an_address(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HRNET_TF_HOME", str(tmp_path / "cache"))
    with file_server.running() as server:
        server.files["/list.tsv"] = Served(f"{HEADER}\n{ROW}\n".encode())
        monkeypatch.setenv("HRNET_TF_PRETRAINED", f"{server.url}/list.tsv")
        assert pretrained.find("mine").network == "hrnet_w32" and pretrained.names("mine") == ("mine",)
        assert server.asked == [("/list.tsv", None)]
        server.files["/list.tsv"] = Served(status=404)
        table._text_at.cache_clear()  # as in another process
        assert pretrained.names("mine") == ("mine",)
        assert "answers 404 Not Found; the copy of it in" in capsys.readouterr().err
        for path, served, said in (
            ("/none.tsv", Served(status=404), "the server answers 404"),
            ("/page.tsv", Served(b"<html>", headers={"Content-Type": "text/html"}), "an HTML page"),
            ("/other.tsv", Served(b"\x89PNG\r\n\x1a\n" + bytes(9)), "a PNG image"),
            ("/wrong.tsv", Served(b"name\n"), "must name the columns"),
        ):
            server.files[path] = served
            monkeypatch.setenv("HRNET_TF_PRETRAINED", server.url + path)
            with pytest.raises(InputError, match=said) as error:
                pretrained.names()
            assert server.url + path in str(error.value)


BAD = [
    ("name", "", "name: must be up to 100 letters"),
    ("name", "../up", "name: must be"),
    ("network", "hrnet_w33", r"network: must be one of hrnet_w32, .*Received: 'hrnet_w33'"),
    ("input_size", "256", "input_size: must be height x width in multiples of 32"),
    ("input_size", "250x190", "input_size: must be"),
    ("keypoint_set", "cocoa", r"keypoint_set: must be .* nearest being coco, "),
    ("network", "detector", "keypoint_set: must be empty for a detector. Received: 'coco'"),
    ("sha256", "xyz", "sha256: must be 8 to 64 hexadecimal digits"),
    ("sha256", "0123abc", "sha256: must be"),
    ("urls", "", "urls: must be addresses"),
    ("urls", "https://host/a.pth ftp://host/b.pth", "urls: must be"),
    ("urls", "https://host", "urls: must be"),
]


@pytest.mark.parametrize(("column", "value", "said"), BAD, ids=[f"{column}-{value}" for column, value, _ in BAD])
def test_a_malformed_row_is_named(column, value, said):
    row = dict(zip(HEADER.split("\t"), ROW.split("\t"), strict=True)) | {column: value}
    text = "\n".join((HEADER, ROW, "\t".join(row.values())))
    with pytest.raises(InputError, match=f"^my.tsv line 3, column {said}") as error:
        table.read_list(text, "my.tsv")
    assert len(f"error: {error.value}") <= MAX_LINE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "my.tsv: its first line must name the columns name, network, .*Missing: name, network"),
        (ROW, "my.tsv: its first line must name the columns"),
        (HEADER.replace("\turls", ""), "Missing: urls"),
        (f"{HEADER}\n{ROW}\n{ROW}", "line 3, column name: mine is there twice"),
        (f"{HEADER}\n{ROW}\tmore", "line 2 has 7 columns, and the first line names 6"),
        (f"{HEADER}\tcodec\n{ROW}\tsimcc", "line 2, column codec: must be one of msra, dark, udp"),
        (f"{HEADER}\n{ROW[:20]}", "line 2, column"),
    ],
)
def test_a_malformed_list_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        table.read_list(text, "my.tsv")


def test_a_list_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_TF_PRETRAINED", str(tmp_path / "none.tsv"))
    with pytest.raises(InputError, match=r"cannot read .*none.tsv, the list that HRNET_TF_PRETRAINED names: No such"):
        pretrained.names()
    (tmp_path / "none.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        pretrained.names()
