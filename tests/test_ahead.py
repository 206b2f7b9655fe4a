"""What is done before its results are asked for: in threads, and by `PosePredictor` and all that predicts."""

import contextlib
import threading

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from test_devices import mock_gpus, tf32
from test_predictor import COLORS, SIZE, noise, random_network

from hrnet_tf import PosePredictor, inputs
from hrnet_tf.ahead import ahead, in_background, one_late
from hrnet_tf.data import coco
from hrnet_tf.export import check_heatmaps
from hrnet_tf.prediction import boxes, files, reading, sources, top_down
from hrnet_tf.prediction.keypoints import predict_people
from hrnet_tf.prediction.network import Network

SOON = 20  # seconds that another thread is waited for


def test_results_come_in_order_and_not_too_many_ahead():
    begun = []
    with contextlib.closing(ahead(lambda i: begun.append(i) or i * i, range(100), threads=3, waiting=5)) as results:
        for i in range(20):
            assert next(results) == i * i
            assert max(begun) <= i + 5
    assert list(in_background(iter("abc"))) == ["a", "b", "c"] and list(in_background([])) == []


def test_errors_come_where_their_item_is_and_closing_waits_for_threads():
    results = ahead(lambda i: 1 // (2 - i), range(5), threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    entered, leave, left = threading.Event(), threading.Event(), []

    def slow(item):
        entered.set()
        leave.wait(SOON)
        left.append(item)
        return item

    with contextlib.closing(ahead(lambda i: slow(i) if i else i, range(9), threads=1)) as results:
        assert next(results) == 0
        assert entered.wait(SOON)
        leave.set()
    assert left == [1] or left == [1, 2]


def test_items_are_one_late():
    seen = []
    for item in one_late(seen.append(i) or i for i in range(3)):
        assert seen[-1] == min(item + 1, 2)


class OnDevice:
    """Stands for keypoints that a GPU still computes; notes when they are given to it and when waited for."""

    def __init__(self, log, number, shape):
        self.log, self.number, self.shape = log, number, shape
        log.append(("given", number))

    def numpy(self):
        self.log.append(("waited for", self.number))
        return np.full(self.shape, self.number, np.float32)

    def __len__(self):
        return self.shape[0]


LATE = [("given", 0), ("given", 1), ("waited for", 0), ("given", 2), ("waited for", 1), ("waited for", 2)]


def test_the_next_crops_are_given_to_the_network_before_results_are_waited_for(monkeypatch, dataset):
    log, count = [], iter(range(99))
    predictor = PosePredictor(random_network(), batch_size=2)
    monkeypatch.setattr(predictor._predictor, "_predict", lambda batch: OnDevice(log, next(count), (len(batch), 17, 3)))
    found = predictor.predict_batch([noise()] * 3, [[[5, 5, 50, 60]] * 2] * 3)
    assert log == LATE
    assert [people[0, 0, 2] for people in found] == [0, 1, 2]
    log, count = [], iter(range(99))
    pairs = [([noise()] * 2, [None] * 2), ([noise()], [[[5, 5, 50, 60]] * 2]), ([noise()], [None]), ([noise()], [[]])]
    found = list(predictor.predict_batches(pairs))
    assert log == LATE
    assert [[len(people) for people in batch] for batch in found] == [[1, 1], [2], [1], [0]]

    log, count = [], iter(range(99))
    monkeypatch.setattr(tf.distribute.get_strategy(), "experimental_local_results", lambda values: (values,))
    people = coco.load_split(dataset, "tiny")
    keypoints, _ = predict_people(
        lambda images: OnDevice(log, next(count), (len(images), 17, 3)), people, SIZE, 3, tf.distribute.get_strategy()
    )
    assert log == LATE
    assert keypoints[:, 0, 2].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def blocked_network(release):
    """A `Network` whose call number i ends when `release(i)` returns."""
    calls = iter(range(99))

    def heatmaps(images, training=False):
        def wait(images):
            release(next(calls))
            return np.zeros((len(images), SIZE[0] // 4, SIZE[1] // 4, 3), np.float32)

        maps = tf.numpy_function(wait, [images], tf.float32)
        return tf.ensure_shape(maps, (None, SIZE[0] // 4, SIZE[1] // 4, 3))

    return Network(heatmaps, SIZE, 3)


def test_images_are_read_and_cut_while_the_network_computes(monkeypatch):
    cut = [threading.Event() for _ in range(6)]
    in_time = []
    load = inputs.load_image

    def load_image(image):
        found = load(image)
        cut[image[0, 0, 0]].set()
        return found

    monkeypatch.setattr(top_down, "load_image", load_image)
    network = blocked_network(lambda call: in_time.append(call > 0 or cut[4].wait(SOON)))
    images = [np.full((40, 30, 3), i, np.uint8) for i in range(6)]
    PosePredictor(network, skeleton=COLORS, flip_test=False, batch_size=2).predict_batch(images)
    assert in_time == [True] * 3


def test_files_are_read_and_drawn_while_the_network_computes(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for i in range(12):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), noise(40, 30, seed=i))
    read, drawn = ([threading.Event() for _ in range(12)] for _ in range(2))
    in_time = []

    def noted(function, events):
        def call(path, *arguments):
            result = function(path, *arguments)
            events[int(path.stem)].set()
            return result

        return call

    def release(call):  # four pictures a call: the last of the next is read, the first of all drawn
        in_time.append((call == 2 or read[4 * call + 7].wait(SOON)) and (call < 2 or drawn[0].wait(SOON)))

    numbers = sources.find_images(tmp_path / "in", print)
    monkeypatch.setattr(reading, "read_reduced", noted(reading.read_reduced, read))
    monkeypatch.setattr(files, "write_image", noted(files.write_image, drawn))
    estimate = PosePredictor(blocked_network(release), skeleton=COLORS, flip_test=False, batch_size=4)
    assert files.predict_images(estimate, numbers, tmp_path / "out", boxes.whole_image, print) == (12, 12, [])
    assert in_time == [True] * 3
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {f"{i}.png" for i in range(12)}


def is_compiled(estimate):
    definition = estimate._predictor._predict.graph.as_graph_def()
    return any(function.attr["_XlaMustCompile"].b for function in definition.library.function)


def sizes_given(estimate, monkeypatch):
    """A list to which the sizes of batches are added that the network of a `PosePredictor` is given."""
    sizes, run = [], estimate._predictor._predict
    monkeypatch.setattr(estimate._predictor, "_predict", lambda batch: sizes.append(len(batch)) or run(batch))
    return sizes


def test_xla_gives_the_same_in_batches_of_few_sizes_that_can_be_made_ready(monkeypatch):
    model, image = random_network(), noise()
    people = [[5 * i, 9, 50, 70] for i in range(11)]
    plain, compiled = PosePredictor(model, batch_size=8), PosePredictor(model, batch_size=8, jit_compile=True)
    assert not is_compiled(plain) and is_compiled(compiled)
    sizes = {estimate: sizes_given(estimate, monkeypatch) for estimate in (plain, compiled)}
    for estimate in sizes:
        estimate.warm_up()
    assert (sizes[plain], sizes[compiled]) == ([1], [1, 2, 4, 8])
    np.testing.assert_allclose(compiled(image, people), plain(image, people), atol=1e-3)
    assert (sizes[plain][1:], sizes[compiled][4:]) == ([8, 3], [8, 4])
    compiled.warm_up([3, 5, 100])
    assert sizes[compiled][6:] == [4, 8]
    with pytest.raises(ValueError, match=r"`batch_sizes` must be positive. Received: \[4, 0\]"):
        compiled.warm_up([4, 0])


@pytest.mark.parametrize(("capability", "compiled"), [((8, 6), True), ((12, 0), False)])
def test_xla_is_the_default_on_gpus_that_it_does_not_abort_on(capability, compiled, monkeypatch):
    mock_gpus(monkeypatch, capability)
    estimate = PosePredictor(random_network(), flip_test=False)
    assert is_compiled(estimate) == compiled
    assert not is_compiled(PosePredictor(random_network(), flip_test=False, jit_compile=False))
    sizes = sizes_given(estimate, monkeypatch)
    estimate(noise(), [[5 * i, 9, 50, 70] for i in range(3)])
    assert sizes == [4]


@pytest.mark.parametrize("wanted", [True, False])
def test_without_tf32_the_switch_is_off_while_the_network_runs_and_then_as_before(wanted):
    seen = []
    network = blocked_network(lambda call: seen.append(tf32()))
    tf.config.experimental.enable_tensor_float_32_execution(True)
    estimate = PosePredictor(network, skeleton=COLORS, flip_test=False, tf32=wanted)
    assert tf32()
    estimate(noise())
    assert seen == [wanted] and tf32()


def test_onnx_runs_on_a_gpu_that_is_there_and_is_checked_on_the_cpu(tmp_path, monkeypatch):
    path, used, (height, width) = tmp_path / "a.onnx", [], SIZE
    pool = onnx.helper.make_node("AveragePool", ["images"], ["heatmaps"], kernel_shape=[4, 4], strides=[4, 4])
    shapes = {"images": ["batch", 3, height, width], "heatmaps": ["batch", 3, height // 4, width // 4]}
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in shapes]
    graph = onnx.helper.make_graph([pool], "pool", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    session = onnxruntime.InferenceSession
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: used.append(providers) or session(path)
    )
    tf.config.experimental.enable_tensor_float_32_execution(True)
    for wanted in (True, False):
        PosePredictor(path, skeleton=COLORS, tf32=wanted)
    images = keras.Input((*SIZE, 3), name="images")
    check_heatmaps(path, keras.Model(images, keras.layers.AveragePooling2D(4)(images)), None)
    cuda = [[("CUDAExecutionProvider", {"use_tf32": use}), "CPUExecutionProvider"] for use in ("1", "0")]
    assert used == [*cuda, ["CPUExecutionProvider"]]
