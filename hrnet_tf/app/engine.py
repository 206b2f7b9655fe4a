"""What the page asks for: people of a photograph or a video, heatmaps, and files to take away.

Shape legend: H and W image, N people, K keypoints.
"""

import collections
import contextlib
import copy
import dataclasses
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hrnet_tf import progress
from hrnet_tf.detection import PersonDetector
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.inputs import load_image
from hrnet_tf.prediction import boxes
from hrnet_tf.prediction.files import predict_video
from hrnet_tf.prediction.people import People
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.results import CSV_NAME, JSON_NAME, Picture, ResultForm, results_writer, rows
from hrnet_tf.prediction.sources import find_images, result_ids
from hrnet_tf.prediction.video import open_video
from hrnet_tf.tracking import NO_TRACK
from hrnet_tf.visualize import draw_heatmaps, write_image

# What may be chosen for a detector besides names and files.
AUTOMATIC, WHOLE_PICTURE = "automatic", "the whole picture"
# Networks, and detectors, that are kept in memory.
_MAX_LOADED = 3
# Files of the page are removed when they are so many seconds old, at the latest when it ends.
_KEPT = 3 * 3600
# What browsers show; copies of other pictures are PNG.
_SHOWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class Stopped(Exception):
    """The page is being closed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is chosen in the page.

    Attributes:
        network: a name or file of `PosePredictor`.
        detector: a name or file of `PersonDetector`, `AUTOMATIC` or `WHOLE_PICTURE`.
        box_threshold: least score of a detector's box.
        score_threshold: keypoints scored at or below it are not drawn.
    """

    network: str
    detector: str = AUTOMATIC
    box_threshold: float = 0.3
    score_threshold: float = 0.2


@dataclasses.dataclass(frozen=True)
class PhotoResult:
    """The people of a photograph.

    Attributes:
        people: they.
        picture: file of the annotated copy.
        files: all files to take away, `picture` among them.
    """

    people: People
    picture: Path
    files: list[Path]


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """The people of a video.

    Attributes:
        frames: how many there are.
        tracks: of everybody who was followed number, first and last second, and in how many frames.
        video: file of the annotated copy.
        files: all files to take away, `video` among them.
    """

    frames: int
    tracks: list[tuple[int, float, float, int]]
    video: Path
    files: list[Path]


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A network, with the lock of whose turn it is."""

    predictor: PosePredictor
    turn: threading.Lock


class Engine:
    """Predicts for everybody who looks at the page: one at a time with each network.

    Attributes:
        folder: where everything is written; what is old there is removed.
        max_frames: a video with more of them is refused.
    """

    def __init__(self, folder: PathLike, max_frames: int):
        """
        Args:
            folder: an existing one, of this alone.
            max_frames: that a video may have.
        """
        self.folder = Path(folder)
        self.max_frames = max_frames
        self._networks: collections.OrderedDict[str, _Loaded] = collections.OrderedDict()
        self._detectors: collections.OrderedDict[str, PersonDetector] = collections.OrderedDict()
        self._loading = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Ends the videos that are being predicted, with `Stopped`."""
        self._stopped = True

    def load(self, network: str) -> PosePredictor:
        """The predictor of a network, downloaded where it is not there yet; the last few are kept.

        Raises:
            InputError: it cannot be had or used.
        """
        return self._load(network).predictor

    def photo(self, path: PathLike, settings: Settings) -> PhotoResult:
        """Predicts the people of an image file.

        Raises:
            InputError: the image, the network or the detector cannot be used.
        """
        path = Path(path)
        image_id = result_ids(find_images(path, _refuse))[path]
        image = load_image(path)
        with self._computing(settings) as predictor:
            people = predictor.people(image)
        folder, form = self._new_folder(), ResultForm(people.skeleton)
        with results_writer(folder, form) as add:
            add(rows(Picture(path.name, image, image_id, people.boxes, people.scores), people, form))
        suffix = path.suffix.lower() if path.suffix.lower() in _SHOWN_SUFFIXES else ".png"
        copy_path = folder / f"{path.stem}_people{suffix}"
        has_boxes = predictor.detector is not None
        write_image(copy_path, people.draw(image, settings.score_threshold, with_boxes=has_boxes))
        return PhotoResult(people, copy_path, [copy_path, folder / JSON_NAME, folder / CSV_NAME])

    def heatmap(self, path: PathLike, found: np.ndarray | None, keypoint: str, settings: Settings) -> np.ndarray:
        """The heatmaps of one keypoint of everybody in an image file, over the image: [H,W,3] uint8 RGB.

        Args:
            path: of the image.
            found: boxes [N,4] of the people.
            keypoint: its name.
            settings: what they were predicted with.

        Raises:
            InputError: the image, the network or the keypoint cannot be used.
        """
        image = load_image(path)
        with self._computing(dataclasses.replace(settings, detector=WHOLE_PICTURE)) as predictor:
            heat = predictor.heatmap(image, keypoint, found if predictor.needs_boxes else None)
        return draw_heatmaps(image, heat[..., None])

    def video(self, path: PathLike, settings: Settings, tell: progress.Listener) -> VideoResult:
        """Predicts the people of a video.

        Args:
            path: of the file.
            settings: what is chosen.
            tell: called as it goes on.

        Raises:
            InputError: the video, the network or the detector cannot be used, or it has too many frames.
            Stopped: `stop` was called.
        """
        with open_video(path) as video:
            self._check_length(video.announced)

        def listener(*what):
            if self._stopped:
                raise Stopped("the page was closed")
            tell(*what)

        folder = self._new_folder()
        with progress.told_to(listener), self._computing(settings) as predictor:
            done = predict_video(
                predictor, path, folder, self._bounded(predictor), settings.score_threshold, smooth="live"
            )
        (video_path,) = folder.glob("*.mp4")
        files = [video_path, folder / JSON_NAME, folder / CSV_NAME]
        return VideoResult(done.pictures, _tracks(folder / JSON_NAME), video_path, files)

    def _check_length(self, frames: int) -> None:
        if frames > self.max_frames:
            raise InputError(
                f"the video has {frames} frames or more, and the page takes up to {self.max_frames}: cut it, or start "
                f"the page with a higher --max_frames"
            )

    def _bounded(self, predictor: PosePredictor) -> boxes.BoxSource:
        """Where people are in a frame; of a frame too many, as files announce too few, InputError."""
        source: boxes.BoxSource = boxes.whole_image if predictor.needs_boxes else boxes.everybody
        if predictor.detector:
            source = boxes.Detected(predictor.detector)

        def boxes_of(name, number, image):
            self._check_length(number + 1)
            return source(name, number, image)

        return boxes_of

    @contextlib.contextmanager
    def _computing(self, settings: Settings) -> Iterator[PosePredictor]:
        """The predictor with its detector as they are chosen, when it is this caller's turn."""
        loaded = self._load(settings.network)
        detector = self._detector(settings, loaded.predictor)
        predictor = copy.copy(loaded.predictor)  # the same network
        predictor.detector = detector
        with loaded.turn:
            yield predictor

    def _load(self, network: str) -> _Loaded:
        with self._loading:
            if network not in self._networks:
                self._networks[network] = _Loaded(PosePredictor(network), threading.Lock())
            return _last(self._networks, network)

    def _detector(self, settings: Settings, predictor: PosePredictor) -> PersonDetector | None:
        """The detector with the chosen threshold; None for the whole picture, and where the network finds people."""
        name = settings.detector
        if name == AUTOMATIC:
            is_of_people = boxes.is_of_people(settings.network, predictor.skeleton)
            name = boxes.DEFAULT_DETECTOR if is_of_people else WHOLE_PICTURE
        if name == WHOLE_PICTURE or not predictor.needs_boxes:
            return None
        with self._loading:
            if name not in self._detectors:
                try:
                    self._detectors[name] = PersonDetector(name)
                except InputError as error:
                    raise InputError(f"{error}; or choose another detector, or {WHOLE_PICTURE}") from error
            detector = copy.copy(_last(self._detectors, name))  # the same session
        detector.score_threshold = settings.box_threshold
        return detector

    def _new_folder(self) -> Path:
        """An empty folder for files to take away; what is old in `folder` is removed."""
        oldest = time.time() - _KEPT
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another thread has removed it
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path)
        results = self.folder / "results"
        results.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=results))


def _last(kept, name):
    """The entry of that name, which becomes the last of `kept`; the first ones are left out if they are too many."""
    kept.move_to_end(name)
    while len(kept) > _MAX_LOADED:
        kept.popitem(last=False)
    return kept[name]


def _refuse(error: InputError) -> None:
    raise error


def _tracks(path: Path) -> list[tuple[int, float, float, int]]:
    """Of everybody in results who was followed number, first and last second, and in how many frames."""
    times: dict[int, list[float]] = {}
    for result in json.loads(path.read_text(encoding="utf-8")):
        if result["track_id"] != NO_TRACK:
            times.setdefault(result["track_id"], []).append(result["time"])
    return [(number, found[0], found[-1], len(found)) for number, found in sorted(times.items())]
