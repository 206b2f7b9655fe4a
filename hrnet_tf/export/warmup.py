"""Warm-up requests of a SavedModel, which TensorFlow Serving runs before it sends a model real ones.

The file is a TFRecord of `tensorflow.serving.PredictionLog` messages. They are put together here field by
field, which spares exports a dependency on the server's Python interface.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

# Where TensorFlow Serving looks, in the SavedModel's folder.
FOLDER, FILE_NAME = "assets.extra", "tf_serving_warmup_requests"

# Field numbers of the messages, from apis/prediction_log.proto, predict.proto and model.proto.
_LOG_PREDICT = 6
_PREDICT_REQUEST = 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_SIGNATURE = 3
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_LENGTH_DELIMITED = 2  # wire type of strings and messages


def write_warmup_requests(folder: Path, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Writes the requests into the SavedModel in `folder`.

    Args:
        folder: of the SavedModel.
        requests: pairs of a signature's name and its inputs, {name: array, bytes or TensorProto}.
    """
    path = folder / FOLDER / FILE_NAME
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(signature, inputs))


def _prediction_log(signature, inputs):
    """A serialized PredictionLog of one PredictRequest."""
    request = _field(_REQUEST_MODEL, _field(_MODEL_SIGNATURE, signature.encode()))
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(_REQUEST_INPUTS, _field(_ENTRY_KEY, name.encode()) + _field(_ENTRY_VALUE, tensor))
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _field(number, payload):
    """A length-delimited field of a protocol buffer."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _varint(value):
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
