"""What the course of a training follows from besides what its states fit, for --resume to tell what differs."""

from typing import Any

from absl import flags

from hrnet_tf import devices
from hrnet_tf.cli.commands import defined_flags
from hrnet_tf.version import __version__

FLAGS = flags.FLAGS
# Flags that leave the course as it is: where things lie, and when something is done.
_ELSEWHERE = {"work_dir", "data_dir", "annotations", "images", "val_annotations", "val_images", "detections"}
_RUNNING = {
    "resume",
    "save_minutes",
    "max_pixels",
    "allow_unverified",
    "pretrained",
    "max_bad_steps",
    "workers",
    "worker",
}
# What `claimed` refuses by itself.
_FITTED = {"model", "input_size", "batch_size", "seed", "codec", "precision", "channel_order", "freeze"}


def course(replicas: int) -> dict[str, Any]:
    """{name: what JSON can hold} of flags, devices and versions."""
    left_out = _ELSEWHERE | _RUNNING | _FITTED
    given = {f"--{flag.name}": flag.value for flag in defined_flags() if flag.name not in left_out}
    return given | {"replicas": replicas, "hrnet_tf": __version__} | devices.in_words()
