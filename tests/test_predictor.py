"""PosePredictor: images and boxes of all kinds, networks from all kinds of files."""

import shutil
import struct

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from dots import COLORS, SIZE, color_network, dotted_image

from hrnet_tf import InputError, PosePredictor, build_model
from hrnet_tf.data import coco
from hrnet_tf.data.records import read_image
from hrnet_tf.export.litert import export_litert
from hrnet_tf.export.onnx import export_onnx
from hrnet_tf.export.saved_model import export_saved_model
from hrnet_tf.inputs import load_image
from hrnet_tf.model_card import ModelCard, write_card
from hrnet_tf.prediction.keypoints import make_predict_function, predict_people
from hrnet_tf.prediction.network import Network, for_inference, network_of
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.skeletons import COCO, Skeleton


def random_network(num_keypoints=17):
    """Its heatmaps have maxima all over the place."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3), name="images")
    x = keras.layers.Rescaling(1 / 255, -0.5)(inputs)
    x = keras.layers.Conv2D(8, 5, strides=4, padding="same", activation="relu")(x)
    return keras.Model(inputs, keras.layers.Conv2D(num_keypoints, 3, padding="same")(x))


def noise(height=120, width=160, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 3)


@pytest.fixture(scope="module")
def predictor():
    return PosePredictor(random_network(), batch_size=4)


@pytest.mark.parametrize("box", [[80, 40, 90, 120], [-20, -30, 200, 150], [90, 50, 250, 180]])
def test_points_are_found_where_they_are_in_the_image(box):
    points = np.array([[100.0, 60], [130, 90], [115, 100]])
    predictor = PosePredictor(color_network(), flip_test=False, skeleton=COLORS)
    found = predictor(dotted_image(points, sigma=8), [box])
    assert found.shape == (1, 3, 3)
    assert found.dtype == np.float32
    pixel = 1.25 * max(box[2] / SIZE[1], box[3] / SIZE[0]) * 4  # of the heatmap, in the image
    np.testing.assert_allclose(found[0, :, :2], points, atol=0.5 * pixel)
    assert (found[..., 2] > 0.2).all()


@pytest.mark.parametrize(("dim", "bright"), [(1, 2), (2, 1)])
def test_flip_test_exchanges_the_pairs(dim, bright):
    points = np.array([[100.0, 60], [140, 70], [95, 120]])
    image, box = dotted_image(points, sigma=12), [[70, 30, 90, 120]]
    image[..., dim] //= 5
    one_sided = PosePredictor(color_network(), flip_test=False, skeleton=COLORS)(image, box)[0]
    both = PosePredictor(color_network(), skeleton=COLORS)(image, box)[0]
    # The network knows colours, not sides: the mirror image adds the other one's dot at half its height, which is
    # more than the dim one's own.
    pixel = 1.25 * 90 / SIZE[1] * 4  # of the heatmap, in the image
    np.testing.assert_allclose(one_sided[:, :2], points, atol=0.8 * pixel)
    np.testing.assert_allclose(both[dim, :2], points[bright], atol=0.8 * pixel)
    np.testing.assert_allclose(both[bright, :2], points[bright], atol=0.8 * pixel)
    np.testing.assert_allclose(both[1:, 2], one_sided[bright, 2] / 2, atol=0.1)
    np.testing.assert_allclose(both[0, 2], one_sided[0, 2], atol=0.15)


@pytest.mark.parametrize("codec", ["msra", "udp"])
@pytest.mark.parametrize("kind", ["keras", "runner"])
def test_heatmaps_lie_where_the_keypoints_are_in_the_image(kind, codec):
    points = np.array([[100.0, 60], [130, 90], [115, 100]])
    image, boxes = dotted_image(points, sigma=8), [[80, 40, 60, 80], [200, 100, 30, 40], [10, 20, 60, 80]]
    network = model = color_network()
    if kind == "runner":
        network = Network(Runner(lambda crops: model(crops, training=False).numpy(), SIZE, (16, 12), 3), SIZE, 3)
    swapped = Skeleton(("l_green", "red", "r_blue"), ((0, 2),), ((1, 0), (1, 2)), (0.1,) * 3, (0, 1, 2))
    card = ModelCard("colors", SIZE, COLORS, codec)
    predictor = PosePredictor(network, flip_test=False, skeleton=swapped, card=card, batch_size=2)
    keypoints = predictor(image, boxes)
    for k, name in enumerate(swapped.names):
        found = predictor.heatmap(image, name, boxes)
        assert (found.shape, found.dtype) == ((200, 300), np.float32)
        row, column = np.unravel_index(found.argmax(), found.shape)
        x, y, score = keypoints[keypoints[:, k, 2].argmax(), k]
        np.testing.assert_allclose([column, row], [x, y], atol=4)  # pixels of a heatmap are 6.3 of the image
        np.testing.assert_allclose(found.max(), score, atol=0.1)
        np.testing.assert_allclose([column, row], points[COLORS.names.index(name)], atol=8)
        assert score > 0.8 and not found[:, 250:].any()  # beyond all crops


def test_heatmaps_are_those_of_the_flip_test():
    points = np.array([[100.0, 60], [140, 70], [95, 120]])
    image, box = dotted_image(points, sigma=12), [[70, 30, 90, 120]]
    found = PosePredictor(color_network(), skeleton=COLORS).heatmap(image, "l_green", box)
    for x, y in points[1:].astype(int):  # its own dot, and that of its partner from the mirror image
        assert abs(found[y, x] - 0.5) < 0.1
    with pytest.raises(InputError, match=r"no keypoint is called 'nose'. There are: red, l_green, r_blue"):
        PosePredictor(color_network(), skeleton=COLORS).heatmap(image, "nose", box)


@pytest.mark.parametrize("codec", ["msra", "dark", "udp"])
def test_the_same_as_evaluation(dataset, codec):
    records = coco.load_split(str(dataset), "tiny")
    model, strategy = random_network(), tf.distribute.get_strategy()
    predict = make_predict_function(strategy, model, COCO.flip_pairs, codec=codec)
    expected, _ = predict_people(predict, records, SIZE, 3, strategy, codec=codec)
    boxes = [records.boxes[records.image_index == i] for i in range(len(records.image_paths))]
    images = [read_image(path) for path in records.image_paths]
    for batch_size in (3, 32):
        found = PosePredictor(model, codec=codec, batch_size=batch_size).predict_batch(images, boxes)
        assert [len(people) for people in found] == [2, 2, 2, 2]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-3)
    assert np.ptp(expected[..., 0]) > 50


def operations(heatmaps):
    """Types of the operations of a `Network`'s function, in all the functions that it calls."""
    graph = tf.function(heatmaps).get_concrete_function(tf.TensorSpec((None, 64, 64, 3), tf.uint8)).graph.as_graph_def()
    return {node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes}


def test_networks_are_folded_and_computed_in_bfloat16_on_demand(tmp_path):
    model = build_model("hrnet_w18_small_v1", (64, 64))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(rng.normal(0, np.sqrt(1.5 / np.prod(layer.kernel.shape[:3])), layer.kernel.shape))
    crops = np.stack([noise(64, 64, seed) for seed in range(2)])
    expected = model(crops).numpy()
    plain = for_inference(network_of(model)).heatmaps
    assert not {"FusedBatchNormV3", "Rsqrt"} & operations(plain)
    np.testing.assert_allclose(plain(crops), expected, atol=1e-5 * np.abs(expected).max())
    half = for_inference(network_of(model), "bfloat16").heatmaps
    difference = np.abs(half(crops) - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.05
    export_onnx(model, tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"precision 'bfloat16' is for .keras files"):
        PosePredictor(tmp_path / "a.onnx", precision="bfloat16")
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, bfloat16. Received: 'int8'"):
        PosePredictor(model, precision="int8")


def test_no_boxes_are_the_whole_image_and_no_people_give_no_keypoints(predictor):
    image = noise()
    whole = predictor(image)
    assert whole.shape == (1, 17, 3)
    np.testing.assert_array_equal(whole, predictor(image, [[0, 0, 160, 120]]))
    for nobody in ([], np.zeros((0, 4))):
        assert predictor(image, nobody).shape == (0, 17, 3)
    assert predictor.predict_batch([]) == []


def test_people_of_many_images_go_through_the_network_together(predictor, monkeypatch):
    images = [noise(90 + 10 * i, 160 - 10 * i, seed=i) for i in range(4)]
    boxes = [[[10, 10, 40, 60], [30, 5, 60, 80], [0, 0, 20, 20]], [], None, [[5 * i, 9, 50, 70] for i in range(5)]]
    sizes, run = [], predictor._predictor._predict
    monkeypatch.setattr(predictor._predictor, "_predict", lambda batch: sizes.append(len(batch)) or run(batch))
    found = predictor.predict_batch(images, boxes)
    assert [len(people) for people in found] == [3, 0, 1, 5]
    assert sizes == [4, 4, 1]
    for image, group, people in zip(images, boxes, found, strict=True):
        np.testing.assert_allclose(predictor(image, group), people, atol=1e-3)
    with pytest.raises(InputError, match=r"as many as the images \(4\)\. Received: 1"):
        predictor.predict_batch(images, [None])


def test_arrays_of_every_kind_are_the_same_picture(predictor):
    color, gray = noise(), noise()[..., 0]
    expected = predictor(color, [[20, 10, 80, 90]])
    alpha = np.random.default_rng(1).integers(0, 256, gray.shape, dtype=np.uint8)
    for image in (np.dstack([color, alpha]), (color.astype(np.uint16) << 8) + 130, color[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(predictor(image, [[20, 10, 80, 90]]), expected)
    expected = predictor(np.dstack([gray] * 3), [[20, 10, 80, 90]])
    for image in (gray, gray[..., None], gray.astype(np.uint16) << 8):
        np.testing.assert_array_equal(predictor(image, [[20, 10, 80, 90]]), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (noise() / 255, r"uint8 from 0 to 255 or uint16.*float64.*255 \* image"),
        (noise().astype(np.int64), "uint8.*int64"),
        (noise() > 100, "uint8.*bool"),
        (noise().transpose(2, 0, 1), r"\[H,W,3\].*Received: \[3, 120, 160\]"),
        (noise()[..., :2], r"Received: \[120, 160, 2\]"),
        (noise()[:0], r"Received: \[0, 160, 3\]"),
        (noise()[None], r"Received: \[1, 120, 160, 3\]"),
        (None, "object"),
        ("missing.jpg", "cannot read image missing.jpg: No such file"),
    ],
)
def test_what_is_no_image_is_refused(predictor, image, message):
    with pytest.raises(InputError, match=message):
        predictor(image)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"shape \[N,4\].*Received: \[4\]"),
        ([[1, 2, 3]], r"Received: \[1, 3\]"),
        ([[1, 2, 3, 4], [1, 2]], "numbers"),
        ("boxes", "numbers"),
        ([[0, 0, 9, 9], [0, 0, np.nan, 9]], "box 1 must be finite.*nan"),
        ([[np.inf, 0, 9, 9]], "box 0 must be finite"),
        ([[0, 0, 9, -1]], "box 0.*positive width"),
        ([[0, 0, 0, 9]], "box 0.*positive width"),
        ([[0, 0, 1e9, 9]], "box 0.*up to 1e\\+06"),
    ],
)
def test_bad_boxes_are_refused(predictor, boxes, message):
    with pytest.raises(InputError, match=message):
        predictor(noise(), boxes)


def with_orientation(jpeg, orientation):
    """The bytes of a JPEG file with an EXIF orientation put in."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


# What makes the picture of the pixels as stored: EXIF 2.32, "Orientation".
TURNS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_files_are_turned_by_exif(tmp_path, predictor, orientation):
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_orientation(cv2.imencode(".jpg", noise())[1].tobytes(), orientation))
    stored = read_image(path)
    assert stored.shape == (120, 160, 3)
    turned = np.ascontiguousarray(TURNS[orientation](stored))
    np.testing.assert_array_equal(load_image(path), turned)
    box = [[30, 20, 60, 90]]
    np.testing.assert_array_equal(predictor(str(path), box), predictor(turned, box))


def test_files_of_every_depth_are_read(tmp_path):
    color = noise()
    gray = color[..., 0]
    cases = {
        "gray.png": (gray, np.dstack([gray] * 3)),
        "gray16.png": ((gray.astype(np.uint16) << 8) + 99, np.dstack([gray] * 3)),
        "alpha.png": (np.dstack([color[..., ::-1], gray]), color),
        "color16.png": ((color[..., ::-1].astype(np.uint16) << 8) + 99, color),
        "color16.tif": ((color[..., ::-1].astype(np.uint16) << 8) + 99, color),
        "alpha16.png": ((np.dstack([color[..., ::-1], gray]).astype(np.uint16) << 8), color),
    }
    for name, (written, expected) in cases.items():
        cv2.imwrite(str(tmp_path / name), written)
        np.testing.assert_array_equal(load_image(tmp_path / name), expected, err_msg=name)


def test_the_model_card_says_what_is_not_given(tmp_path):
    path = tmp_path / "colors.keras"
    color_network().save(path)
    with pytest.raises(InputError, match="no model card to say what its 3 keypoints are: pass `skeleton`"):
        PosePredictor(path)
    assert PosePredictor(path, skeleton=COLORS).codec == "msra"
    write_card(path, ModelCard("colors", SIZE, COLORS, codec="udp", refine="none"))
    predictor = PosePredictor(path)
    assert (predictor.skeleton, predictor.codec, predictor.refine) == (COLORS, "udp", "none")
    predictor = PosePredictor(path, codec="dark")
    assert (predictor.codec, predictor.refine) == ("dark", None)
    assert PosePredictor(path, refine="udp").refine == "udp"
    with pytest.raises(InputError, match="predicts 3 keypoints, but the skeleton has 17"):
        PosePredictor(path, skeleton=COCO)
    assert PosePredictor(random_network()).skeleton is COCO


def test_bad_settings_are_refused():
    for settings in ({"codec": "msr"}, {"refine": "half"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be"):
            PosePredictor(random_network(), **settings)


@pytest.mark.slow
def test_networks_from_every_file_predict_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_model("hrnet_w18_small_v1", (64, 64), num_keypoints=17)
    kernel, _ = model.get_layer("final_layer").weights
    kernel.assign(kernel / np.ptp(model(noise(64, 64)[None])))  # heatmaps of new networks are flat
    card = ModelCard(model.name, (64, 64), COCO)
    paths = {name: tmp_path / name for name in ("a.keras", "versions", "versions/3", "a.onnx", "a.tflite")}
    model.save(paths["a.keras"])
    export_saved_model(model, paths["versions/3"], card)
    shutil.copytree(paths["versions/3"], paths["versions"] / "12")
    export_onnx(model, paths["a.onnx"])
    export_litert(model, paths["a.tflite"], "float32")
    expected = PosePredictor(model)(noise(), [[10, 10, 60, 90], [70, 20, 60, 60], [0, 0, 160, 120]])
    assert np.ptp(expected[..., 2]) > 1e-3
    for path in paths.values():
        found = PosePredictor(path)(noise(), [[10, 10, 60, 90], [70, 20, 60, 60], [0, 0, 160, 120]])
        np.testing.assert_allclose(found[..., 2], expected[..., 2], rtol=1e-3, atol=1e-5, err_msg=str(path))
        # Equal maxima may fall to either side.
        assert (np.abs(found - expected)[..., :2].max(axis=-1) < 1e-2).mean() > 0.9
