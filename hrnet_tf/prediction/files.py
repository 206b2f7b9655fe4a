"""Prediction of images, folders and videos: what is looked for in which picture, and the files that come of it.

Pictures stream through, so that neither a folder nor a video has to fit in memory.

Shape legend: H and W image, N people, K keypoints.
"""

import collections
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from hrnet_tf import progress
from hrnet_tf.ahead import THREADS, ahead, in_background
from hrnet_tf.data.layouts import ImageFolder
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable, replacing
from hrnet_tf.inputs import checked_boxes, load_image
from hrnet_tf.prediction.boxes import BoxSource, Detections
from hrnet_tf.prediction.people import People, scored_people
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.results import Picture, ResultForm, results_writer
from hrnet_tf.prediction.video import open_video
from hrnet_tf.prediction.video_writer import video_writer
from hrnet_tf.tracking import LiveSmoother, Tracker
from hrnet_tf.visualize import write_image

# Pictures are predicted together until they have this many pixels: 150 MB, of which there may be four at a time, with
# those that wait, are read and are drawn.
_MAX_PIXELS = 50_000_000


class Done(NamedTuple):
    """What was predicted.

    Attributes:
        pictures: how many.
        people: how many in all of them.
        empty: names of the images, or numbers of the frames, in which there is nobody.
    """

    pictures: int
    people: int
    empty: list[str]


def find_images(
    path: PathLike,
    on_bad_image: Callable[[InputError], None],
    ids: Mapping[str, int] | None = None,
    recursive: bool = False,
) -> dict[Path, int | None]:
    """The image `path`, or the images in the folder `path` in order of their names; hidden files are not looked at.

    Args:
        path: of a file or folder.
        on_bad_image: called with the InputError of each file that is no image, or not among `ids`.
        ids: {file name: id}, or None. Names may have folders: they are looked into.
        recursive: whether all folders in the folder are.

    Returns:
        {path: number that stands for the image in detections}: its id, or without `ids` the number
        that its name consists of, as 785 for 000000000785.jpg, or None where it is not a number.

    Raises:
        InputError: `path` does not exist, or nothing there is an image.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    files = [path]
    if path.is_dir():
        entries = path.rglob("*") if recursive else path.iterdir()
        files = sorted(e for e in entries if not any(part.startswith(".") for part in e.relative_to(path).parts))
    known = _known(path, files, ids)
    numbers = {}
    for file in dict.fromkeys([*files, *known]):
        if file.is_dir():
            continue
        try:
            if ids is not None and file not in known:
                several = sum(PurePosixPath(name).name == file.name for name in ids) > 1
                why = "is one of several in the annotations with its name" if several else "is not in the annotations"
                raise InputError(f"{file} {why}")
            check_readable(file, "image")
            if not cv2.haveImageReader(str(file)):  # looks at the first bytes only
                load_image(file)  # says why
        except InputError as error:
            on_bad_image(error)
            continue
        number = int(file.stem) if file.stem.isdecimal() else None
        numbers[file] = number if ids is None else known[file]
    if not numbers:
        raise InputError(f"{path}: no image can be read there")
    return numbers


def _known(path, files, ids):
    """{path: id} of the files that `ids` names: with their folders, under `path` or as `path` goes on, else by name."""
    if not ids:
        return {}
    found = {}
    if path.is_dir():
        there = ImageFolder(path).paths(list(ids))
        pairs = zip(there, ids.values(), strict=True)
        found = {Path(file): number for file, number in pairs if os.path.isfile(file)}
    by_name: dict[str, list[str]] = {}
    for name in ids:
        by_name.setdefault(PurePosixPath(name.replace("\\", "/")).name, []).append(name)
    taken = set(found.values())
    for file in files:
        names = by_name.get(file.name, [])
        if file in found:
            continue
        ending = [name for name in names if file.absolute().as_posix().endswith("/" + name)]
        chosen = ending if ending else names
        if len(chosen) == 1 and ids[chosen[0]] not in taken:
            found[file] = ids[chosen[0]]
    return found


def root_of(paths: Iterable[Path]) -> Path:
    """The folder that all of these files are in, in it or in folders of it."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def picture_names(paths: Iterable[Path]) -> list[str]:
    """What to call image files: their names, with folders where they are in several."""
    paths = list(paths)
    root = root_of(paths)
    return [path.relative_to(root).as_posix() for path in paths]


def result_ids(numbers: dict[Path, int | None]) -> dict[Path, int]:
    """Ids for results of `find_images`' files: the numbers where each has one of its own, else 1, 2, 3 in order."""
    known = {path: number for path, number in numbers.items() if number is not None}
    if len(set(known.values())) == len(numbers):
        return known
    return {path: i for i, path in enumerate(numbers, start=1)}


def predict_images(
    predictor: PosePredictor,
    numbers: dict[Path, int | None],
    out_dir: PathLike,
    boxes_of: BoxSource,
    on_bad_image: Callable[[InputError], None],
    score_threshold: float = 0.2,
    category_id: int = 1,
    keypoint_set: str | None = None,
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

    Returns:
        what was predicted.

    Raises:
        InputError: no image can be read, or `out_dir` cannot be written or is the images' folder, or the network
            has no keypoint of the set.
    """
    form = ResultForm(predictor.skeleton, keypoint_set, category_id)
    ids = result_ids(numbers)
    root, names = root_of(numbers), picture_names(numbers)

    def read(path):
        try:
            return load_image(path)
        except InputError as error:
            return error

    def pictures():
        for name, (path, number), image in zip(names, numbers.items(), ahead(read, numbers), strict=True):
            if isinstance(image, InputError):
                on_bad_image(image)
            else:
                yield Picture(name, image, ids[path], *boxes_of(name, number, image))

    def draw(picture, people):
        drawn = annotated(picture, people, score_threshold)
        copy = Path(out_dir, copy_name(picture.name))
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_image(copy, drawn)

    originals = {os.path.realpath(path) for path in numbers}
    if any(os.path.realpath(Path(out_dir, copy_name(name))) in originals for name in names):
        raise InputError(f"annotated copies would replace the originals: give another folder than {out_dir}")
    with _staging_folder(out_dir, root) as staging:
        done = _predict(predictor, pictures(), draw, THREADS, staging, len(numbers), form)
        if not done.pictures:
            raise InputError("none of the images can be read")
        _move_all(staging, out_dir)
    return done


def predict_video(
    predictor: PosePredictor,
    path: PathLike,
    out_dir: PathLike,
    boxes_of: BoxSource,
    score_threshold: float = 0.2,
    category_id: int = 1,
    keypoint_set: str | None = None,
    smooth: bool = False,
) -> Done:
    """Predicts people in a video's frames and writes an annotated copy (`.mp4`) beside the two files of results.

    A frame's number, from 0, is its `image_id` in detections and in results. People have a `track_id` that stays from
    frame to frame (see `Tracker`). The copy has the times of the frames and the sound. What cannot be read of a
    damaged video is warned of.

    Args:
        path: of the video.
        predictor, out_dir, boxes_of, score_threshold, category_id, keypoint_set: as for `predict_images`.
        smooth: smooth the keypoints of each person as they come (see `LiveSmoother`).

    Returns:
        what was predicted.

    Raises:
        InputError: the video cannot be read, or `out_dir` cannot be written or is the video's folder, or the network
            has no keypoint of the set.
    """
    form = ResultForm(predictor.skeleton, keypoint_set, category_id)
    path = Path(path)
    with open_video(path) as video, _staging_folder(out_dir, path.parent) as staging:
        with video_writer(Path(staging, f"{path.stem}.mp4"), video) as write:

            def draw(picture, people):
                write(annotated(picture, people, score_threshold), picture.time)

            frames = ((i, *frame) for i, frame in enumerate(video))
            pictures = (Picture(path.name, image, i, *boxes_of(None, i, image), i, time) for i, image, time in frames)
            follow = _follower(predictor.skeleton, smooth)
            done = _predict(predictor, pictures, draw, 1, staging, video.announced or None, form, follow)
        if not done.pictures:
            raise InputError(f"cannot decode video {path}: no frame of it")
        if not done.people and isinstance(boxes_of, Detections):
            raise InputError(
                f"{path}: nobody to predict in its {done.pictures} frames: no detection is of one of them. Wanted: "
                f"detections whose image_id is a frame's number, from 0 to {done.pictures - 1}"
            )
        _move_all(staging, out_dir)
    return done


def _follower(skeleton, smooth):
    """The function from the `People` of one frame after the other to the same with `track_ids`, and smoothed."""
    tracker, smoother = Tracker(skeleton.oks_sigmas), LiveSmoother() if smooth else None

    def follow(people, picture):
        ids = tracker.update(people.keypoints, people.boxes, picture.box_scores, picture.time)
        keypoints = smoother(ids, people.keypoints, picture.time) if smoother else people.keypoints
        return dataclasses.replace(people, keypoints=keypoints.astype(np.float32), track_ids=ids)

    return follow


def annotated(picture: Picture, people: People, score_threshold: float) -> np.ndarray:
    """The picture [H,W,3] uint8 with its boxes, unless it is one as a whole, and its people drawn over it."""
    return people.draw(picture.image, score_threshold, with_boxes=picture.boxes is not None)


def copy_name(name: str) -> str:
    """What an annotated copy is called: as the image itself where such files can be written, else with .png added."""
    return name if cv2.haveImageWriter(name) else f"{name}.png"


def _predict(predictor, pictures, draw, threads, folder, total, form, follow=None):
    """Predicts `pictures` in turn, calls `draw(picture, people)` and writes the results into `folder`.

    While the network computes a group of pictures, the next one is read and the last one drawn.

    Args:
        pictures: an iterable of `Picture`, iterated in another thread.
        draw: called in `threads` other threads, in order where that is one.
        form: the `ResultForm` of both.
        total: how many pictures there are, None where that is unknown.
        follow: (people, picture) -> people, called in order.

    Returns:
        what was predicted, `Done`.
    """
    num_pictures = num_people = 0
    empty: list[str] = []
    started: collections.deque[list[Picture]] = collections.deque()

    def batches(groups):
        for group in groups:
            started.append(group)
            yield [picture.image for picture in group], [picture.boxes for picture in group]

    def predicted(groups, add):
        for found in predictor.predict_batches(batches(groups)):
            for picture, keypoints in zip(started.popleft(), found, strict=True):
                boxes = checked_boxes(picture.boxes, picture.image)
                people = scored_people(keypoints, boxes, picture.box_scores, predictor.skeleton)
                people = form.of(follow(people, picture) if follow else people)
                add(picture, people)
                yield picture, people

    def draw_one(pair):
        draw(*pair)
        return pair[0].name if pair[0].frame is None else str(pair[0].frame), len(pair[1])

    with (
        results_writer(folder, form) as add,
        progress.bar("predicting", total, "pictures") as shown,
        contextlib.closing(in_background(_groups(pictures, predictor.batch_size))) as groups,
        contextlib.closing(ahead(draw_one, predicted(groups, add), threads)) as drawn,
    ):
        for name, count in drawn:
            num_pictures, num_people = num_pictures + 1, num_people + count
            if not count:
                empty.append(name)
            shown.set_postfix(people=num_people, refresh=False)
            shown.update()
    return Done(num_pictures, num_people, empty)


def _groups(pictures, num_people):
    """Lists of pictures that have `num_people` people or `_MAX_PIXELS` together, or more by the last one."""
    group, people, pixels = [], 0, 0
    for picture in pictures:
        group.append(picture)
        people += len(picture.box_scores)
        pixels += picture.image.size // 3
        if people >= num_people or pixels >= _MAX_PIXELS:
            yield group
            group, people, pixels = [], 0, 0
    if group:
        yield group


def _staging_folder(out_dir, source_dir):
    """A temporary folder in `out_dir`, for files that go there once they are whole."""
    if os.path.realpath(out_dir) == os.path.realpath(source_dir):
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
