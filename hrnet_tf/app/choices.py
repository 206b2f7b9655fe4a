"""What can be chosen in the page: what is on this machine, and what would be downloaded."""

from collections.abc import Iterable

from hrnet_tf.app.engine import AUTOMATIC, WHOLE_PICTURE
from hrnet_tf.prediction.boxes import DEFAULT_DETECTOR
from hrnet_tf.pretrained import find, local, names
from hrnet_tf.pretrained.table import Entry

# What a page without any network offers first.
_DEFAULT_NETWORK = "hrnet_w32_coco_256x192_udp"

# What is shown, and the name or file that it stands for.
Choice = tuple[str, str]


def network_choices(given: Iterable[str]) -> list[Choice]:
    """The networks: first those given, then those on this machine, then all others.

    Args:
        given: files or names.
    """
    given = list(given)
    entries = [entry for entry in _entries() if not (entry.is_detector or entry.is_classifier or entry.name in given)]
    if not given:
        entries.sort(key=lambda entry: entry.name != _DEFAULT_NETWORK)
    return [(name, name) for name in given] + _by_place(entries)


def detector_choices(given: Iterable[str]) -> list[Choice]:
    """The detectors: first those given, else the choice by the network's keypoints; then the others, or none."""
    given = list(given)
    entries = [entry for entry in _entries() if entry.is_detector and entry.name not in given]
    automatic = (f"{AUTOMATIC}: {DEFAULT_DETECTOR} for people, else {WHOLE_PICTURE}", AUTOMATIC)
    rest = [automatic, (f"none: {WHOLE_PICTURE}", WHOLE_PICTURE)]
    return [(name, name) for name in given] + rest + _by_place(entries)


def _entries() -> list[Entry]:
    """The rows of the list whose files can be checked."""
    return [entry for entry in map(find, names()) if entry.sha256]


def _by_place(entries: Iterable[Entry]) -> list[Choice]:
    there, absent = [], []
    for entry in entries:
        if local.is_there(entry):
            there.append((f"{entry.name} (on this machine)", entry.name))
        else:
            absent.append((f"{entry.name} (to be downloaded)", entry.name))
    return there + absent
