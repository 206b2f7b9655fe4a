"""Readers of what is no file: command lines, lists of networks, requests to servers, outputs of detectors."""

import contextlib
import functools
import io
import json
import os
import random
import struct
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from fuzz import mutate, networks, pictures
from fuzz.reader import Reader
from hrnet_tf.errors import InputError

_ODD_FLOATS = (0.0, -0.0, -1.0, 1e-38, 1e6, 1e7, -1e6, 3e38, float("nan"), float("inf"), -float("inf"))
_DETECTOR_SIDE = 64
# What a file says that its classes are.
_CLASSES = (
    *(None, None, "{0: 'person'}", "{1: 'person'}", "{5000: 'person'}", "{'a': 'person'}", "{-1: 'person'}", "[]"),
    *("{}", "(" * 5000, "9" * 5000, "{0: 'cat'}", "\0", "{None: 'person'}", "{1e999: 'person'}"),
)
_OF_TENSORFLOW = (b"\xff\xd8", b"\x89PNG")


def _command_lines(folder: Path) -> list[bytes]:
    """A command's name, then a flag a line: what the package's flag files have, and more."""
    from hrnet_tf.cli import flagfiles

    paths = [path for path in flagfiles.own_files() if not path.name.startswith("base_")]  # which name no data
    texts = [path.read_bytes().splitlines() for path in paths]
    own = [b"\n".join(line for line in text if line.startswith(b"-")) for text in texts]
    predict = b"--model=a.keras\n--input=b.jpg\n--out_dir=c\n--batch_size=3\n--score_threshold=0.5\n--boxes=1,2,3,4"
    check = b"--data_dir=data\n--split=val\n--json=report.json\n--max_pixels=1000\n--picture=a.png"
    lines = [b"train\n--model=hrnet_w32\n--work_dir=work\n" + text for text in own]
    return [
        *lines,
        b"predict\n" + predict,
        b"check\n" + check,
        b"export\n--model=a.keras\n--data_dir=data\n--out_dir=b\n--formats=onnx,litert",
    ]


def _read_command_line(path: Path) -> None:
    """As arguments, and as a flag file; the command itself is not started."""
    from absl import flags

    name, *lines = os.fsdecode(path.read_bytes()).split("\n")
    rest = path.with_suffix(".flags.tmp")
    rest.write_bytes(path.read_bytes().partition(b"\n")[2])
    refused = ""
    for arguments in ([name, *lines], [name, f"--flagfile={rest}"]):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), _without_commands() as main:
            try:
                code = main(arguments)
            except SystemExit as error:
                code = error.code
        for flag in list(flags.FLAGS):
            delattr(flags.FLAGS, flag)
        assert code in (0, 1), f"exit code {code}"
        assert code == 0 or not name or _is_a_line(said.getvalue()), f"more than a line: {said.getvalue()[:300]}"
        refused = said.getvalue() if code else refused
    if refused:
        raise InputError(refused.strip())


def _is_a_line(text: str) -> bool:
    return text.startswith("error: ") and len(text) <= 501 and text.count("\n") == 1


@contextlib.contextmanager
def _without_commands():
    """What starts commands, with commands that do nothing."""
    import hrnet_tf.cli.main as starting

    nothing = types.SimpleNamespace(import_module=lambda name: types.SimpleNamespace(main=lambda *rest: 0))
    with mock.patch.multiple(starting, importlib=nothing, start_tensorflow=lambda *_: None):
        yield starting._guarded


def _list_files(folder: Path) -> list[bytes]:
    from importlib import resources

    from hrnet_tf import pretrained

    text = resources.files(pretrained).joinpath("networks.tsv").read_bytes()
    return [b"\n".join(text.split(b"\n")[:12]), text]


def _read_list(path: Path) -> None:
    from hrnet_tf import pretrained

    with mock.patch.dict(os.environ, {"HRNET_TF_PRETRAINED": str(path)}):
        for name in pretrained.names()[-5:]:
            pretrained.find(name)


def _pose_files(folder: Path) -> list[bytes]:
    """A box in each image of a format that TensorFlow decodes."""
    networks.READERS["saved_model"].prepare(folder)
    box = np.array([[5, 6, 30, 40]])
    return [_request(box, image) for image in pictures.image_files() if image.startswith(_OF_TENSORFLOW)]


def _request(boxes: np.ndarray, image: bytes) -> bytes:
    return struct.pack("<I", len(boxes)) + boxes.astype("<f4").tobytes() + image


def _parts(request: bytes) -> tuple[np.ndarray, bytes]:
    """Boxes [N,4] and image."""
    (count,) = struct.unpack_from("<I", request)
    return np.frombuffer(request, "<f4", 4 * count, 4).reshape(-1, 4), request[4 + 16 * count :]


def _damaged_request(files: Sequence[bytes], rng: random.Random) -> bytes:
    """Other boxes, half of the time with odd numbers, and an image that is damaged most of the time."""
    count = rng.choice((0, 1, 1, 2, 3, 70))
    boxes = np.array([[rng.uniform(0, 50), rng.uniform(0, 40), rng.uniform(1, 40), rng.uniform(1, 40)]] * count)
    if count and rng.random() < 0.5:
        for _ in range(rng.choice((1, 4))):
            boxes[rng.randrange(count), rng.randrange(4)] = rng.choice(_ODD_FLOATS)
    images = [_parts(file)[1] for file in files]
    return _request(boxes, mutate.of_image(images, rng) if rng.random() < 0.8 else rng.choice(images))


@functools.cache
def _loaded(path: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(path))


def _read_request(path: Path) -> None:
    import tensorflow as tf

    boxes, image = _parts(path.read_bytes())
    pose = _loaded(path.parent / "saved").signatures["pose"]
    try:
        found = pose(image=tf.constant(image), boxes=tf.constant(boxes))
    except tf.errors.InvalidArgumentError as error:  # what a server answers with
        raise InputError(" ".join(str(error).split())) from error
    assert found["keypoints"].shape == (len(boxes), 17, 3)
    assert np.isfinite(found["keypoints"].numpy()).all()


def _output_files(folder: Path) -> list[bytes]:
    outputs = {"dets": ["f4", [1, 3, 5], 0], "labels": ["i8", [1, 3], 0]}
    said = {"dets": [1, None, 5], "labels": [1, None]}
    return [json.dumps({"outputs": outputs, "said": said, "names": None, "inputs": ["images"]}).encode()]


def _outputs(files: Sequence[bytes], rng: random.Random) -> bytes:
    """What a detector says of itself and gives, to be made by `_array`."""
    cells = sum((_DETECTOR_SIDE // stride) ** 2 for stride in (8, 16, 32))
    n = rng.choice((0, 1, 5, 300, 6000))
    kinds = {
        "yolox": {"output": [1, cells, 85]},
        "mmdeploy": {"dets": [1, n, 5], "labels": [1, n]},
        "detr": {"labels": [1, n], "boxes": [1, n, 4], "scores": [1, n]},
        "yolov8": {"output0": [1, 84, cells]},
        "end to end": {"output0": [1, n, 6]},
    }
    shapes = kinds[rng.choice(list(kinds))]
    if rng.random() < 0.3:
        name = rng.choice(list(shapes))
        shape = shapes[name]
        shapes[name] = rng.choice((shape[:-1], [*shape, 1], [2, *shape[1:]], [1, 7, *shape[2:]], [], [0]))
    outputs = {
        name: [rng.choice(("f4", "f4", "f4", "f2", "f8", "i8", "i4", "b1", "S3")), shape, rng.randrange(2**31)]
        for name, shape in shapes.items()
    }
    said = {name: shape if rng.random() < 0.7 else [None] * len(shape) for name, shape in shapes.items()}
    names = rng.choice(_CLASSES)
    inputs = ["images", "orig_target_sizes"] if "boxes" in shapes or rng.random() < 0.1 else ["images"]
    return json.dumps({"outputs": outputs, "said": said, "names": names, "inputs": inputs}).encode()


def _array(kind: str, shape: list[int], seed: int) -> np.ndarray:
    """Numbers such as boxes have, in some places odd ones."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, rng.choice([1, 3, _DETECTOR_SIDE]), shape)
    odd = rng.random(shape) < rng.choice([0, 0.01, 0.3])
    values = np.where(odd, rng.choice(_ODD_FLOATS, shape), values)
    with np.errstate(all="ignore"):
        return values.astype(kind)


class _Session:
    """In place of one of ONNX Runtime's."""

    def __init__(self, content: dict[str, Any]):
        self._content = content
        self._arrays = [_array(*made) for made in content["outputs"].values()]

    def get_inputs(self):
        shapes = {"images": [1, 3, _DETECTOR_SIDE, _DETECTOR_SIDE], "orig_target_sizes": [1, 2]}
        return [
            types.SimpleNamespace(name=name, shape=shapes[name], type="tensor(float)")
            for name in self._content["inputs"]
        ]

    def get_outputs(self):
        return [types.SimpleNamespace(name=name, shape=shape) for name, shape in self._content["said"].items()]

    def get_modelmeta(self):
        names = self._content["names"]
        return types.SimpleNamespace(custom_metadata_map={} if names is None else {"names": names})

    def run(self, names, feed):
        return self._arrays


def _read_outputs(path: Path) -> None:
    from hrnet_tf.detection import detector

    session = _Session(json.loads(path.read_bytes()))
    with mock.patch.object(detector, "open_session", lambda *_, **__: session):
        boxes, scores = detector.PersonDetector(path)(np.zeros((48, 100, 3), np.uint8))
    assert boxes.shape == (len(scores), 4) and np.isfinite(boxes).all() and np.isfinite(scores).all()
    assert (boxes[:, 2:] > 0).all() and (boxes >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= [100.01, 48.01]).all()


READERS = {
    "flags": Reader("command lines and flag files", "line.txt", _command_lines, mutate.of_text, _read_command_line),
    "networks": Reader("lists of networks", "networks.tsv", _list_files, mutate.of_text, _read_list),
    "pose": Reader("requests to the signature pose", "request.bin", _pose_files, _damaged_request, _read_request),
    "detector": Reader("outputs of detectors", "detector.onnx", _output_files, _outputs, _read_outputs),
}
