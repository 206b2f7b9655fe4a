"""Networks by address: "hf://user/repository[/file]" and "https://host/file.keras#sha256=...".

A file of huggingface.co (HF_ENDPOINT names another such server) need not come with its hash: the server tells it.
"""

import dataclasses
import os
import re
import urllib.parse
from pathlib import Path

from hrnet_tf.errors import InputError, listed, shown
from hrnet_tf.pretrained import cache
from hrnet_tf.pretrained.download import fetch_json, file_name, linked_hash
from hrnet_tf.pretrained.table import HASH, is_address

_HUB = "hf://"
_SCHEMES = (_HUB, "http://", "https://")
# What networks are loaded from, of which hf:// without a file takes the first; and weights to start training from.
MODEL_SUFFIXES = (".keras", ".onnx", ".tflite")
WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".tar")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(?:/[\w./-]+)?", re.ASCII)
_HUB_HASH = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Address:
    """A file somewhere.

    Attributes:
        location: "user/repository/file" or "user/repository" of the hub, else the address itself.
        is_of_hub: which of the two.
        sha256: as it was given, or "".
    """

    location: str
    is_of_hub: bool
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is kept once it is downloaded."""
        name = self.location if self.is_of_hub else file_name(self.location)
        suffix = Path(name).suffix if _has_file(self.location, self.is_of_hub) else MODEL_SUFFIXES[0]
        stem = re.sub(r"[^\w.+-]", "_", name.removesuffix(suffix).replace("/", "--"), flags=re.ASCII)[-100:]
        if not (self.sha256 or self.is_of_hub):
            stem += "-unverified"
        return cache.folder() / f"{stem}{'-' if self.sha256 else ''}{self.sha256[:8]}{suffix}"

    def ask(self) -> tuple[str, str]:
        """(address to download from, SHA-256 or "" where nobody knows it).

        Raises:
            InputError: the hub does not answer, or its repository has no such file.
        """
        if not self.is_of_hub:
            return self.location, self.sha256
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        user, repository, *file = self.location.split("/", 2)
        name = file[0] if file else _only_model(f"{hub}/api/models/{user}/{repository}", self.location)
        url = f"{hub}/{user}/{repository}/resolve/main/{urllib.parse.quote(name)}"
        if self.sha256:
            return url, self.sha256
        told = linked_hash(url)
        return url, told if _HUB_HASH.fullmatch(told) else ""


def _has_file(location, is_of_hub):
    return not is_of_hub or location.count("/") > 1


def parse(text: str, suffixes: tuple[str, ...] = MODEL_SUFFIXES) -> Address | None:
    """The `Address` of a text, None where it is none.

    Args:
        text: what may be one.
        suffixes: how the name of its file may end.

    Raises:
        InputError: it is meant to be one, but cannot be.
    """
    if not text.startswith(_SCHEMES):
        return None
    url, sign, fragment = text.partition("#")
    sha256 = fragment.removeprefix("sha256=").lower()
    if sign and not (fragment.startswith("sha256=") and HASH.fullmatch(sha256)):
        raise InputError(
            f"after # an address must have sha256= and 8 to 64 hexadecimal digits. Received: {shown(text)}"
        )
    is_of_hub = url.startswith(_HUB)
    location = url.removeprefix(_HUB) if is_of_hub else url
    if not (_REPOSITORY.fullmatch(location) and ".." not in location if is_of_hub else is_address(url)):
        raise InputError(
            f"an address must be like hf://user/repository/file.keras or https://host/file.keras#sha256=... "
            f"Received: {shown(text)}"
        )
    has_file = _has_file(location, is_of_hub)
    if not (urllib.parse.urlsplit(location).path.endswith(suffixes) if has_file else suffixes is MODEL_SUFFIXES):
        why = "; of which network weights of PyTorch are, a list can say (HRNET_TF_PRETRAINED)"
        raise InputError(
            f"it must be the address of a {', '.join(suffixes)} file{why if suffixes is MODEL_SUFFIXES else ''}. "
            f"Received: {shown(text)}"
        )
    return Address(location, is_of_hub, sha256)


def _only_model(url, repository):
    """The one `.keras` file of a repository of the hub."""
    content = fetch_json(url)
    files = content.get("siblings") if isinstance(content, dict) else None
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise InputError(f"{url} is not the description of a repository. Received: {shown(content)}")
    found = [str(file.get("rfilename")) for file in files if str(file.get("rfilename")).endswith(MODEL_SUFFIXES[0])]
    if len(found) != 1:
        raise InputError(
            f"{_HUB}{repository} must have one {MODEL_SUFFIXES[0]} file, else name the file: {_HUB}{repository}/FILE. "
            f"There are: {listed(found) or 'none'}"
        )
    return found[0]
