"""What detectors of different families take and give: told by the outputs of an ONNX file.

Shape legend: h and w input, n boxes or places for boxes, C classes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hrnet_tf.detection.placing import Placing, in_corner, in_middle, stretched
from hrnet_tf.errors import InputError

# Outputs by name -> corners [n,4] in pixels of the input and scores [n]; `person` is the number of the class.
Decode = Callable[[Mapping[str, np.ndarray], tuple[int, int], int], tuple[np.ndarray, np.ndarray]]

# Cells of the grids that YOLOX and YOLOv8 look in, in pixels of the input.
_STRIDES = (8, 16, 32)
SIZES = "orig_target_sizes"


@dataclasses.dataclass(frozen=True)
class Dialect:
    """A family of detectors.

    Attributes:
        title: what it is called.
        place: how an image is put into the input.
        is_bgr: whether channels are blue, green, red.
        maximum: what white is in the input.
        decode: its outputs as boxes.
        has_duplicates: whether several boxes may be of one person.
    """

    title: str
    place: Callable[[np.ndarray, tuple[int, int]], tuple[np.ndarray, Placing]]
    is_bgr: bool
    maximum: float
    decode: Decode
    has_duplicates: bool = False


def recognised(inputs: Sequence[str], outputs: Mapping[str, Sequence[int]], size: tuple[int, int]) -> Dialect:
    """The dialect of an ONNX file.

    Args:
        inputs: their names.
        outputs: {name: shape}, as some image gives them.
        size: (h, w) of the input.

    Raises:
        InputError: it is none that is known; the outputs are named.
    """
    names, shapes = set(outputs), [list(shape) for shape in outputs.values()]
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in _STRIDES)
    if names == {"dets", "labels"} and list(outputs["dets"])[-1:] == [5]:
        return _MMDEPLOY
    if names == {"labels", "boxes", "scores"} and SIZES in inputs:
        return _DETR
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1:
        _, rows, columns = shapes[0]
        if rows == cells and columns > 5:
            return _YOLOX
        if columns == cells and rows > 4:
            return _YOLOV8
        if columns == 6:
            return _END_TO_END
    found = ", ".join(f"{name} {list(shape)}" for name, shape in outputs.items())
    raise InputError(
        f"its outputs are those of no detector that is known: YOLOX's [1,{cells},5+C], MMDeploy's dets and labels, "
        f"RT-DETR's and D-FINE's labels, boxes and scores with the input {SIZES}, YOLOv8's [1,4+C,{cells}] or [1,n,6] "
        f"for an input of {size[0]}x{size[1]}. Received: {found}"
    )


def _yolox(outputs, size, person):
    (raw,) = outputs.values()
    raw = raw[0].astype(np.float32)
    cells, strides = _grid(size)
    centres, sizes = (raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4]) * strides
    return _corners(centres, sizes), raw[:, 4] * raw[:, 5 + person]


def _grid(size):
    """The cells [n,2] (x, y) of all grids, each numbered from 0 row by row, and their strides [n,1]."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.indices((size[0] // stride, size[1] // stride)).reshape(2, -1)
        cells.append(np.stack([columns, rows], axis=1))
        strides.append(np.full((len(rows), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _yolov8(outputs, size, person):
    (raw,) = outputs.values()
    raw = raw[0].astype(np.float32).T
    return _corners(raw[:, :2], raw[:, 2:4]), raw[:, 4 + person]


def _corners(centres, sizes):
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def _end_to_end(outputs, size, person):
    (found,) = outputs.values()
    found = found[0][found[0][:, 5] == person].astype(np.float32)
    return found[:, :4], found[:, 4]


def _mmdeploy(outputs, size, person):
    found = outputs["dets"][0][outputs["labels"][0] == person].astype(np.float32)
    return found[:, :4], found[:, 4]


def _detr(outputs, size, person):
    is_person = outputs["labels"][0] == person
    return outputs["boxes"][0][is_person].astype(np.float32), outputs["scores"][0][is_person].astype(np.float32)


# Ge et al., "YOLOX: Exceeding YOLO Series in 2021", as its releases are exported; also with MMDeploy.
_YOLOX = Dialect("YOLOX", in_corner, True, 255, _yolox, has_duplicates=True)
_MMDEPLOY = Dialect("MMDeploy", in_corner, True, 255, _mmdeploy)
# As the exports of RT-DETR and D-FINE are asked by their authors' tools.
_DETR = Dialect("RT-DETR", stretched, False, 1, _detr)
# As Ultralytics exports YOLOv8 and what came after it, without and with the suppression of duplicates.
_YOLOV8 = Dialect("YOLOv8", in_middle, False, 1, _yolov8, has_duplicates=True)
_END_TO_END = Dialect("YOLO, end to end", in_middle, False, 1, _end_to_end)
