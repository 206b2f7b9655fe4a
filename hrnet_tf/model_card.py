"""The model card: what a file of weights does not say and every user of it has to know.

It travels inside the artefact where its format has a place for it:

    model.keras     the member `model_card.json` of the zip file, which Keras ignores
    a SavedModel    the file `model_card.json` in the folder
    model.onnx      the entry `model_card` of the metadata
    model.tflite    the file `model.json` beside it
"""

import dataclasses
import json
import math
import shutil
import zipfile
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf

from hrnet_tf.codecs import REFINEMENTS, get_codec
from hrnet_tf.errors import InputError, shown
from hrnet_tf.files import MAX_COORDINATE, PathLike, check_readable, json_numbers, reason, replacing
from hrnet_tf.models.variants import BOTTOM_UP, TOP_DOWN
from hrnet_tf.skeletons import COCO, Skeleton
from hrnet_tf.version import __version__

FILE_NAME = "model_card.json"
METADATA_KEY = "model_card"
# Of a card, in bytes: that of 133 keypoints has 10,000.
_MAX_CARD = 1 << 20


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a trained network predicts, and how its crops are cut and its heatmaps read.

    Attributes:
        name: of the network, such as "hrnet_w32".
        input_size: (H, W) of the crops in pixels; of a bottom-up network that of its training images, whose smaller
            side is what the shorter side of an image becomes.
        skeleton: the K keypoints, in the order of the heatmaps.
        codec: that the network was trained with, a name in `hrnet_tf.heatmaps.CODECS`.
        refine: how heatmaps become keypoints, one of `hrnet_tf.heatmaps.REFINEMENTS`, or None for the
            codec's own.
        metrics: {name: number} of an evaluation, such as AP from 0 to 1, or None.
        kind: "top_down" for a network of crops, "bottom_up" for one of whole images.

    Raises:
        ValueError: an unknown `codec`, `refine` or `kind`.
    """

    name: str
    input_size: tuple[int, int]
    skeleton: Skeleton
    codec: str = "msra"
    refine: str | None = None
    metrics: dict[str, float] | None = None
    kind: str = TOP_DOWN

    def __post_init__(self) -> None:
        get_codec(self.codec)
        if self.refine is not None and self.refine not in REFINEMENTS:
            raise ValueError(f"`refine` must be one of {', '.join(REFINEMENTS)}. Received: {self.refine!r}")
        if self.kind not in (TOP_DOWN, BOTTOM_UP):
            raise ValueError(f"`kind` must be {TOP_DOWN} or {BOTTOM_UP}. Received: {self.kind!r}")

    @property
    def decoding(self) -> str:
        """The refinement that decodes the heatmaps: `refine`, or else the codec's own."""
        return self.refine or get_codec(self.codec).refine

    def to_json(self) -> dict[str, Any]:
        """The card as a dict for JSON, with the versions of what wrote it."""
        fields = dataclasses.asdict(self)
        if self.metrics is not None:
            fields["metrics"] = {name: float(value) for name, value in self.metrics.items()}
        versions = {"hrnet_tf": __version__, "tensorflow": tf.__version__, "keras": keras.__version__}
        return fields | {"versions": versions}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The card of a dict that `to_json` gave; entries of other names are left out.

        Raises:
            InputError: an entry is missing or cannot be used.
        """
        try:
            metrics = content.get("metrics")
            return cls(
                name=_checked(content["name"], str),
                input_size=_integers(content["input_size"], 2),
                skeleton=_skeleton(content["skeleton"]),
                codec=_checked(content["codec"], str),
                refine=content.get("refine"),
                metrics=None if metrics is None else {name: float(value) for name, value in metrics.items()},
                kind=content.get("kind", TOP_DOWN),  # earlier versions knew no others
            )
        except KeyError as error:
            raise InputError(f"a model card must have {error.args[0]!r}. Received: {shown(content)}") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise InputError(f"a model card cannot be used: {reason(error)}") from error


def default_card(model: keras.Model) -> ModelCard:
    """The card of a network that came without one: with 17 keypoints it is taken for one trained on COCO.

    Raises:
        InputError: the network has another number of keypoints.
    """
    num_keypoints = model.output_shape[-1]
    if num_keypoints != COCO.num_keypoints:
        raise InputError(
            f"{model.name} has no model card to say what its {num_keypoints} keypoints are; "
            f"only {COCO.num_keypoints} are taken for COCO's"
        )
    return ModelCard(model.name, tuple(model.input_shape[1:3]), COCO)


def write_card(path: PathLike, card: ModelCard) -> None:
    """Puts `card` in or beside the artefact `path`, in place of one that it has.

    Raises:
        InputError: `path` cannot be written, or is none of the four kinds above.
    """
    path = Path(path)
    # allow_nan=False: NaN is not JSON, and half of its readers refuse the whole file.
    text = json.dumps(card.to_json(), indent=1, allow_nan=False)
    match _kind(path):
        case "folder":
            _write_text(path / FILE_NAME, text)
        case ".tflite":
            _write_text(path.with_suffix(".json"), text)
        case ".keras":
            with replacing(path) as temporary:
                _rewrite_zip(path, temporary, text)
        case ".onnx":
            import onnx  # not needed for the other kinds

            model = onnx.load(path)
            onnx.helper.set_model_props(model, _metadata(model) | {METADATA_KEY: text})
            with replacing(path) as temporary:
                onnx.save(model, temporary)


def read_card(path: PathLike) -> ModelCard | None:
    """The card of the artefact `path`, or None if it has none.

    Raises:
        InputError: `path` is none of the four kinds above or cannot be read, or its card is damaged.
    """
    check_readable(path, "model")
    path = Path(path)
    try:
        text = _read_text(path)
        content = None if text is None else json.loads(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # onnx and zipfile raise many types on a damaged file
        raise InputError(f"cannot read the model card of {path}: {reason(error)}") from error
    try:
        return None if content is None else ModelCard.from_json(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    if path.suffix not in (".keras", ".onnx", ".tflite") or not path.is_file():
        raise InputError(f"a model must be a .keras, .onnx or .tflite file or a SavedModel folder. Received: {path}")
    return path.suffix


def _read_text(path):
    """The JSON text of the card of `path`, or None."""
    match _kind(path):
        case "folder":
            return _text_if_any(path / FILE_NAME)
        case ".tflite":
            return _text_if_any(path.with_suffix(".json"))
        case ".keras":
            with zipfile.ZipFile(path) as archive:
                if FILE_NAME not in archive.namelist():
                    return None
                return _checked_text(archive.open(FILE_NAME).read(_MAX_CARD + 1))
        case ".onnx":
            import onnx

            text = _metadata(onnx.load(path, load_external_data=False)).get(METADATA_KEY)
            return text if text is None else _checked_text(text.encode())


def _text_if_any(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return _checked_text(file.read(_MAX_CARD + 1))


def _checked_text(data: bytes) -> str:
    if len(data) > _MAX_CARD:
        raise InputError(f"a model card has at most {_MAX_CARD} bytes; this one has more")
    return data.decode()


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _rewrite_zip(source, target, text):
    """Copies a zip file member by member, with `text` as its card."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            if member.filename != FILE_NAME:
                with old.open(member) as reader, new.open(member, "w") as writer:
                    shutil.copyfileobj(reader, writer)
        new.writestr(FILE_NAME, text)


def _metadata(onnx_model: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx_model.metadata_props}


def _skeleton(content):
    """The `Skeleton` of the dict that `dataclasses.asdict` made of one."""
    names = tuple(_checked(name, str) for name in content["names"])
    count = len(names)
    sigmas = json_numbers(content["oks_sigmas"], count)
    skeleton = Skeleton(
        names=names,
        flip_pairs=tuple(_integers(pair, 2, count) for pair in content["flip_pairs"]),
        limbs=tuple(_integers(pair, 2, count) for pair in content["limbs"]),
        oks_sigmas=tuple(sigmas.tolist()),
        upper_body=_integers(content["upper_body"], len(content["upper_body"]), count),
        unpaired=_integers(content.get("unpaired", ()), len(content.get("unpaired", ())), count),
    )
    if not count or len(set(names)) != count:
        raise ValueError(f"keypoint names must be there and each be used once. Received: {shown(names)}")
    return skeleton


def _integers(values, count, end=MAX_COORDINATE):
    """`count` integers of a list, from 0 to `end` - 1."""
    numbers = json_numbers(values, count)
    if not all(0 <= number < end and math.floor(number) == number for number in numbers):
        raise ValueError(f"integers from 0 to {end - 1:g} are wanted. Received: {shown(values)}")
    return tuple(int(number) for number in numbers)


def _checked(value, kind):
    if not isinstance(value, kind):
        raise ValueError(f"{kind.__name__} is wanted. Received: {shown(value)}")
    return value
