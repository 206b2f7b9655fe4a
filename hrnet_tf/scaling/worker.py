"""Predicts parts: what one process does, here or on each machine of a cluster.

Shape legend: N people, K keypoints.
"""

import contextlib
import dataclasses
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hrnet_tf.ahead import THREADS, ahead
from hrnet_tf.data.pixels import limit_pixels
from hrnet_tf.data.records import decode_image
from hrnet_tf.detection import PersonDetector
from hrnet_tf.devices import memory_advice
from hrnet_tf.errors import InputError
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction import boxes as sources
from hrnet_tf.prediction.flow import together
from hrnet_tf.prediction.network import load_network
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.results import Picture
from hrnet_tf.scaling.jobs import Outcome, Settings, part_path
from hrnet_tf.scaling.parts import Part
from hrnet_tf.scaling.reading import DamagedPartError, Encoded, pictures
from hrnet_tf.scaling.rows import rows, rows_writer
from hrnet_tf.scaling.stores import open_store

_NO_PICTURE = np.zeros((1, 1, 3), np.uint8)
_NO_BOXES = np.zeros((0, 4), np.float32)


class PartWorker:
    """Detector and network, which predict one part after the other."""

    def __init__(self, settings: Settings):
        """Loads them.

        Raises:
            InputError: as `PosePredictor` and `PersonDetector`.
        """
        self._settings = settings
        limit_pixels(settings.max_pixels)
        with tempfile.TemporaryDirectory(prefix="hrnet_tf.") as folder:
            network, path = load_network(settings.model.unpack(Path(folder, "model")), settings.trusted)
            self._predictor = PosePredictor(
                network,
                settings.flip_test,
                batch_size=settings.batch_size,
                precision=settings.precision,
                card=read_card(path),
                jit_compile=settings.jit_compile,
                tf32=settings.tf32,
            )
            self._boxes_of: sources.BoxSource = sources.whole_image
            if not self._predictor.needs_boxes:
                self._boxes_of = sources.everybody
            elif settings.detector:
                detector = settings.detector.unpack(Path(folder, "detector")), settings.box_threshold
                self._boxes_of = sources.Detected(PersonDetector(*detector, input_size=settings.detector_size))
        self._store, self._folder = open_store(settings.out_dir)

    def __call__(self, part: Part, on_picture: Callable[[], object] = lambda: None) -> Outcome:
        """Predicts a part and writes its results.

        Args:
            part: of a set.
            on_picture: called once for each picture that is done.

        Returns:
            what came of it; of a part that is truncated, damaged or cannot be read the reason.

        Raises:
            InputError: the results cannot be written, or memory does not suffice.
        """
        count = unreadable = people = 0
        path = part_path(self._folder, part)
        try:
            with (
                rows_writer(self._store, path, self._predictor.skeleton) as add,
                contextlib.closing(together(self._predictor, self._loaded(part))) as groups,
                memory_advice(f"lower --batch_size ({self._settings.batch_size})"),
            ):
                for picture, found in itertools.chain.from_iterable(groups):
                    assert isinstance(picture, _Loaded)
                    shown = list(found) if picture.error is None else []
                    add(rows(picture.name, picture.image_id, shown, picture.note, picture.error))
                    count, people = count + 1, people + len(shown)
                    unreadable += picture.error is not None
                    on_picture()
        except DamagedPartError as error:
            return Outcome(part.name, 0, 0, 0, str(error))
        return Outcome(part.name, count, unreadable, people)

    def _loaded(self, part):
        """The pictures of a part with the boxes that people are looked for in: none where one cannot be read."""
        encoded = pictures(part, self._settings.image_column)
        with contextlib.closing(ahead(self._decoded, encoded, waiting=THREADS)) as decoded:
            for index, (name, image, note, error) in enumerate(decoded):
                if image is None:
                    boxes = _NO_BOXES if self._predictor.needs_boxes else None  # networks of whole images take none
                    yield _Loaded(name, _NO_PICTURE, index, boxes, _NO_BOXES[:, 0], error=error)
                else:
                    yield _Loaded(name, image, index, *self._boxes_of(None, None, image), note=note)

    def _decoded(self, encoded: Encoded) -> tuple[str, np.ndarray | None, str | None, str | None]:
        """Name, pixels, and what is to be said of a picture or why there are none."""
        notes: list[str] = []
        try:
            image = decode_image(encoded.read(), encoded.name, turn=True, note=notes.append)
            self._predictor.check_image_size(image.shape[:2], encoded.name)
        except DamagedPartError:
            raise
        except InputError as error:
            return encoded.name, None, None, str(error)
        return encoded.name, image, notes[0] if notes else None, None


@dataclasses.dataclass(frozen=True)
class _Loaded(Picture):
    """A picture, and what is to be said of it."""

    note: str | None = None
    error: str | None = None
