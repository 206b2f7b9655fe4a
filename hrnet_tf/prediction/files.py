"""Prediction of images, folders and videos, and the files that come of it.

Shape legend: H and W image, N people, K keypoints.
"""

import contextlib
import functools
import os
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import cv2
import numpy as np

from hrnet_tf import progress
from hrnet_tf.ahead import THREADS, in_background
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.prediction.boxes import BoxSource, Detections
from hrnet_tf.prediction.flow import Done, Drawn, drawn, together
from hrnet_tf.prediction.follow import SMOOTHINGS, Follower, frame_by_frame, smoothed_whole
from hrnet_tf.prediction.journal import Journal, identity_of
from hrnet_tf.prediction.people import People
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.reading import read_pictures
from hrnet_tf.prediction.results import Picture, ResultForm, results_writer
from hrnet_tf.prediction.sources import picture_names, result_ids, root_of
from hrnet_tf.prediction.streams import Stream, newest
from hrnet_tf.prediction.video import open_video
from hrnet_tf.prediction.video_writer import video_writer
from hrnet_tf.timing import each_timed, timed
from hrnet_tf.tracking import NO_TRACK
from hrnet_tf.visualize import write_image

CROPS = "crops"


def predict_images(
    predictor: PosePredictor,
    numbers: dict[Path, int | None],
    out_dir: PathLike,
    boxes_of: BoxSource,
    on_bad_image: Callable[[InputError], None],
    score_threshold: float = 0.2,
    category_id: int = 1,
    keypoint_set: str | None = None,
    save_crops: bool = False,
    journal: Journal | None = None,
) -> Done:
    """Predicts people in image files and writes annotated copies, `predictions.json` and `predictions.csv`.

    Args:
        predictor: a `PosePredictor`.
        numbers: images of one folder and folders in it, as `find_images` gives them.
        out_dir: another folder, made if there is none.
        boxes_of: one of `prediction.boxes`.
        on_bad_image: called with the InputError of an image that cannot be read.
        score_threshold: keypoints scored at or below it are not drawn; the results have them.
        category_id: what the results are written with.
        keypoint_set: of `skeletons.NAMES`, what results and copies have instead of the network's keypoints.
        save_crops: write what is in the box of each person too, as crops/<name>_<number of the person>.jpg.
        journal: what is done already, and is not done again.

    Returns:
        what was predicted.

    Raises:
        InputError: no image can be read, or `out_dir` cannot be written or is the images' folder, or the network
            has no keypoint of the set.
    """
    form = ResultForm(predictor.skeleton, keypoint_set, category_id)
    ids = result_ids(numbers)
    named = dict(zip(numbers, picture_names(numbers), strict=True))

    def draw(picture, people):
        copy = Path(out_dir, copy_name(picture.name))
        copy.parent.mkdir(parents=True, exist_ok=True)
        image = annotated(picture, people, score_threshold)
        with timed("writing"):
            write_image(copy, image)
            if save_crops:
                _write_crops(picture, people, [f"{picture.name}_{i}" for i in range(len(people))], out_dir)

    copies = {path: Path(out_dir, copy_name(name)) for path, name in named.items()}
    originals = {os.path.realpath(path) for path in numbers}
    if any(os.path.realpath(copy) in originals for copy in copies.values()):
        raise InputError(f"annotated copies would replace the originals: give another folder than {out_dir}")
    with _staging_folder(out_dir, root_of(numbers)) as staging, contextlib.ExitStack() as opened:
        if journal is None:
            journal = Journal(opened.enter_context(tempfile.TemporaryDirectory()), {})
            opened.callback(journal.close)
        found = {name: (path, identity_of(path, name, numbers[path])) for path, name in named.items()}
        todo = _todo(journal, found, copies)
        groups = together(
            predictor, read_pictures(todo, numbers, ids, boxes_of, predictor.check_image_size, on_bad_image)
        )
        for group in drawn(groups, form, draw, THREADS, len(todo), "pictures"):
            journal.add((*found[one.name], one.results) for one in group)
        done = Done(0, 0, [])
        with results_writer(staging, form) as add:
            for one in _all_drawn(journal, found, ids):
                add(one.results)
                done = done.and_these([one])
        if not done.pictures:
            raise InputError("none of the images can be read")
        _move_all(staging, out_dir)
    return done


def _todo(journal, found, copies):
    """{path: name} of what is not done, of `found`, {name: (path, identity)}, with the copies that it has then."""
    todo = {path: name for name, (path, now) in found.items() if not (journal.has(path, now) and copies[path].exists())}
    changed = sum(path in journal for path in todo)
    if changed:
        progress.note(f"predicted anew: {changed} images whose files or copies have changed since")
    return todo


def _all_drawn(journal, found, ids):
    """`Drawn` of everything that is done, in order."""
    for name, (path, now) in found.items():
        if journal.has(path, now):
            yield Drawn(name, [one | {"image_id": ids[path], "file_name": name} for one in journal.results(path)])


def predict_video(
    predictor: PosePredictor,
    path: PathLike | Stream,
    out_dir: PathLike,
    boxes_of: BoxSource,
    score_threshold: float = 0.2,
    category_id: int = 1,
    keypoint_set: str | None = None,
    smooth: str = "off",
    detect_every: int = 1,
    save_crops: bool = False,
    stop: threading.Event | None = None,
) -> Done:
    """Predicts people in a video's frames and writes an annotated copy (`.mp4`) beside the two files of results.

    A frame's number, from 0, is its `image_id` in detections and in results. People have a `track_id` that stays from
    frame to frame (see `Tracker`). The copy has the times of the frames and the sound. What cannot be read of a
    damaged video is warned of.

    Of a live `Stream` the frames are predicted that there is time for, until it ends or `stop` is set. What was read
    then is whole. Its copy has no sound.

    Args:
        path: of the video, or a `Stream`.
        predictor, out_dir, boxes_of, score_threshold, category_id, keypoint_set: as for `predict_images`.
        smooth: one of `SMOOTHINGS`: keypoints of everybody smoothed as they come (`LiveSmoother`), once all are there
            (`smooth_whole`; the video is read twice), or not.
        detect_every: boxes are looked for in every so manieth frame, and between are those of the last poses.
        save_crops: write what is in the box of each person too, as crops/<track id>/<frame>.jpg.
        stop: ends a live stream.

    Returns:
        what was predicted.

    Raises:
        InputError: the video cannot be read, or `out_dir` cannot be written or is the video's folder, or the network
            has no keypoint of the set.
        ValueError: an unknown `smooth`, or `detect_every` is not positive.
    """
    if smooth not in SMOOTHINGS or detect_every < 1:
        raise ValueError(
            f"`smooth` must be one of {SMOOTHINGS}, `detect_every` positive. Received: {smooth!r} and {detect_every}"
        )
    form = ResultForm(predictor.skeleton, keypoint_set, category_id)
    path = path if isinstance(path, Stream) else Path(path)
    source_dir = None if isinstance(path, Stream) else path.parent
    with open_video(path) as video, _staging_folder(out_dir, source_dir) as staging:
        if video.is_live and smooth == "whole":
            raise InputError(f"{path} has no end until which its keypoints could wait: choose smooth live or off")
        total = video.announced or None
        groups = _followed(predictor, video, boxes_of, detect_every, smooth == "live", stop or threading.Event())
        if smooth == "whole":
            groups = smoothed_whole(groups, lambda: _frames_again(path), total)
        copy = video_writer(Path(staging, f"{path.stem}.mp4"), None if video.is_live else video)
        with copy as write, results_writer(staging, form) as add:

            def draw(picture, people):
                image = annotated(picture, people, score_threshold)
                with timed("writing"):
                    write(image, picture.time)
                    if save_crops:
                        stems = [f"{i}/{picture.frame:06}" if i != NO_TRACK else None for i in people.track_ids]
                        _write_crops(picture, people, stems, staging)

            done = Done(0, 0, [])
            for group in drawn(groups, form, draw, 1, total, "frames"):
                for one in group:
                    add(one.results)
                done = done.and_these(group)
        if not done.pictures:
            raise InputError(f"cannot decode video {path}: no frame of it")
        if not done.people and isinstance(boxes_of, Detections):
            raise InputError(
                f"{path}: nobody to predict in its {done.pictures} frames: no detection is of one of them. Wanted: "
                f"detections whose image_id is a frame's number, from 0 to {done.pictures - 1}"
            )
        _move_all(staging, out_dir)
    return done


def _followed(predictor, video, boxes_of, detect_every, smooths, stop):
    """Groups of a video's frames with their people, who have `track_ids`."""
    follower = Follower(predictor.skeleton, smooths)
    nowhere = None, np.zeros(0, np.float32)
    read = each_timed("reading", video)
    frames = newest(read, stop) if video.is_live else in_background(enumerate(read))

    def pictures() -> Generator[Picture, None, None]:
        with contextlib.closing(frames):
            for taken, (i, (image, time)) in enumerate(frames):
                predictor.check_image_size(image.shape[:2], video.path)
                is_searched = taken % detect_every == 0
                boxes, scores = boxes_of(None, i, image) if is_searched else nowhere
                yield Picture(video.path.name, image, i, boxes, scores, i, time, is_searched)

    # Of a live stream one by one, as frames that come while a group fills and is predicted would leave gaps.
    if detect_every == 1 and not video.is_live:
        return together(predictor, pictures(), follower)
    return frame_by_frame(predictor, pictures(), follower)


def _frames_again(path):
    with open_video(path, tells=False) as video:
        yield from (frame.image for frame in video)


def annotated(picture: Picture, people: People, score_threshold: float) -> np.ndarray:
    """The picture [H,W,3] uint8 with its boxes, unless it is one as a whole, and its people drawn over it."""
    with timed("drawing"):
        return people.draw(picture.image, score_threshold, with_boxes=picture.boxes is not None)


def copy_name(name: str) -> str:
    """What an annotated copy is called: as the image itself where such files can be written, else with .png added."""
    return name if _takes_color(os.path.splitext(name)[1]) else f"{name}.png"


@functools.cache
def _takes_color(suffix):
    """Whether OpenCV writes images in color to files of this suffix: it can write some kinds in grey alone."""
    try:
        return cv2.imencode(suffix, np.zeros((16, 16, 3), np.uint8))[0]
    except cv2.error:
        return False


def _write_crops(picture, people, stems, folder):
    """Writes what is in the boxes of a picture's people to crops/<stem>.jpg; of people without a stem it does not."""
    height, width = picture.image.shape[:2]
    for stem, (x, y, w, h) in zip(stems, people.boxes, strict=True):
        left, top = max(int(x), 0), max(int(y), 0)
        right, bottom = min(int(np.ceil(x + w)), width), min(int(np.ceil(y + h)), height)
        if stem is None or right <= left or bottom <= top:
            continue
        path = Path(folder, CROPS, f"{stem}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.ascontiguousarray(picture.image[top:bottom, left:right]))


def _staging_folder(out_dir, source_dir):
    """A temporary folder in `out_dir`, for files that go there once they are whole."""
    if source_dir is not None and os.path.realpath(out_dir) == os.path.realpath(source_dir):
        raise InputError(f"annotated copies would replace the originals: give another folder than {out_dir}")
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".predict.", dir=out_dir, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {out_dir}: {error.strerror}") from error


def _move_all(staging, out_dir):
    for path in Path(staging).iterdir():
        with replacing(Path(out_dir, path.name)) as temporary:
            os.replace(path, temporary)
