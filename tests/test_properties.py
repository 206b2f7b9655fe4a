"""What holds of any bytes, texts and numbers that readers are given; the same ones in every run."""

import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_tf import InputError
from hrnet_tf.cli.flag_groups import parse_size
from hrnet_tf.data import decoding, pixels
from hrnet_tf.errors import MAX_LINE, cut, listed, shown
from hrnet_tf.files import json_numbers
from hrnet_tf.first_bytes import LOOKED_AT, is_image, is_video, what_it_is
from hrnet_tf.inputs import checked_boxes
from hrnet_tf.model_card import ModelCard
from hrnet_tf.prediction.boxes import GivenBoxes
from hrnet_tf.pretrained.table import read_list
from hrnet_tf.weights.pickles import DamagedError, read_pickle

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
# Machines differ: no time is asserted, and no example is left beside the tests.
settings.register_profile(
    "quick",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("quick")

NUMBERS = st.floats() | st.integers() | st.text() | st.booleans() | st.none()
JSON = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
STARTS = st.sampled_from(
    [
        b"\xff\xd8\xff\xe1",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"RIFF....WEBPVP8X",
        b"\0\0\0\x0cjP  ",
    ]
)
FILES = st.builds(bytes.__add__, STARTS | st.just(b""), st.binary(max_size=200))


@given(FILES)
def test_headers_of_any_bytes(data):
    size = pixels.stored_size(data)
    assert size is None or (len(size) == 2 and all(isinstance(side, int) and side >= 0 for side in size))
    assert decoding.exif_orientation(data) in range(1, 9)
    said = what_it_is(data[:LOOKED_AT])
    assert "\n" not in said and is_image(data) + is_video(data) <= bool(said)


@given(FILES)
def test_any_bytes_are_an_image_or_none(data):
    image, said = decoding.decode(data, turn=True)
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3)
    assert "\n" not in said


@given(st.binary(max_size=100) | st.lists(st.sampled_from(b"(]}K\x05q\x00h.tuab0RNQ\x8a\x01"), max_size=60).map(bytes))
def test_pickles_of_any_operations_run_nothing(data):
    try:
        read_pickle(io.BytesIO(data))
    except DamagedError as error:
        assert "\n" not in str(error)


@given(JSON, st.integers(0, 5))
def test_numbers_of_a_file_are_finite_and_as_many(values, count):
    try:
        numbers = json_numbers(values, count)
    except ValueError:
        return
    assert numbers.shape == (count,) and (np.abs(numbers) <= 1e6).all()


@given(JSON)
def test_boxes_of_anything(values):
    try:
        boxes = checked_boxes(values, np.zeros((5, 7, 3), np.uint8))
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert boxes.dtype == np.float32 and boxes.shape[1:] == (4,)
    assert (np.abs(boxes) <= 1e6).all() and (boxes[:, 2:] > 0).all()


@given(st.text(alphabet="0123456789.,;-+eEnaif x", max_size=40) | st.text(max_size=20))
def test_boxes_and_sizes_of_command_lines(text):
    assert parse_size(text) is None or all(side % 32 == 0 and 0 < side <= 4096 for side in parse_size(text))
    try:
        boxes = GivenBoxes(text).boxes
    except InputError:
        return
    assert (np.abs(boxes) <= 1e6).all() and (boxes[:, 2:] > 0).all()


@given(st.dictionaries(st.sampled_from(["name", "input_size", "skeleton", "codec", "refine", "metrics"]), JSON) | JSON)
def test_cards_of_anything(content):
    try:
        ModelCard.from_json(content)
    except InputError as error:
        assert "\n" not in str(error)


COLUMNS = "name\tnetwork\tinput_size\tkeypoint_set\tsha256\turls\n"
CELLS = st.sampled_from(["a", "hrnet_w32", "256x192", "coco", "0" * 64, "https://host/a.pth", "detector", ""])


@given(st.lists(st.lists(CELLS | st.text(max_size=9), max_size=8).map("\t".join), max_size=3).map("\n".join))
def test_lists_of_networks(text):
    try:
        found = read_list(COLUMNS + text, "list.tsv")
    except InputError as error:
        assert "list.tsv line" in str(error) and "\n" not in str(error)
        return
    for name, entry in found.items():
        assert name == entry.name and entry.urls


@given(st.text(), st.integers(30, MAX_LINE))
def test_what_is_cut_has_the_length(text, length):
    assert len(cut(text, length)) <= max(length, 0)
    assert cut(text, length) == text or len(text) > length


@given(st.text() | st.lists(st.text(), min_size=1).map(listed))
def test_an_error_is_a_line_that_a_terminal_can_print(text):
    said = str(InputError(text))
    assert said.isprintable() and len(said) <= MAX_LINE
    said.encode()


@given(JSON)
def test_what_is_shown_is_a_line(value):
    assert "\n" not in shown(value) and len(shown(value)) < MAX_LINE
    assert "\n" not in listed([json.dumps(str(value))])


def test_numbers_that_numpy_cannot_hold():
    with pytest.raises(ValueError, match="finite numbers up to"):
        json_numbers([10**400], 1)
