"""ONNX files that give what detectors of all families give.

`constant_file` gives the same for every image. `extent_file` looks at its input: it finds what is painted in one
colour, so that a box that comes back tells where the image had been put.

Shape legend: h and w input of the detector, n places for boxes, C classes.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NUM_CLASSES = 80


def constant_file(path, outputs, size=(416, 416), inputs=("images",), metadata=None, is_dynamic=False):
    """An ONNX file with constant outputs {name: array}, for images [1,3,h,w]; a dynamic one does not say h, w and n."""
    nodes = []
    for name, array in outputs.items():
        nodes += _of_unknown_shape(name, np.asarray(array)) if is_dynamic else [_constant(name, np.asarray(array))]
    values = [_value(name, np.asarray(array), is_dynamic) for name, array in outputs.items()]
    return _write(path, nodes, values, ["h", "w"] if is_dynamic else size, inputs, metadata)


def extent_file(path, size, channel, threshold, dialect):
    """An ONNX file that gives one person of score 0.9: the extent of the pixels whose `channel` is over `threshold`.

    Args:
        path: of the file.
        size: (h, w) of the input.
        channel: number of it.
        threshold: in the input's units.
        dialect: "dets", "detr" or "end_to_end".
    """
    height, width = size
    nodes = []

    def constant(name, value):
        nodes.append(_constant(name, value))
        return name

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    plane = add("Gather", ["images", constant("channel", np.int64([channel]))], "plane", axis=1)
    is_on = add("Greater", [plane, constant("threshold", np.float32(threshold))], "is_on")
    edges = []
    for axis, count in ((3, width), (2, height)):
        shape = [1, 1, 1, 1]
        shape[axis] = count
        places = constant(f"places{axis}", np.arange(count, dtype=np.float32).reshape(shape))
        for kind, other, beyond in (("ReduceMin", 1e6, 0), ("ReduceMax", -1e6, 1)):
            name = f"{kind}{axis}"
            found = add("Where", [is_on, places, constant(f"{name}_other", np.float32(other))], f"{name}_places")
            edge = add(kind, [found], f"{name}_edge")  # [1,1,1,1]
            edges.append(add("Add", [edge, constant(f"{name}_beyond", np.float32(beyond))], name))
    (left, right), (top, bottom) = edges[:2], edges[2:]
    corners = add(
        "Squeeze",
        [add("Concat", [left, top, right, bottom], "four", axis=3), constant("axis", np.int64([1]))],
        "corners",
    )
    score, person = np.full((1, 1, 1), 0.9, np.float32), np.zeros((1, 1), np.int64)
    if dialect == "end_to_end":
        rest = [constant("score", score), constant("class", np.zeros((1, 1, 1), np.float32))]
        outputs = {add("Concat", [corners, *rest], "found", axis=2): np.zeros((1, 1, 6), np.float32)}
    elif dialect == "dets":
        add("Concat", [corners, constant("score", score)], "dets", axis=2)
        outputs = {"dets": np.zeros((1, 1, 5), np.float32), constant("labels", person): person}
    else:  # found as parts of the input, and given in the size that is asked for
        asked = add("Cast", ["orig_target_sizes"], "asked", to=TensorProto.FLOAT)
        parts = add("Div", [corners, constant("whole", np.float32([width, height] * 2))], "parts")
        add("Mul", [parts, add("Concat", [asked, asked], "asked_twice", axis=1)], "boxes")
        outputs = {constant("labels", person): person, "boxes": np.zeros((1, 1, 4), np.float32)}
        outputs |= {constant("scores", score[0]): score[0]}
    values = [_value(name, array) for name, array in outputs.items()]
    return _write(path, nodes, values, size, ("images", "orig_target_sizes") if dialect == "detr" else ("images",))


def num_places(size):
    """How many places for boxes YOLOX and YOLOv8 have in an input (h, w)."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))


def yolox_output(boxes, scores, size):
    """[1,n,5+C] that YOLOX gives for boxes [N,4] (x, y, width, height) in pixels of the input (h, w), in its largest
    cells.
    """
    raw = np.zeros((1, num_places(size), 5 + NUM_CLASSES), np.float32)
    first = num_places(size) - (size[0] // 32) * (size[1] // 32)
    for number, ((x, y, width, height), score) in enumerate(zip(boxes, scores, strict=True)):
        row, column = divmod(number, size[1] // 32)
        centre = (x + width / 2) / 32 - column, (y + height / 2) / 32 - row
        # Half of the score is whether something is there, and half that it is a person.
        raw[0, first + number, :6] = [*centre, np.log(width / 32), np.log(height / 32), score**0.5, score**0.5]
    return raw


def yolov8_output(boxes, scores, size):
    """[1,4+C,n] that YOLOv8 gives for the same."""
    raw = np.zeros((1, 4 + NUM_CLASSES, num_places(size)), np.float32)
    for number, ((x, y, width, height), score) in enumerate(zip(boxes, scores, strict=True)):
        raw[0, :5, number] = [x + width / 2, y + height / 2, width, height, score]
    return raw


def _constant(name, value):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, f"{name}_value"))


def _of_unknown_shape(name, value):
    """Nodes of a constant that ONNX Runtime cannot tell the shape of: it is computed from the image."""
    zero = [helper.make_node("Mul", ["images", f"{name}_zero"], [f"{name}_zeros"])]
    zero.append(helper.make_node("ReduceMax", [f"{name}_zeros"], [f"{name}_float"], keepdims=0))
    zero.append(helper.make_node("Cast", [f"{name}_float"], [f"{name}_whole"], to=TensorProto.INT64))
    shape = helper.make_node("Add", [f"{name}_lengths", f"{name}_whole"], [f"{name}_shape"])
    constants = {f"{name}_zero": np.float32(0), f"{name}_lengths": np.int64(value.shape), f"{name}_flat": value.ravel()}
    reshape = helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [name])
    return [*(_constant(key, np.asarray(array)) for key, array in constants.items()), *zero, shape, reshape]


def _value(name, array, is_dynamic=False):
    shape = [f"{name}{axis}" for axis in range(array.ndim)] if is_dynamic else array.shape
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)


def _write(path, nodes, values, size, inputs, metadata=None):
    given = [helper.make_tensor_value_info(inputs[0], TensorProto.FLOAT, [1, 3, *size])]
    given += [helper.make_tensor_value_info(name, TensorProto.INT64, [1, 2]) for name in inputs[1:]]
    graph = helper.make_graph(nodes, "detector", given, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path
