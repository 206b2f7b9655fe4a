"""`PersonDetector`: boxes of people in images, from an ONNX file.

Shape legend: H and W image, h and w input of the detector, N people.
"""

import ast
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.detection.dialects import SIZES, recognised
from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, reason
from hrnet_tf.inputs import load_image
from hrnet_tf.model_files import check_ratio
from hrnet_tf.onnx_sessions import open_session
from hrnet_tf.pretrained.local import detector_file

# People in an image at most; candidates that duplicates are looked for among.
MAX_PEOPLE, _MAX_CANDIDATES = 300, 5000
DEFAULT_SCORE = 0.3
# Of files that take any.
_DEFAULT_SIZE = (640, 640)
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class PersonDetector:
    """Finds people in images with a detector that was trained on COCO or on people alone, in ONNX Runtime.

        detector = PersonDetector("yolox_s")
        boxes, scores = detector("photo.jpg")

    It may be called from several threads at once.

    Attributes:
        name: or file that was given.
        input_size: (h, w) that images are brought to.
        score_threshold: the least score of a box.
        dialect: what the file was recognised as.
    """

    def __init__(
        self,
        name_or_file: PathLike,
        score_threshold: float = DEFAULT_SCORE,
        nms_threshold: float = 0.5,
        input_size: tuple[int, int] | None = None,
        allow_unverified: bool = False,
    ):
        """Loads the detector.

        Args:
            name_or_file: a detector of `hrnet_tf.pretrained.names()`, which is downloaded where it is not there yet;
                an `.onnx` file, or a `.zip` file with one in it as MMPose publishes them: of YOLOX, of RT-DETR or
                D-FINE, or of YOLOv8 and what came after it; or an address, as of `pretrained.model_file`.
            score_threshold: boxes that score less are left out.
            nms_threshold: of two boxes whose intersection is more than this part of their union the better one is
                kept; of detectors that give several boxes of one person.
            input_size: (h, w) for a file that takes any; 640x640 by default, and of a name its own.
            allow_unverified: whether to download a file whose hash nobody knows.

        Raises:
            InputError: there is no such detector, or it cannot be downloaded or loaded, or is none that is known.
            ValueError: a threshold is not from 0 to 1.
        """
        for name, value in (("score_threshold", score_threshold), ("nms_threshold", nms_threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {value}")
        self.score_threshold, self._nms_threshold = score_threshold, nms_threshold
        self.name = str(name_or_file)
        self._source = f"detector {self.name}"
        path, size_of_name = detector_file(name_or_file, allow_unverified)
        try:
            self._session = open_session(_content(path), on_gpu=True)
        except Exception as error:  # ONNX Runtime raises many types on a damaged file
            raise InputError(f"{self._source} cannot be loaded: {reason(error)}") from error
        try:
            self._image, self._type, self.input_size = _image_input(
                self._session.get_inputs(), input_size or size_of_name or _DEFAULT_SIZE
            )
            self._inputs = [node.name for node in self._session.get_inputs()]
            self.dialect = recognised(self._inputs, self._output_shapes(), self.input_size)
            self._person = _person_class(self._session.get_modelmeta().custom_metadata_map)
        except InputError as error:
            raise InputError(f"{self._source}: {error}") from error

    def __call__(self, image: ArrayLike | PathLike) -> tuple[np.ndarray, np.ndarray]:
        """The people of an image, best first.

        Args:
            image: a path or an array, as `PosePredictor` takes them.

        Returns:
            boxes [N,4] float32 (x, y, width, height) in pixels of the image, within it, and scores [N] float32.

        Raises:
            InputError: the image cannot be used, or the detector fails.
        """
        placed, placing = self.dialect.place(load_image(image), self.input_size)
        corners, scores = self._decoded(self._run(placed))
        usable = np.isfinite(corners).all(axis=1) & (scores >= self.score_threshold) & np.isfinite(scores)
        corners, scores = corners[usable], scores[usable]
        best = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
        if self.dialect.has_duplicates:
            best = best[_without_duplicates(corners[best], scores[best], self._nms_threshold)]
        boxes = placing.boxes(corners[best])
        sized = (boxes[:, 2:] > 0).all(axis=1)
        return boxes[sized][:MAX_PEOPLE], scores[best][sized][:MAX_PEOPLE]

    def _decoded(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Corners [n,4] in pixels of the input and scores [n]."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # of a damaged network: such boxes are dropped later
                corners, scores = self.dialect.decode(outputs, self.input_size, self._person)
            is_whole = corners.shape == (len(scores), 4) and scores.ndim == 1
        except (ValueError, IndexError, TypeError):
            is_whole = False
        if not is_whole:
            found = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in outputs.items())
            raise InputError(f"{self._source}: its outputs are not those of {self.dialect.title}. Received: {found}")
        return corners, scores

    def _run(self, placed: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name of an input [h,w,3] uint8 RGB."""
        channels = placed[..., ::-1] if self.dialect.is_bgr else placed
        batch = channels.transpose(2, 0, 1)[None].astype(np.float32) * (self.dialect.maximum / 255)
        try:
            return self._outputs(batch)
        except InputError as error:
            raise InputError(f"{self._source}: {error}") from error

    def _outputs(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name of what goes into the network [1,3,h,w]."""
        feed = {self._image: np.ascontiguousarray(batch, self._type)}
        if SIZES in self._inputs:  # boxes are to be in pixels of the input
            feed[SIZES] = np.array([self.input_size[::-1]], np.int64)
        try:
            found = self._session.run(None, feed)
        except Exception as error:
            raise InputError(f"it cannot be run: {reason(error)}") from error
        return dict(zip((node.name for node in self._session.get_outputs()), found, strict=True))

    def _output_shapes(self) -> dict[str, list[int]]:
        """{name: shape}, as they come where the file does not say."""
        shapes = {node.name: list(node.shape) for node in self._session.get_outputs()}
        if not all(isinstance(length, int) for shape in shapes.values() for length in shape):
            found = self._outputs(np.zeros((1, 3, *self.input_size), np.float32))
            shapes = {name: list(array.shape) for name, array in found.items()}
        return shapes


def _content(path: Path) -> str | bytes:
    """What ONNX Runtime is to open: the path, or what is in the one ONNX file of a ZIP file."""
    if not path.is_file():
        raise InputError("there is no such file")
    if path.suffix != ".zip":
        return str(path)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".onnx")]
        if len(names) != 1:
            raise InputError(f"it must have one .onnx file in it. There are: {listed(names) or 'none'}")
        check_ratio(archive.getinfo(names[0]), "its zip file")
        return archive.read(names[0])


def _image_input(inputs, input_size):
    """Name, type and (h, w) of the input that images go into."""
    given = ", ".join(f"{node.name} {node.type} {list(node.shape)}" for node in inputs)
    others = {node.name for node in inputs[1:]}
    shape = list(inputs[0].shape)
    if len(shape) != 4 or shape[1] != 3 or inputs[0].type not in _TYPES or not others <= {SIZES}:
        raise InputError(f"it must take images [1,3,h,w] in floats. Received: {given}")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise InputError(f"it must take one image at a time. Received: {given}")
    fixed = [length for length in shape[2:] if isinstance(length, int)]
    size = tuple(fixed) if len(fixed) == 2 else tuple(input_size)
    return inputs[0].name, _TYPES[inputs[0].type], size


def _person_class(metadata: Mapping[str, str]) -> int:
    """Which class is a person: the first, unless the file names its classes, as those of Ultralytics do."""
    try:
        names = ast.literal_eval(metadata["names"])
        numbers = [int(number) for number, name in names.items() if name == "person"]
    except (KeyError, TypeError, ValueError, OverflowError, SyntaxError, AttributeError, MemoryError, RecursionError):
        return 0  # there are none, or what is no table
    if not numbers:
        raise InputError(f"it detects no person, but {listed(map(str, names.values()))}")
    return max(0, numbers[0])


def _without_duplicates(corners: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes that are kept, best first."""
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, threshold)
    return np.array(kept, np.intp).reshape(-1)
