"""What `hrnet-tf predict` does with files once it has a network: one after the other, going on where it stopped."""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from hrnet_tf import progress
from hrnet_tf.cli import commands, shared
from hrnet_tf.errors import InputError, listed, printable
from hrnet_tf.prediction import boxes, files
from hrnet_tf.prediction.boxes import BoxSource
from hrnet_tf.prediction.flow import Done
from hrnet_tf.prediction.journal import Journal, claimed, fingerprint, identity_of
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.sources import Found
from hrnet_tf.prediction.streams import Stream
from hrnet_tf.version import __version__

FLAGS = flags.FLAGS
# Flags that say what is predicted and where to, not how.
_PLACES = ("input", "recursive", "out_dir", "profile")
_FILES = ("model", "detector", "detections", "annotations")


def predict_found(
    found: Found, predictor: PosePredictor, boxes_of: BoxSource, category_id: int, bad_images: shared.BadImages
) -> None:
    """Predicts images and videos into --out_dir and says what there was.

    Several videos, or a video beside images, get a folder each, of the video's name.

    Args:
        found: what there is to predict.
        predictor: a `PosePredictor`.
        boxes_of: one of `prediction.boxes`.
        category_id: what results are written with.
        bad_images: called with the InputError of what cannot be read.
    """
    with claimed(FLAGS.out_dir), _journal(found) as journal:
        all_done = []
        if found.images:
            done = files.predict_images(
                predictor,
                found.images,
                FLAGS.out_dir,
                boxes_of,
                bad_images,
                FLAGS.score_threshold,
                category_id,
                FLAGS.keypoints,
                FLAGS.save_crops,
                journal,
            )
            all_done.append((f"{done.pictures} of {len(found.images)} images", "images", done))
        folders = _folders(found)
        for video, folder in folders.items():
            try:
                done = _video_done(journal, video, folder) or _predict_video(
                    predictor, video, folder, boxes_of, category_id
                )
            except InputError as error:
                if len(folders) + len(all_done) == 1:
                    raise
                bad_images(error)
                continue
            if not isinstance(video, Stream):
                journal.add([(video, identity_of(video, str(folder)), [done._asdict()])])
            name = f"{printable(video.name)}: " if len(folders) > 1 or found.images else ""
            all_done.append((f"{name}{done.pictures} frames", "frames", done))
        journal.remove()
    bad_images.report()
    if not all_done:
        raise InputError("none of the videos can be read")
    for what, unit, done in all_done:
        if done.empty:
            print(f"nobody in {len(done.empty)} of {done.pictures} {unit}: {listed(done.empty)}")
        people = "each taken for one person" if boxes_of is boxes.whole_image else f"{done.people} people"
        print(f"{what}, {people}; wrote {FLAGS.out_dir}")


@contextlib.contextmanager
def _journal(found: Found) -> Iterator[Journal]:
    """The journal of --out_dir; says what an interrupted run has left there, and what this one leaves."""
    journal = Journal(FLAGS.out_dir, _settings())
    if journal.differing:
        print(f"begun anew: the run that was interrupted there was of other {listed(journal.differing)}")
    elif len(journal):
        paths = [*found.images, *(video for video in found.videos if not isinstance(video, Stream))]
        count = sum(path in journal for path in paths)
        print(f"goes on: {count} of {len(found.images) + len(found.videos)} files are done already")
    try:
        yield journal
    except KeyboardInterrupt:
        if len(journal):
            progress.note(f"interrupted: {len(journal)} files are done; the same command goes on with the others")
        raise
    finally:
        journal.close()


def _settings() -> dict[str, Any]:
    """What results follow from: flags, the contents of the files that they name, the version."""
    settings = {flag.name: flag.value for flag in commands.defined_flags() if flag.name not in _PLACES}
    paths = {name: shared.model_file() if name == "model" else FLAGS[name].value for name in _FILES}
    digests = {f"{name} file": fingerprint(path) for name, path in paths.items() if path and os.path.exists(path)}
    return settings | digests | {"version": __version__}


def _folders(found: Found) -> dict[Path | Stream, Path]:
    """The folder for the results of each video."""
    out_dir = Path(FLAGS.out_dir)
    if len(found.videos) == 1 and not found.images:
        return {found.videos[0]: out_dir}
    folders: dict[Path | Stream, Path] = {}
    for video in found.videos:
        names = itertools.chain([video.stem], (f"{video.stem}-{i}" for i in itertools.count(2)))
        folders[video] = next(out_dir / name for name in names if out_dir / name not in folders.values())
    return folders


def _video_done(journal: Journal, video: Path | Stream, folder: Path) -> Done | None:
    """What was predicted of a video by the run that was interrupted, if it was whole."""
    if isinstance(video, Stream) or not video.exists() or not journal.has(video, identity_of(video, str(folder))):
        return None
    return Done(**journal.results(video)[0]) if (folder / f"{video.stem}.mp4").exists() else None


def _predict_video(
    predictor: PosePredictor, video: Path | Stream, folder: Path, boxes_of: BoxSource, category_id: int
) -> Done:
    with _until_signal() if isinstance(video, Stream) else contextlib.nullcontext() as stop:
        done = files.predict_video(
            predictor,
            video,
            folder,
            boxes_of,
            FLAGS.score_threshold,
            category_id,
            FLAGS.keypoints,
            FLAGS.smooth,
            FLAGS.detect_every,
            FLAGS.save_crops,
            stop,
        )
    if isinstance(boxes_of, boxes.Detections) and done.people < boxes_of.count:
        lost = boxes_of.count - done.people
        shared.print_omissions([f"left out: {lost} of {boxes_of.count} detections that are of none of its frames"])
    return done


@contextlib.contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets: a live stream ends well. The second one ends as ever."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def on_signal(number, frame):
        stop.set()
        restore()

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
