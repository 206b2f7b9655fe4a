import dataclasses
import json
import zipfile

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_tf.errors import InputError
from hrnet_tf.model_card import FILE_NAME, ModelCard, default_card, read_card, write_card
from hrnet_tf.models.build import build_model
from hrnet_tf.skeletons import COCO, MPII, Skeleton

CARD = ModelCard("hrnet_w32", (256, 192), COCO, codec="udp", refine="dark", metrics={"AP": np.float32(0.5)})


def keras_file(folder):
    path = folder / "model.keras"
    images = keras.Input((4, 4, 3))
    keras.Model(images, keras.layers.Conv2D(2, 1)(images)).save(path)
    return path


def onnx_file(folder):
    path = folder / "model.onnx"
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "graph", [value], [output])
    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def saved_model_folder(folder):
    path = folder / "1"
    path.mkdir()
    return path


def tflite_file(folder):
    path = folder / "model.tflite"
    path.write_bytes(b"tflite")
    return path


@pytest.mark.parametrize("artefact", [keras_file, onnx_file, saved_model_folder, tflite_file])
def test_write_and_read(artefact, tmp_path):
    path = artefact(tmp_path)
    assert read_card(path) is None
    write_card(path, dataclasses.replace(CARD, name="older"))
    write_card(path, CARD)
    assert read_card(path) == CARD
    # Both writes left one card, and nothing else.
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, "model.json"}


def test_keras_file_loads_as_before(tmp_path):
    path = keras_file(tmp_path)
    before = keras.models.load_model(path).get_weights()
    write_card(path, CARD)
    write_card(path, CARD)
    np.testing.assert_equal(keras.models.load_model(path).get_weights(), before)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist().count(FILE_NAME) == 1


def test_onnx_file_runs_and_tells_its_card(tmp_path):
    path = onnx_file(tmp_path)
    write_card(path, CARD)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([-1], np.float32)}) == [0]
    metadata = session.get_modelmeta().custom_metadata_map
    assert ModelCard.from_json(json.loads(metadata["model_card"])) == CARD


def test_json_says_what_wrote_it_and_keeps_every_keypoint_set(tmp_path):
    own = Skeleton(("tip",), (), (), (0.1,), ())
    for skeleton in (COCO, MPII, own):
        card = ModelCard("net", (64, 32), skeleton)
        content = json.loads(json.dumps(card.to_json()))
        assert ModelCard.from_json(content) == card
        assert set(content["versions"]) == {"hrnet_tf", "tensorflow", "keras"}


def test_decoding_is_the_codecs_unless_told():
    assert ModelCard("net", (64, 32), COCO).decoding == "quarter"
    assert ModelCard("net", (64, 32), COCO, codec="dark").decoding == "dark"
    assert CARD.decoding == "dark"


@pytest.mark.parametrize("arguments", [{"codec": "heat"}, {"refine": "half"}])
def test_unknown_codec_and_refine(arguments):
    with pytest.raises(ValueError, match=r"must be one of .*Received: '(heat|half)'"):
        ModelCard("net", (64, 32), COCO, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "str is wanted"),
        ({"input_size": [256]}, "2 finite numbers"),
        ({"input_size": [256, 0.5]}, "integers from 0"),
        ({"codec": "heat"}, "`codec` must be one of"),
        ({"metrics": [0.5]}, "cannot be used"),
        ({"metrics": {"AP": 10**400}}, "cannot be used"),
        ({"skeleton": None}, "cannot be used"),
        ({"skeleton": {"names": ["a"]}}, "must have 'oks_sigmas'"),
        ({"skeleton": dataclasses.asdict(COCO) | {"names": ["nose"] * 17}}, "each be used once"),
        ({"skeleton": dataclasses.asdict(COCO) | {"flip_pairs": [[1, 17]]}}, "integers from 0 to 16"),
        ({"skeleton": dataclasses.asdict(COCO) | {"oks_sigmas": [1] * 16}}, "17 finite numbers"),
    ],
)
def test_damaged_card_is_one_line_that_names_the_file(change, message, tmp_path):
    content = CARD.to_json() | change
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_card(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.keras", "model.onnx", FILE_NAME])
@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_damaged_file(name, data, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    # An empty ONNX file is a valid model without anything in it.
    if (name, data) == ("model.onnx", b""):
        assert read_card(path) is None
        return
    with pytest.raises(InputError, match="model card"):
        read_card(tmp_path if name == FILE_NAME else path)


def test_other_files_have_no_place_for_a_card(tmp_path):
    (tmp_path / "model.pth").touch()
    for name in ("model.pth", "absent.keras"):
        for function in (read_card, lambda path: write_card(path, CARD)):
            with pytest.raises(InputError, match=rf"Received: .*{name}"):
                function(tmp_path / name)


def test_default_card_is_coco_for_seventeen_keypoints_only():
    coco, other = (build_model("hrnet_w18_small_v1", (64, 32), num_keypoints) for num_keypoints in (17, 5))
    assert default_card(coco) == ModelCard("hrnet_w18_small_v1", (64, 32), COCO)
    with pytest.raises(InputError, match="no model card to say what its 5 keypoints are"):
        default_card(other)
