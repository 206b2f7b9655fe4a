"""What benchmark.py measures of the networks, and what its cases are. A function for each group gives its tables."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from hrnet_tf import build_model, devices
from hrnet_tf.data.targets import Targets
from hrnet_tf.errors import InputError
from hrnet_tf.export import export_litert, export_onnx, export_saved_model
from hrnet_tf.losses import KeypointMSE, SummedLoss
from hrnet_tf.model_card import default_card
from hrnet_tf.models.clones import bfloat16_clone, last_output
from hrnet_tf.models.fold import fold_batch_norm
from hrnet_tf.models.variants import num_outputs
from hrnet_tf.prediction.network import for_inference, load_network, network_of
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.skeletons import COCO
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.objectives import HeatmapObjective
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.step import make_train_step, over_replicas

DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}
_TRAIN_PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# Of the matrices whose product is a machine's peak: a GPU is not filled by what a CPU takes a while for.
_MATRIX_SIZE, _GPU_MATRIX_SIZE = 2048, 16384


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


def matmul_peak(precision, has_gpu):
    """Multiplication of two large matrices: as much as the machine can do."""
    size = _GPU_MATRIX_SIZE if has_gpu else _MATRIX_SIZE
    matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), DTYPES[precision])
    multiply = tf.function(lambda: tf.linalg.matmul(matrix, matrix)[0, 0])
    return Case(f"matmul {precision}", lambda: multiply().numpy(), 1, 2 * size**3, precision)


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
    model = last_output(with_statistics(build_model(settings.model, settings.input_size)))
    flops = count_flops(model)
    networks = {"Keras float32": (model, "float32")}
    folded = fold_batch_norm(model)
    for precision in DTYPES:
        networks[f"for_inference {precision}"] = for_inference(network_of(model), precision).heatmaps, precision
        # What it would be if several threads need not share it: TensorFlow makes its sums part of convolutions.
        unsafe = folded if precision == "float32" else bfloat16_clone(folded)
        networks[f"for one thread {precision}"] = unsafe, precision
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
            images = crops_of(settings.input_size, batch_size)
            cases = reference.forward(settings, images.numpy(), flops) if reference else []
            for name, (network, precision) in networks.items():
                cases.append(
                    Case(
                        f"forward {name}, batch {batch_size}",
                        partial(_runnable(network, devices.use_xla()), images),
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


def _runnable(network, use_xla):
    """The network of a `Network` as a function that runs it on a tensor of images, to the end."""
    if isinstance(network, Runner):
        return lambda images: network(images.numpy())
    run = tf.function(network, jit_compile=use_xla)
    # One value is waited for; the heatmaps stay where they are decoded.
    return lambda images: run(images, training=False)[0, 0, 0, 0].numpy()


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
    targets = Targets(settings.input_size, COCO.num_keypoints, sigma=2.0)
    images = crops_of(settings.input_size, batch_size)
    keypoints = tf.random.stateless_uniform((batch_size, COCO.num_keypoints, 2), (0, 0)) * (width, height)
    visible = tf.ones((batch_size, COCO.num_keypoints))
    cases = reference.train(settings, images.numpy(), targets(keypoints, visible)[0].numpy()) if reference else []
    parts = images, keypoints, visible
    batch = [strategy.experimental_distribute_values_from_function(lambda _, part=part: part) for part in parts]
    count = num_outputs(settings.model)
    objective = HeatmapObjective(SummedLoss([KeypointMSE()] * count, [1.0] * count), targets)
    steps, items = {}, settings.replicas * batch_size
    replicas = f" on {settings.replicas} replicas" if settings.replicas > 1 else ""
    for precision, policy in _TRAIN_PRECISIONS.items():
        with strategy.scope():
            plain = build_model(settings.model, settings.input_size, dtype=policy)
            model, optimizer = with_fused_batch_norm(plain), make_optimizer(1e-3, policy)
            optimizer.build(model.trainable_variables)
        step = make_train_step(strategy, model, optimizer, objective, devices.use_xla())
        steps[policy] = step
        cases.append(
            Case(
                f"training step {policy}, batch {batch_size}{replicas}",
                lambda step=step: over_replicas(strategy, step(*batch)["loss"]),
                items,
                3 * items * count_flops(plain),  # forward, and backward to inputs and to weights
                precision,
            )
        )
    yield cases
    for policy, step in steps.items():
        operations = step.get_concrete_function(*batch).graph.get_operations()
        count = sum(operation.type != "Placeholder" for operation in operations)
        print(f"training step {policy}{replicas}: {count} operations outside of what XLA compiles")
    sent = sum(part.dtype.size * int(np.prod(part.shape[1:])) for part in parts)
    print(f"to the device: {sent} bytes a sample, of which {sent - int(np.prod(images.shape[1:]))} are labels")


def _strategy(settings):
    """The strategy of training, on so many GPUs; without GPUs, on parts of the CPU."""
    kind = "GPU" if settings.has_gpu else "CPU"
    found = len(tf.config.list_logical_devices(kind))
    if found < settings.replicas:
        raise InputError(f"--replicas must be at most the number of GPUs, {found}. Received: {settings.replicas}")
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(settings.replicas)])


def with_statistics(model):
    """`model` with normalisation as a trained one has it: without, offsets folded into biases would all be 0.

    TensorFlow leaves out sums with a constant 0, and convolutions are no longer one operation with what follows.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([weight + rng.uniform(0, 0.1, weight.shape) for weight in layer.get_weights()])
    return model


def crops_of(input_size, count):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, *input_size, 3), np.uint8))
