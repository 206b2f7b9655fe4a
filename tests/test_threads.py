"""One network asked from many threads at once, in every form that there is, and what makes that safe."""

import contextlib
import gc
import json
import os
import pathlib
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context
from test_fold import images_for, randomized

from hrnet_tf import PosePredictor, build_model
from hrnet_tf.data import coco
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.pipeline import training_dataset
from hrnet_tf.export import export_keras, export_litert, export_onnx, export_saved_model, quantize_onnx
from hrnet_tf.model_card import default_card
from hrnet_tf.models.fold import fold_batch_norm
from hrnet_tf.models.sums import may_fuse_sums, subtract_convolutions
from hrnet_tf.models.variants import HRNETS, POSE_RESNETS
from hrnet_tf.prediction.keypoints import predict_people
from hrnet_tf.prediction.network import for_inference, network_of
from hrnet_tf.skeletons import Skeleton

layers = keras.layers
WORKER = pathlib.Path(__file__).with_name("ask_at_once.py")
SECONDS = 10
FROZEN = "frozen"  # with TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1
FORMS = {
    "keras": ("predictor", "model.keras"),
    "keras bfloat16": ("predictor_bfloat16", "model.keras"),
    "keras frozen": ("predictor", "model.keras", FROZEN),
    "keras bfloat16 frozen": ("predictor_bfloat16", "model.keras", FROZEN),
    "keras in an application": ("keras", "model.keras"),
    "heatmaps": ("heatmaps", "saved_model"),
    "keypoints": ("serving_default", "saved_model"),
    "pose": ("pose", "saved_model"),
    "heatmaps frozen": ("heatmaps", "saved_model", FROZEN),
    "heatmaps bfloat16": ("heatmaps", "bfloat16"),
    "heatmaps bfloat16 frozen": ("heatmaps", "bfloat16", FROZEN),
    "heatmaps not folded": ("heatmaps", "not_folded"),
    "predictor of a SavedModel": ("predictor", "saved_model"),
    "onnx": ("predictor", "model.onnx"),
    "onnx int8": ("predictor", "int8.onnx"),
    "litert": ("predictor", "model.tflite"),
    "litert int8": ("predictor", "int8.tflite"),
}
SMALL = ("hrnet_w18_small_v1", "pose_resnet18", "pose_resnet50")
QUICK = ("keras bfloat16 frozen", "heatmaps", "onnx int8", "litert int8")


def trained_like(name, size, num_keypoints=17):
    """A network with weights under which every layer matters and heatmaps are of a size of 1."""
    model = randomized(build_model(name, size, num_keypoints))
    final = model.layers[-1]
    largest = np.abs(model(images_for(model), training=False)).max()
    final.set_weights([weight / largest for weight in final.get_weights()])
    return model


def write_all(model, folder):
    card, crops = default_card(model), images_for(model)
    export_keras(model, folder / "model.keras", card)
    export_saved_model(model, folder / "saved_model", card)
    export_saved_model(model, folder / "bfloat16", card, precision="bfloat16")
    export_saved_model(model, folder / "not_folded", card, fold=False)
    export_onnx(model, folder / "model.onnx")
    quantize_onnx(folder / "model.onnx", folder / "int8.onnx", crops)
    export_litert(model, folder / "model.tflite")
    export_litert(model, folder / "int8.tflite", "int8", crops)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with all files of a small network."""
    return write_all(trained_like("hrnet_w18_small_v1", (128, 96)), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_all(trained_like("hrnet_w32", (128, 96)), tmp_path_factory.mktemp("large"))


def ask(folder, form, file, frozen=None):
    environment = {**os.environ, "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1" if frozen else "0"}
    command = [sys.executable, WORKER, form, folder / file, SECONDS]
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("form", [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FORMS])
def test_small_network_asked_by_many_at_once(form, small):
    found = ask(small, *FORMS[form])
    assert found["calls"] > 50
    assert found["largest_difference"] <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_large_network_asked_by_many_at_once(form, large):
    found = ask(large, *FORMS[form])
    assert found["calls"] > 10
    assert found["largest_difference"] <= 1e-4


def fused_operations(function, *inputs):
    """What TensorFlow's optimizer made of a function's convolutions: the operations fused into each."""
    context.context().enable_run_metadata()
    try:
        function(*inputs)
        graphs = context.context().export_run_metadata()
    finally:
        context.context().disable_run_metadata()
    optimized = [function.post_optimization_graph for function in graphs.function_graphs]
    partitions = [graph for function in graphs.function_graphs for graph in function.partition_graphs]
    nodes = [node for graph in optimized + partitions for node in graph.node]
    nodes += [
        node for graph in optimized + partitions for function in graph.library.function for node in function.node_def
    ]
    return [[name.decode() for name in node.attr["fused_ops"].list.s] for node in nodes if "fused_ops" in node.attr]


def fresh(model):
    """A function that TensorFlow has not optimized yet: images to heatmaps, for any number of them."""
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    return tf.function(lambda images: model(images, training=False)).get_concrete_function(images)


needs_onednn = pytest.mark.skipif(
    not any(
        "Add" in fused
        for fused in fused_operations(
            tf.function(lambda x: tf.nn.bias_add(tf.nn.conv2d(x, tf.ones((1, 1, 4, 4)), 1, "SAME"), tf.ones(4)) + x),
            tf.ones((1, 4, 4, 4)),
        )
    ),
    reason="this TensorFlow does not make one operation of a convolution and a sum: it may have been mended",
)


def biases_and_sums():
    """A Keras model with sums of convolutions in every order: with what is none, with each other, behind a dropout."""
    images = keras.Input((16, 16, 3))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(images))
    a = layers.Conv2D(4, 3, padding="same", name="a")(x)
    b = layers.Conv2D(4, 1, name="b")(x)
    x = layers.ReLU()(layers.Add(name="both")([a, b]))
    c = layers.SeparableConv2D(4, 3, padding="same", name="c")(x)
    c = layers.Activation("linear")(layers.Dropout(0.5)(c))
    x = layers.ReLU()(layers.Add(name="three")([x, c, layers.UpSampling2D(2)(layers.AveragePooling2D(2)(x))]))
    shared = layers.Conv2D(4, 3, padding="same", name="shared")(x)
    x = layers.Concatenate()([layers.Add(name="of_shared")([shared, x]), shared])
    return randomized(keras.Model(images, layers.Conv2D(2, 1, name="last")(x)))


def test_sums_stay_what_they_are():
    model = biases_and_sums()
    images, weights = images_for(model), model.get_weights()
    copy = subtract_convolutions(model)
    np.testing.assert_equal(model.get_weights(), weights)
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(copy(images, training=False), expected, atol=1e-6 * np.abs(expected).max())
    subtractions = [layer.name for layer in copy.layers if isinstance(layer, layers.Subtract)]
    assert subtractions == ["both_0", "three_0"]
    for name, sign in {"a": 1, "b": -1, "c": -1, "shared": 1, "last": 1}.items():
        for one, other in zip(
            copy.get_layer(name).get_weights()[-2:], model.get_layer(name).get_weights()[-2:], strict=True
        ):
            np.testing.assert_array_equal(one, sign * other)


def test_residual_sums_are_the_same_to_the_last_bit():
    images = keras.Input((16, 16, 4))
    model = randomized(keras.Model(images, layers.Add()([images, layers.Conv2D(4, 3, padding="same")(images)])))
    x = images_for(model)
    np.testing.assert_array_equal(subtract_convolutions(model)(x), model(x))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in (*HRNETS, *POSE_RESNETS)]
)
def test_no_sum_is_part_of_a_convolution(name, precision):
    model = for_inference(network_of(trained_like(name, (64, 64))), precision).heatmaps
    found = fused_operations(fresh(model), tf.zeros((2, 64, 64, 3), tf.uint8))
    assert ["BiasAdd", "Relu"] in found
    assert not [operations for operations in found if "Add" in operations]


@pytest.mark.parametrize("kind", ["saved_model", "bfloat16", "not_folded"])
@pytest.mark.parametrize("signature", ["heatmaps", "serving_default", "pose"])
def test_no_sum_is_part_of_a_convolution_in_files(signature, kind, small):
    loaded = tf.saved_model.load(str(small / kind))
    crops = {"images": tf.zeros((2, 128, 96, 3), tf.uint8)}
    pose = {"image": tf.io.encode_png(tf.zeros((99, 99, 3), tf.uint8)), "boxes": tf.constant([[1.0, 2, 50, 60]] * 2)}
    inputs = pose if signature == "pose" else crops
    found = fused_operations(lambda: loaded.signatures[signature](**inputs))
    assert found
    assert not [operations for operations in found if "Add" in operations]
    assert not may_fuse_sums(loaded.signatures[signature].graph)


@needs_onednn
def test_what_is_found_in_graphs_is_what_tensorflow_does():
    """The same network without precautions: TensorFlow makes the operation, and the graph shows that it will."""
    folded = fold_batch_norm(trained_like("hrnet_w18_small_v1", (64, 64)))
    function = fresh(folded)
    assert may_fuse_sums(function.graph)
    assert ["BiasAdd", "Add", "Relu"] in fused_operations(function, tf.zeros((2, 64, 64, 3), tf.uint8))
    assert not may_fuse_sums(fresh(subtract_convolutions(folded)).graph)


@pytest.mark.parametrize("nested", [False, True])
def test_files_of_other_origin_are_asked_one_at_a_time(nested, tmp_path):
    """SavedModels written without precautions, with the convolution in a function of its own or not."""
    images = tf.TensorSpec((None, 64, 64, 3), tf.uint8, name="images")
    module = tf.Module()
    module.conv = layers.Conv2D(5, 1, strides=4)
    module.conv.build((None, 64, 64, 3))
    conv = tf.function(module.conv) if nested else module.conv

    def heatmaps(images):
        images = tf.cast(images, tf.float32)
        return {"heatmaps": conv(images) + conv(1.0 - images)}

    signature = tf.function(heatmaps).get_concrete_function(images)
    tf.saved_model.save(module, str(tmp_path), signatures={"heatmaps": signature})
    skeleton = Skeleton(tuple("abcde"), (), (), (0.1,) * 5, ())
    assert PosePredictor(tmp_path, skeleton=skeleton)._predictor._one_at_a_time.acquire(blocking=False)


def test_own_files_are_asked_at_once(small):
    for file in ("model.keras", "saved_model", "bfloat16", "not_folded", "model.onnx"):
        assert isinstance(PosePredictor(small / file)._predictor._one_at_a_time, contextlib.nullcontext)


def test_what_would_crash_a_server_is_not_written(tmp_path):
    """A sum that is no layer `Add`."""
    images = keras.Input((64, 64, 3), name="images")
    x, y = (layers.Conv2D(17, 1, strides=4)(images) for _ in range(2))
    model = keras.Model(images, layers.ReLU()(layers.Average()([x, y])))
    with pytest.raises(ValueError, match="must add up convolutions with a bias by layers `Add`"):
        export_saved_model(model, tmp_path / "1", default_card(model))
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("file", ["model.onnx", "model.tflite", "model.keras", "saved_model"])
def test_predictors_that_nobody_has_are_gone(file, small):
    predictor = PosePredictor(small / file)
    predictor(np.zeros((40, 30, 3), np.uint8))
    runtime = weakref.ref(predictor._predictor._predict)
    del predictor
    gc.collect()
    assert runtime() is None


def test_data_of_evaluations_that_are_over_is_gone(dataset):
    """TensorFlow keeps the functions that it was given; what they belong to it must not keep."""
    strategy, references = tf.distribute.get_strategy(), []
    for _ in range(3):
        people = coco.load_split(dataset, "tiny")
        references.append(weakref.ref(people))
        predict_people(lambda images: tf.zeros((len(images), 17, 3)), people, (64, 64), 4, strategy)
        batches = training_dataset(people, (64, 64), 4, 2.0, Augmentation(), 0, 0, 2)
        assert len(list(batches)) == 2
        del people, batches
    gc.collect()
    assert not any(reference() for reference in references)
