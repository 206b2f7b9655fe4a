"""Files from servers: resumed where they broke off, checked before anybody reads them, put in place whole.

What is on its way is `<file>.part`, and `<file>.part.json` says which version of which address it is of.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import reason
from hrnet_tf.first_bytes import LOOKED_AT, what_it_is

MIRROR = "HRNET_TF_MIRROR"
# Seconds to wait for a connection and for the next bytes; and tries in a row that bring nothing.
_TIMEOUT = (10, 30)
_TRIES = 3
_CHUNK = 1 << 20
# Of a list: more is none.
_MAX_TEXT = 10 << 20
# As they are, so that they can be counted and resumed.
_HEADERS = {"Accept-Encoding": "identity"}


class _FailedError(Exception):
    """An address that gives no file, and why, as can follow "address: "."""


@dataclasses.dataclass
class _Part:
    """What has come of a file so far.

    Attributes:
        path: it.
        url: where it is from.
        version: what the server said to tell versions of it by (ETag, or the time of its last change), or "".
    """

    path: Path
    url: str
    version: str = ""

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def read_note(self) -> None:
        """Takes over what an earlier process has left of this address; what is of another one is dropped."""
        try:
            content = json.loads(self.note.read_text(encoding="utf-8"))
            url, self.version = content["url"], str(content["version"])
        except (OSError, ValueError, TypeError, KeyError):
            url = None
        if url != self.url:
            self.drop()

    def start(self, version: str) -> None:
        self.version = version
        self.note.write_text(json.dumps({"url": self.url, "version": version}), encoding="utf-8")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.version = ""


def fetch(urls: Sequence[str], sha256: str, path: Path, name: str) -> None:
    """Downloads a file to `path`, of which nobody else may be writing (`cache.writing`).

    Args:
        urls: its addresses, in the order in which they are tried; before them that on HRNET_TF_MIRROR.
        sha256: its SHA-256 in hexadecimal digits, or how that begins; "" takes what comes.
        path: where it is put, once it is whole and has this hash.
        name: what it is to be called in messages.

    Raises:
        InputError: no address gives it, or `path` cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    failures: list[str] = []
    for url in _with_mirror(urls):
        if failures:
            progress.note(f"note: {failures[-1]}; trying {_host(url)}")
        try:
            _fetch_one(_Part(part, url), sha256, name)
            os.replace(part, path)
            _Part(part, url).drop()
            return
        except _FailedError as error:
            failures.append(f"{url}: {error}")
        except OSError as error:
            with contextlib.suppress(OSError):  # such as of a full disk, which is not left full
                _Part(part, url).drop()
            raise InputError(f"cannot write {part}: {reason(error)}") from error
    others = f" (the last of {len(failures)} addresses)" if len(failures) > 1 else ""
    raise InputError(f"cannot download {name}: {failures[-1]}{others}. Fetch it by hand and put it at {path}")


def fetch_text(url: str) -> str:
    """The text at an address.

    Raises:
        InputError: there is none.
    """
    try:
        content = b""
        with _get(url, {}) as response:
            for chunk in response.iter_content(_CHUNK):
                content += chunk
                if len(content) > _MAX_TEXT:
                    raise _FailedError("it is too long for a list")
        if (kind := what_it_is(content[:LOOKED_AT])) and kind != "text in JSON":
            raise _FailedError(f"it is {kind}")
        return content.decode("utf-8-sig")
    except (_FailedError, UnicodeError, requests.RequestException, OSError) as error:
        raise InputError(f"cannot read {url}: {_in_words(error)}") from error


def fetch_json(url: str) -> Any:
    """What is at an address in JSON.

    Raises:
        InputError: there is nothing, or it is something else.
    """
    try:
        return json.loads(fetch_text(url))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{url} is not JSON: {error}") from error


def linked_hash(url: str) -> str:
    """What huggingface.co says is the SHA-256 of a large file, or "" where it says nothing.

    Raises:
        InputError: the file is not there, or the server does not answer.
    """
    try:
        answer = requests.head(url, headers=_HEADERS, allow_redirects=True, timeout=_TIMEOUT)
        if answer.status_code != 200:
            raise _FailedError(f"the server answers {answer.status_code} {answer.reason}")
    except (_FailedError, requests.RequestException) as error:
        raise InputError(f"cannot read {url}: {_in_words(error)}") from error
    told = [response.headers.get("X-Linked-Etag", "") for response in (*answer.history, answer)]
    return next(filter(None, told), "").strip('"').lower()


def verify(path: Path, sha256: str) -> str:
    """What is wrong with a file that is to have this SHA-256, or one that begins so; "" where it has.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            head = file.read(LOOKED_AT)
            file.seek(0)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    kind = what_it_is(head)
    if not sha256:
        return f"it is {kind}" if kind.startswith(("an HTML page", "empty")) else ""
    if digest.hexdigest().startswith(sha256):
        return ""
    return (
        f"it is {kind}"
        if kind and "zip" not in kind and "pickle" not in kind
        else (f"its SHA-256 is {digest.hexdigest()[:16]}..., not {sha256[:16]}")
    )


def _with_mirror(urls):
    mirror = os.environ.get(MIRROR)
    return [f"{mirror.rstrip('/')}/{file_name(urls[0])}", *urls] if mirror else list(urls)


def file_name(url: str) -> str:
    """The last part of an address's path."""
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])


def _host(url):
    return urllib.parse.urlsplit(url).netloc


def _fetch_one(part: _Part, sha256: str, name: str, may_restart: bool = True) -> None:
    """Brings all of one address into `part`, or raises _FailedError and keeps of it what can be gone on with."""
    part.read_note()
    resumed = part.size > 0
    without_progress = 0
    while True:
        before = part.size
        try:
            _transfer(part, name)
            break
        except requests.RequestException as error:
            without_progress = 0 if part.size > before else without_progress + 1
            resumed = True
            if without_progress == _TRIES or isinstance(error, requests.exceptions.InvalidURL):
                raise _FailedError(_in_words(error)) from error
            time.sleep(without_progress)
    wrong = verify(part.path, sha256)
    if wrong:
        part.drop()
        if resumed and may_restart:  # what was there before may have been of another file
            _fetch_one(part, sha256, name, may_restart=False)
            return
        raise _FailedError(wrong)


def _transfer(part: _Part, name: str) -> None:
    """One request: the rest of the file, or all of it where the server has another version or no rests."""
    start = part.size
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and part.version:
        headers["If-Range"] = part.version
    with _get(part.url, headers, refusals_of_ranges=(416,)) as response:
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {start}-"
        )
        if start and not goes_on:
            part.drop()
            start = 0
            if response.status_code != 200:  # another part, or that there is none such
                raise requests.ConnectionError("the rest of the file cannot be had")
        if not start:
            etag = response.headers.get("ETag", "")
            part.start(etag if etag.startswith('"') else response.headers.get("Last-Modified", ""))
        length = response.headers.get("Content-Length", "")
        total = math.ceil((start + int(length)) / _CHUNK) if length.isdecimal() else None
        with (
            open(part.path, "ab" if start else "wb") as file,
            progress.bar(f"downloading {name}", total, "MB", initial=start // _CHUNK) as bar,
        ):
            for chunk in response.iter_content(_CHUNK // 16):
                file.write(chunk)
                bar.update(file.tell() // _CHUNK - bar.n)


def _get(url: str, headers: dict[str, str], refusals_of_ranges: tuple[int, ...] = ()) -> requests.Response:
    """The answer of a server, whose body has not been read, or _FailedError if it is a refusal."""
    response = requests.get(url, headers=_HEADERS | headers, stream=True, timeout=_TIMEOUT)
    if response.status_code not in (200, 206, *refusals_of_ranges):
        response.close()
        if response.status_code >= 500:
            raise requests.ConnectionError(f"the server answers {response.status_code} {response.reason}")
        raise _FailedError(f"the server answers {response.status_code} {response.reason}{_redirected(response)}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        response.close()
        raise _FailedError(f"it is an HTML page in place of the file, as to log in on{_redirected(response)}")
    return response


def _redirected(response: requests.Response) -> str:
    """Where an answer comes from that is not from where it was asked for, such as a page to log in on."""
    hosts = _host(response.url) if response.history else ""
    return f" (redirected to {hosts})" if hosts else ""


def _in_words(error: Exception) -> str:
    """What went wrong, in few words: those of `requests` are pages of what failed within what."""
    text = str(error)
    match error:
        case requests.exceptions.SSLError():
            return "its certificate is not trusted (REQUESTS_CA_BUNDLE names a file of others)"
        case requests.exceptions.ProxyError():
            return "the proxy cannot be reached or refuses (HTTPS_PROXY)"
        case requests.Timeout():
            return f"no answer within {_TIMEOUT[1]} seconds"
        case _ if "resolve" in text.lower():
            return "its host is not found, as without a network"
        case _ if "refused" in text.lower():
            return "the connection is refused"
        case requests.exceptions.ChunkedEncodingError():
            return "the connection breaks off"
    return reason(error)[:100]
