"""`hrnet-tf predict-dataset`: people in sets of pictures of any size, by one process or by a Ray cluster."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from hrnet_tf import progress
from hrnet_tf.cli import shared
from hrnet_tf.detection.detector import DEFAULT_SCORE
from hrnet_tf.errors import InputError, listed
from hrnet_tf.model_card import read_card
from hrnet_tf.models.variants import BOTTOM_UP
from hrnet_tf.prediction import boxes
from hrnet_tf.pretrained.local import detector_file
from hrnet_tf.scaling import stores
from hrnet_tf.version import __version__

if TYPE_CHECKING:
    from hrnet_tf.scaling.jobs import Outcome, Settings
    from hrnet_tf.scaling.parts import Part

FLAGS = flags.FLAGS
# By which the results of two runs can differ in more than their last digits.
_TELLING = ("whole_image", "image_column", "part_pictures", "max_pixels", "flip_test", "precision")


def main() -> None:
    stores.check_installed("fsspec", "pyarrow", *(["ray"] if FLAGS.address else []))
    from hrnet_tf.scaling import cluster, jobs
    from hrnet_tf.scaling.parts import find_parts, pictures_digest

    shared.assume_frozen_weights()
    if len(FLAGS.input or []) != 1:
        raise InputError(f"one folder, list or shard is wanted. Received: {listed(FLAGS.input or []) or 'none'}")
    (source,) = FLAGS.input
    with cluster.connected(FLAGS.address) if FLAGS.address else contextlib.nullcontext():
        parts = find_parts(source, FLAGS.part_pictures)
        settings = _settings()
        detector = settings.detector
        job = {
            "version": __version__,
            "input": os.path.abspath(source) if stores.is_local(stores.open_store(source)[0]) else source,
            "pictures": pictures_digest(parts),
            "model": settings.model.name,
            "model_sha256": settings.model.digest(),
            "detector": detector and detector.name,
            "detector_sha256": detector and detector.digest(),
            "box_threshold": settings.box_threshold,
            **{name: FLAGS[name].value for name in _TELLING},
        }
        there = jobs.open_job(FLAGS.out_dir, job, source)
        left = [part for part in parts if part.name not in there]
        if len(left) < len(parts):
            print(f"{len(parts) - len(left)} of {len(parts)} part(s) are there already")
        if left:
            _finish([*_predicted(settings, left)])


def _settings() -> "Settings":
    from hrnet_tf.scaling.jobs import Packed, Settings

    model = Path(shared.model_file())
    if not model.exists():
        raise InputError(f"--model {model} does not exist")
    card = read_card(model)
    if card and FLAGS.flip_test:
        card.skeleton.check_mirroring("give --noflip_test")
    detector, size = (None, None) if FLAGS.whole_image else _detector(card)
    return Settings(
        out_dir=FLAGS.out_dir if "://" in FLAGS.out_dir else os.path.abspath(FLAGS.out_dir),
        model=Packed.of(model),
        detector=detector and Packed.of(detector),
        detector_size=size,
        box_threshold=DEFAULT_SCORE if FLAGS.box_threshold is None else FLAGS.box_threshold,
        image_column=FLAGS.image_column,
        max_pixels=FLAGS.max_pixels,
        flip_test=FLAGS.flip_test,
        batch_size=FLAGS.batch_size,
        precision=FLAGS.precision,
        jit_compile={"on": True, "off": False}.get(FLAGS.xla),
        tf32=FLAGS.tf32,
        trusted=FLAGS.trust_model,
    )


def _detector(card):
    """File and input size of what finds people; of neither for a network that does so itself."""
    if card and card.kind == BOTTOM_UP:
        if FLAGS.detector or FLAGS.box_threshold is not None:
            raise InputError("--detector and --box_threshold are for networks of crops: --model finds people by itself")
        return None, None
    if not FLAGS.detector and card and not boxes.is_of_people(FLAGS.model, card.skeleton):
        raise InputError(
            "--model has keypoints of no people that a detector finds: give --whole_image, or a --detector of its own"
        )
    try:
        path, size = detector_file(FLAGS.detector or boxes.DEFAULT_DETECTOR, FLAGS.allow_unverified)
    except InputError as error:
        raise InputError(f"{error}; or give --detector=FILE or --whole_image") from error
    if not path.is_file():
        raise InputError(f"--detector {path} does not exist")
    return path, size


def _predicted(settings: "Settings", parts: "list[Part]") -> "Iterator[Outcome]":
    """What came of each part, with a bar of the pictures."""
    from hrnet_tf.scaling import cluster

    total = sum(len(part.names) for part in parts) or None
    with progress.bar("predicting", total, "pictures") as shown:
        if FLAGS.address:
            for outcome in cluster.predict_parts(settings, parts):
                shown.update(outcome.pictures)
                yield outcome
            return
        from hrnet_tf.scaling.worker import PartWorker

        worker = PartWorker(settings)
        for part in parts:
            yield worker(part, shown.update)


def _finish(outcomes: "list[Outcome]") -> None:
    """Says what was done.

    Raises:
        InputError: there are no results of a part.
    """
    done = [outcome for outcome in outcomes if not outcome.error]
    pictures, unreadable, people = (
        sum(getattr(o, name) for o in done) for name in ("pictures", "unreadable", "people")
    )
    found = "each taken for one person" if FLAGS.whole_image else f"{people} people"
    said = f", {unreadable} of them cannot be read" if unreadable else ""
    print(f"{pictures} pictures in {len(done)} part(s){said}, {found}; wrote {FLAGS.out_dir}")
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        progress.note(f"note: no results of {outcome.part}: {outcome.error}")
    if failed:
        raise InputError(
            f"{len(failed)} of {len(outcomes)} part(s) cannot be read: {failed[0].error}. Repeat the command"
        )
