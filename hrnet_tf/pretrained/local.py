"""From what a network is called to a file of this machine: a path, a name of the list, or an address.

best.keras, export/saved_model       a path that there is comes before a name
hrnet_w32_coco_256x192_udp           a name of the list: downloaded, checked and converted once
hf://user/repository[/file]          a file of huggingface.co
https://host/file.keras#sha256=...   a file anywhere
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, reason
from hrnet_tf.model_files import check_model_file
from hrnet_tf.pretrained import addresses, cache
from hrnet_tf.pretrained.download import fetch, file_name, verify
from hrnet_tf.pretrained.table import Entry, entries, find

if TYPE_CHECKING:
    import keras

    from hrnet_tf.model_card import ModelCard

# What cannot be a path that somebody has mistyped.
_LIKE_A_NAME = re.compile(r"[\w+-]+", re.ASCII)


def model_file(text: PathLike, allow_unverified: bool = False) -> Path:
    """The file of a network, downloaded and converted where it is not there yet.

    Args:
        text: a path, which is returned as it is; a name of `names()`; "hf://user/repository", or with "/file" at its
            end; "https://host/file.keras#sha256=...". What can be none of these is taken for a path.
        allow_unverified: whether to take a file whose hash nobody knows.

    Raises:
        InputError: there is no network of that name, or it cannot be had, is damaged, or has no known hash.
    """
    entry = _named(text)
    if entry is None:
        return _unnamed(text, allow_unverified)
    _check_no_detector(entry)
    if entry.is_classifier:
        raise InputError(f"{entry.name} is a classifier, to start training from alone: --pretrained={entry.name}")
    if entry.note:
        progress.note(f"note: {entry.name}: {entry.note}")
    path = place(entry)
    return _obtain(entry, allow_unverified) if path.suffix == ".keras" else _converted(entry, allow_unverified)


def weights_file(text: PathLike, allow_unverified: bool = False) -> Path:
    """The file of weights to start training from: a path as it is, or of a name the file of PyTorch that was published.

    Args:
        text: a path, a name of `names()`, or an address as of `model_file`, but of a file of PyTorch or safetensors.
        allow_unverified: as of `model_file`.

    Raises:
        InputError: as `model_file`.
    """
    entry = _named(text)
    if entry is None:
        return _unnamed(text, allow_unverified, addresses.WEIGHTS_SUFFIXES)
    _check_no_detector(entry)
    return _obtain(entry, allow_unverified)


def detector_file(text: PathLike, allow_unverified: bool = False) -> tuple[Path, tuple[int, int] | None]:
    """The file of a detector, downloaded where it is not there yet.

    Args:
        text: a path, a name or an address, as of `model_file`.
        allow_unverified: as of `model_file`.

    Returns:
        its path, and of a name the size (h, w) of what it looks at.

    Raises:
        InputError: as `model_file`, or it is a network of keypoints.
    """
    entry = _named(text)
    if entry is None:
        return _unnamed(text, allow_unverified), None
    if not entry.is_detector:
        known = ", ".join(name for name, row in entries().items() if row.is_detector)
        raise InputError(f"{entry.name} is no detector, but predicts keypoints. Detectors are {known}")
    return _obtain(entry, allow_unverified), entry.input_size


def load_pretrained(name: PathLike, allow_unverified: bool = False) -> "keras.Model":
    """The network of a name, with its weights; `card` tells what its keypoints are and how it is decoded.

    Args:
        name: as of `model_file`, of a `.keras` file.
        allow_unverified: as of `model_file`.

    Returns:
        an uncompiled `keras.Model`, images [B,H,W,3] RGB from 0 to 255 -> heatmaps [B,H/4,W/4,K].

    Raises:
        InputError: as `model_file`, or it is no `.keras` file, or damaged.
    """
    import keras

    path = model_file(name, allow_unverified)
    if path.suffix != ".keras" or not path.is_file():
        raise InputError(f"a .keras file or the name of a network must be given. Received: {name}")
    check_model_file(path)
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types on a damaged file
        raise InputError(f"model {path} cannot be loaded: {reason(error)}") from error


def card(name: str) -> "ModelCard":
    """What the network of a name predicts, and how its crops are cut and its heatmaps decoded. Downloads nothing.

    Raises:
        InputError: there is no such name, or it is that of a classifier.
    """
    from hrnet_tf.pretrained.convert import card_of

    entry = find(name)
    _check_no_detector(entry)
    if entry.is_classifier:
        raise InputError(f"{name} is a classifier, which predicts no keypoints")
    return card_of(entry)


def place(entry: Entry) -> Path:
    """Where the file of a row is kept once it is downloaded; a `.keras` file that is made of it lies beside it."""
    suffix = Path(file_name(entry.urls[0])).suffix or ".pth"
    return cache.folder() / f"{entry.name}-{entry.sha256[:8] or 'unverified'}{suffix}"


def is_there(entry: Entry) -> bool:
    """Whether the file of a row is on this machine."""
    path = place(entry)
    return path.is_file() or path.with_suffix(".keras").is_file()


def _named(text: PathLike) -> Entry | None:
    """The row of a name; None where it is a path or an address."""
    if not isinstance(text, str) or os.path.exists(text):
        return None
    if text in (there := entries()):
        return there[text]
    if _LIKE_A_NAME.fullmatch(text):
        try:
            find(text)
        except InputError as error:
            raise InputError(f"there is no file or folder {text}, and {error}") from error
    return None


def _unnamed(text: PathLike, allow_unverified: bool, suffixes: tuple[str, ...] = addresses.MODEL_SUFFIXES) -> Path:
    """The file of an address, whose name ends in one of `suffixes`; a path as it is."""
    address = addresses.parse(os.fspath(text), suffixes)
    return Path(text) if address is None else _of_address(address, allow_unverified)


def _check_no_detector(entry: Entry) -> None:
    if entry.is_detector:
        raise InputError(f"{entry.name} is a detector, which predicts no keypoints: it is for --detector={entry.name}")


def _of_address(address: addresses.Address, allow_unverified: bool) -> Path:
    path = address.path
    if path.is_file() and (address.is_of_hub and not address.sha256):
        return path  # checked when it came
    if path.is_file() and address.sha256 and not verify(path, address.sha256):
        return path
    url, sha256 = address.ask()
    return _download(path.name, (url,), sha256, path, allow_unverified)


def _obtain(entry: Entry, allow_unverified: bool) -> Path:
    return _download(entry.name, entry.urls, entry.sha256, place(entry), allow_unverified)


def _download(name, urls, sha256, path, allow_unverified):
    """`path`, once it is there and has this hash."""
    if not sha256 and not allow_unverified:
        raise InputError(
            f"{name} has no known SHA-256, so that what {urls[0]} sends cannot be checked: give it (#sha256=... after "
            "an address, in a list the column sha256), or --allow_unverified, in Python allow_unverified=True"
        )
    if path.is_file() and not verify(path, sha256):
        return path
    with cache.writing(path):
        if path.is_file():
            wrong = verify(path, sha256)
            if not wrong:  # another process has brought it
                return path
            progress.note(f"note: {path}: {wrong}; it is downloaded again")
        fetch(urls, sha256, path, name)
    return path


def _converted(entry: Entry, allow_unverified: bool) -> Path:
    from hrnet_tf.pretrained.convert import convert, is_converted

    path = place(entry).with_suffix(".keras")
    if is_converted(entry, path):
        return path
    weights = _obtain(entry, allow_unverified)
    with cache.writing(path):
        if not is_converted(entry, path):
            progress.note(f"converting {weights} once: seconds, or a minute or two for large networks")
            convert(entry, weights, path)
    return path
