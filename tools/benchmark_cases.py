"""What benchmark.py measures of this package. A function for each group gives the cases of its tables."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from hrnet_tf import PosePredictor, build_model, heatmaps
from hrnet_tf.data import coco
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.pipeline import training_dataset
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.synthetic import render_dataset
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.coco import evaluate_coco
from hrnet_tf.export import export_litert, export_onnx, export_saved_model
from hrnet_tf.losses import KeypointMSE
from hrnet_tf.model_card import default_card
from hrnet_tf.predict import make_predict_function, predict_people, to_image
from hrnet_tf.prediction.runtimes import for_inference, load_network, network_of
from hrnet_tf.skeletons import COCO
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.step import make_optimizer, make_train_step

_DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}
_TRAIN_PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_MATRIX_SIZE = 2048
# Of an epoch, the first batches are not timed: nothing is prefetched yet.
INPUT_BATCH, INPUT_WARM_UP = 32, 5
_POSTPROCESSED = 1000


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the flags of benchmark.py of the same names say, and whether there is a GPU."""

    model: str
    input_size: tuple[int, int]
    batch_sizes: list[int]
    people: list[int]
    evaluated: list[int]
    data_dir: str | None
    split: str
    copies: int
    replicas: int
    has_gpu: bool


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
        name: of the row.
        run: does it once, to the end.
        items: images or people that this is.
        flops: floating point operations in it, 0 where they do not count.
        precision: that they are in.
        prepare: called before each `run`, and not timed.
    """

    name: str
    run: Callable
    items: int
    flops: float = 0
    precision: str = "float32"
    prepare: Callable = lambda: None


def matmul_peak(precision):
    """Multiplication of two large matrices: as much as the machine can do."""
    matrix = tf.cast(tf.random.stateless_normal((_MATRIX_SIZE, _MATRIX_SIZE), (0, 0)), _DTYPES[precision])
    multiply = tf.function(lambda: tf.linalg.matmul(matrix, matrix)[0, 0])
    return Case(f"matmul {precision}", lambda: multiply().numpy(), 1, 2 * _MATRIX_SIZE**3, precision)


def count_flops(model):
    """Floating point operations for one image: two for each multiplication in the convolutions."""
    flops = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            flops += 2 * np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2DTranspose):
            flops += 2 * np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
    return float(flops)


def forward(settings, reference):
    """The network as Keras has it, as it is for prediction, and from every kind of file, by batch size."""
    model = _with_statistics(build_model(settings.model, settings.input_size))
    flops = count_flops(model)
    networks = {"Keras float32": (model, "float32")}
    for precision in _DTYPES:
        networks[f"for_inference {precision}"] = for_inference(network_of(model), precision).heatmaps, precision
    with tempfile.TemporaryDirectory() as folder:
        folder, card = pathlib.Path(folder), default_card(model)
        export_saved_model(model, folder / "saved_model", card)
        export_saved_model(model, folder / "bfloat16", card, precision="bfloat16")
        export_onnx(model, folder / "model.onnx")
        export_litert(model, folder / "model.tflite")
        files = {"SavedModel float32": "saved_model", "ONNX Runtime float32": "model.onnx"}
        files |= {"LiteRT float32": "model.tflite", "SavedModel bfloat16": "bfloat16"}
        for name, file in files.items():
            networks[name] = load_network(folder / file)[0].heatmaps, name.rsplit(" ", 1)[1]
        openvino = _openvino(folder / "model.onnx")
        for batch_size in settings.batch_sizes:
            images = _crops(settings.input_size, batch_size)
            cases = reference.forward(settings, images.numpy(), flops) if reference else []
            for name, (network, precision) in networks.items():
                in_file = name.partition(" ")[0] in ("ONNX", "LiteRT")
                run = tf.function(network, jit_compile=settings.has_gpu and not in_file)
                cases.append(
                    Case(
                        f"forward {name}, batch {batch_size}",
                        lambda run=run, images=images: run(images, training=False).numpy(),
                        batch_size,
                        batch_size * flops,
                        precision,
                    )
                )
            if openvino:
                cases.append(
                    Case(
                        f"forward OpenVINO float32, batch {batch_size}",
                        lambda images=images: openvino(images.numpy().astype(np.float32)),
                        batch_size,
                        batch_size * flops,
                    )
                )
            yield cases


def _openvino(path):
    """The network of an ONNX file as OpenVINO runs it in float32, None where that is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def train(settings, reference):
    """The training step in both precisions, with a batch for every replica."""
    strategy = _strategy(settings)
    batch_size, (height, width) = settings.batch_sizes[-1], settings.input_size
    stride = heatmaps.HEATMAP_STRIDE
    images = _crops(settings.input_size, batch_size)
    targets = tf.random.stateless_uniform((batch_size, height // stride, width // stride, COCO.num_keypoints), (0, 0))
    weight = tf.ones((batch_size, COCO.num_keypoints))
    cases = reference.train(settings, images.numpy(), targets.numpy()) if reference else []
    batch = [
        strategy.experimental_distribute_values_from_function(lambda _, part=part: part)
        for part in (images, targets, weight)
    ]
    items = settings.replicas * batch_size
    replicas = f" on {settings.replicas} replicas" if settings.replicas > 1 else ""
    for precision, policy in _TRAIN_PRECISIONS.items():
        with strategy.scope():
            plain = build_model(settings.model, settings.input_size, dtype=policy)
            model, optimizer = with_fused_batch_norm(plain), make_optimizer(1e-3, policy)
            optimizer.build(model.trainable_variables)
        step = make_train_step(strategy, model, optimizer, KeypointMSE(), settings.has_gpu)
        cases.append(
            Case(
                f"training step {policy}, batch {batch_size}{replicas}",
                lambda step=step: step(*batch)[0].numpy(),
                items,
                3 * items * count_flops(plain),  # forward, and backward to inputs and to weights
                precision,
            )
        )
    yield cases


def _strategy(settings):
    """The default strategy, or one that mirrors on so many GPUs; without GPUs, on parts of the CPU."""
    if settings.replicas == 1:
        return tf.distribute.get_strategy()
    kind = "GPU" if settings.has_gpu else "CPU"
    found = len(tf.config.list_logical_devices(kind))
    if found < settings.replicas:
        raise InputError(f"--replicas must be at most the number of GPUs, {found}. Received: {settings.replicas}")
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(settings.replicas)])


def input_pipeline(settings, reference):
    """Samples with full augmentation and their targets."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir, split = _data(settings, folder)
        people = _repeated(coco.load_split(data_dir, split), settings.copies)
        num_batches = len(people) // INPUT_BATCH - INPUT_WARM_UP
        if num_batches < 1:
            raise InputError(f"--copies must be larger: {len(people)} people are too few to measure on")
        cases = reference.input_pipeline(settings, data_dir, split, num_batches) if reference else []
        dataset = training_dataset(
            people, settings.input_size, INPUT_BATCH, 2.0, Augmentation(), 0, 0, INPUT_WARM_UP + num_batches
        )
        cases.append(pulled("input, full augmentation", lambda: iter(dataset), num_batches))
        yield cases


def pulled(name, start, num_batches):
    """The case of an epoch of a pipeline, begun anew each time so that it does nothing while others are timed."""
    epoch = []

    def prepare():
        epoch[:] = [start()]
        for _ in range(INPUT_WARM_UP):
            next(epoch[0])

    def run():
        for _ in range(num_batches):
            next(epoch[0])

    return Case(name, run, INPUT_BATCH * num_batches, prepare=prepare)


def postprocess(settings, reference):
    """From two networks' outputs to image pixels: mirror back, average, decode."""
    size = tuple(side // heatmaps.HEATMAP_STRIDE for side in settings.input_size)
    maps = tf.random.stateless_uniform((2, _POSTPROCESSED, *size, COCO.num_keypoints), (0, 0))
    people = _people(_POSTPROCESSED)
    cases = reference.postprocess(settings, maps.numpy(), people.boxes) if reference else []
    for refine in ("quarter", "dark", "udp"):

        @tf.function(jit_compile=settings.has_gpu)
        def decode(maps, refine=refine):
            return heatmaps.decode(0.5 * (maps[0] + heatmaps.flip_back(maps[1], COCO.flip_pairs)), refine)

        def run(decode=decode):
            to_image(decode(maps).numpy()[..., :2], people, settings.input_size)

        cases.append(Case(f"flip back, decode ({refine}), to the image", run, _POSTPROCESSED))
    found = np.zeros((_POSTPROCESSED, COCO.num_keypoints, 2))
    yield [*cases, Case("to the image alone", lambda: to_image(found, people, settings.input_size), _POSTPROCESSED)]


def predict(settings, reference):
    """`PosePredictor` from an image in memory to keypoints in it, by people in the image, with flip test."""
    del reference  # has no counterpart
    model = _with_statistics(build_model(settings.model, settings.input_size))
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    cases = []
    for precision in _DTYPES:
        predictor = PosePredictor(model, precision=precision)
        for count in settings.people:
            boxes = _people(count).boxes
            cases.append(
                Case(
                    f"PosePredictor {precision}, {count} people an image",
                    lambda predictor=predictor, boxes=boxes: predictor(image, boxes),
                    count,
                )
            )
    yield cases


def evaluation(settings, reference):
    """What there is to an evaluation beyond the network: reading and decoding, and COCO's figures."""
    del reference  # has no counterpart
    yield [_coco_figures(count) for count in settings.evaluated]
    with tempfile.TemporaryDirectory() as folder:
        people = _repeated(coco.load_split(*_data(settings, folder)), settings.copies)
        strategy = tf.distribute.get_strategy()

        def cheap_network(images, training):
            maps = tf.nn.avg_pool2d(
                tf.cast(images, tf.float32), heatmaps.HEATMAP_STRIDE, heatmaps.HEATMAP_STRIDE, "VALID"
            )
            return tf.gather(maps, [0] * COCO.num_keypoints, axis=-1)

        predict = make_predict_function(strategy, cheap_network, COCO.flip_pairs, settings.has_gpu)

        def run():
            predict_people(predict, people, settings.input_size, INPUT_BATCH, strategy)

        yield [Case("read, crop, flip test, decode, without a network", run, len(people))]


def _coco_figures(count):
    """The case of COCO's figures of `count` people, two in an image."""
    people = _people(count)
    rng = np.random.default_rng(0)
    image_ids = np.arange(count) // 2
    keypoints = people.boxes[:, None, :2] + rng.uniform(0, 1, (count, 17, 2)) * people.boxes[:, None, 2:]
    triples = np.concatenate([keypoints, np.full((count, 17, 1), 2.0)], -1)
    annotations = [
        {"id": i + 1, "image_id": int(image_ids[i]), "category_id": 1, "iscrowd": 0, "num_keypoints": 17}
        | {"bbox": people.boxes[i].tolist(), "area": float(people.boxes[i, 2:].prod())}
        | {"keypoints": triples[i].ravel().tolist()}
        for i in range(count)
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names)}
    content = {"images": [{"id": i} for i in range(count // 2)], "annotations": annotations}
    content["categories"] = [category]
    noisy = np.concatenate([keypoints + rng.normal(0, 5, keypoints.shape), rng.uniform(0, 1, (count, 17, 1))], -1)
    areas = people.boxes[:, 2:].prod(-1)

    def run():
        evaluate_coco(content, image_ids, noisy, people.box_scores, areas)

    return Case(f"COCO figures of {count} people", run, count)


def _with_statistics(model):
    """`model` with normalisation as a trained one has it: without, offsets folded into biases would all be 0.

    TensorFlow leaves out sums with a constant 0, and convolutions are no longer one operation with what follows.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([weight + rng.uniform(0, 0.1, weight.shape) for weight in layer.get_weights()])
    return model


def _data(settings, folder):
    """Folder and split of the data to read, by default rendered into `folder`."""
    if settings.data_dir is not None:
        return settings.data_dir, settings.split
    render_dataset(pathlib.Path(folder), "train", 100, 0)
    return folder, "train"


def _crops(input_size, count):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, *input_size, 3), np.uint8))


def _people(count):
    """`PersonRecords` of people in boxes drawn at random in an image of 640x480."""
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 300, (count, 2)), rng.uniform(60, 180, (count, 2))], -1).astype(np.float32)
    return PersonRecords(
        skeleton=COCO,
        image_paths=[""],
        image_ids=np.zeros(1, np.int64),
        image_index=np.zeros(count, np.int32),
        boxes=boxes,
        box_scores=np.ones(count, np.float32),
        keypoints=np.zeros((count, COCO.num_keypoints, 2), np.float32),
        visible=np.zeros((count, COCO.num_keypoints), np.float32),
    )


def _repeated(people, copies):
    """`PersonRecords` in which every image is there `copies` times, as if they were different ones."""
    tiled = people.take(np.tile(np.arange(len(people)), copies))
    offsets = np.repeat(np.arange(copies), len(people)) * len(people.image_paths)
    return dataclasses.replace(
        tiled,
        image_paths=people.image_paths * copies,
        image_ids=np.arange(len(people.image_paths) * copies),
        image_index=(tiled.image_index + offsets).astype(np.int32),
    )
