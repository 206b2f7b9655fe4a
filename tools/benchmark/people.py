"""What benchmark.py measures around the networks: input, decoding, prediction and evaluation."""

import dataclasses
import pathlib
import tempfile
from functools import partial
from unittest import mock

import numpy as np
import tensorflow as tf

from benchmark.networks import DTYPES, Case, crops_of, with_statistics
from hrnet_tf import PosePredictor, build_model, devices, geometry, heatmaps
from hrnet_tf.data import coco, crops, sequence
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.order import steps_per_epoch
from hrnet_tf.data.pipeline import training_dataset
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.coco import evaluate_coco
from hrnet_tf.prediction.keypoints import make_predict_function, predict_people, to_image
from hrnet_tf.prediction.network import for_inference, network_of
from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic import render_dataset

# Of an epoch, the first batches are not timed: nothing is prefetched yet.
INPUT_BATCH, INPUT_WARM_UP = 32, 5
_RENDERED_COPIES = 10
_POSTPROCESSED = 1000


def input_pipeline(settings, reference):
    """Samples with full augmentation and their targets."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir, split = _data(settings, folder)
        if settings.data_dir is None:  # too few are rendered for an epoch
            settings = dataclasses.replace(settings, copies=max(settings.copies, _RENDERED_COPIES))
        people = repeated(coco.load_split(data_dir, split), settings.copies)
        num_batches = len(people) // INPUT_BATCH - INPUT_WARM_UP
        if num_batches < 1:
            raise InputError(f"--copies must be larger: {len(people)} people are too few to measure on")
        cases = reference.input_pipeline(settings, data_dir, split, num_batches) if reference else []
        dataset = training_dataset(
            people, settings.input_size, INPUT_BATCH, 2.0, Augmentation(), 0, 0, INPUT_WARM_UP + num_batches
        )
        cases.append(pulled("input, full augmentation", lambda: iter(dataset), num_batches))
        yield cases
        yield [_python_alone(people, settings.input_size)]


def _python_alone(people, input_size):
    """The case of an epoch's crops on one thread that are neither read nor warped: what is left is Python's part."""
    num_batches, pixel = len(people) // INPUT_BATCH, np.zeros((1, 1, 3), np.uint8)

    def run():
        drawn = sequence.CropSequence(people, input_size, INPUT_BATCH, Augmentation(), 0)
        cut = crops.TrainingCrops(drawn, 0, num_batches)
        with (
            mock.patch.object(crops, "read_image", lambda path: pixel),
            mock.patch.object(geometry, "warp", lambda image, matrix, size: pixel),
        ):
            for step in range(num_batches):
                cut(step)

    return Case("input, Python per sample", run, INPUT_BATCH * num_batches)


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
    people = random_people(_POSTPROCESSED)
    cases = reference.postprocess(settings, maps.numpy(), people.boxes) if reference else []
    for refine in ("quarter", "dark", "udp"):

        @tf.function(jit_compile=devices.use_xla())
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
    model = with_statistics(build_model(settings.model, settings.input_size))
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    cases = []
    for precision in DTYPES:
        predictor = PosePredictor(model, precision=precision)
        for count in settings.people:
            boxes = random_people(count).boxes
            cases.append(
                Case(
                    f"PosePredictor {precision}, {count} people an image",
                    lambda predictor=predictor, boxes=boxes: predictor(image, boxes),
                    count,
                )
            )
    yield cases


def evaluation(settings, reference):
    """COCO's figures; and everybody predicted from image files, beside the network's own part of that."""
    del reference  # has no counterpart
    yield [_coco_figures(count) for count in settings.evaluated]
    model = with_statistics(build_model(settings.model, settings.input_size))
    strategy = tf.distribute.get_strategy()
    both = crops_of(settings.input_size, 2 * INPUT_BATCH)  # as many as crops and their mirror images
    with tempfile.TemporaryDirectory() as folder:
        people = repeated(coco.load_split(*_data(settings, folder)), settings.copies)

        def run(predict):
            predict_people(predict, people, settings.input_size, INPUT_BATCH, strategy)

        def cheap_network(images, training):
            maps = tf.nn.avg_pool2d(
                tf.cast(images, tf.float32), heatmaps.HEATMAP_STRIDE, heatmaps.HEATMAP_STRIDE, "VALID"
            )
            return tf.gather(maps, [0] * COCO.num_keypoints, axis=-1)

        predict = make_predict_function(strategy, cheap_network, COCO.flip_pairs, devices.use_xla())
        cases = [Case("read, crop, flip test, decode, without a network", partial(run, predict), len(people))]
        for precision in DTYPES:
            network = for_inference(network_of(model), precision).heatmaps
            predict = make_predict_function(strategy, network, COCO.flip_pairs, devices.use_xla())
            alone = tf.function(network, jit_compile=devices.use_xla())
            cases += [
                Case(f"the same with the network, {precision}", partial(run, predict), len(people)),
                Case(
                    f"of it the network alone, {precision}",
                    lambda alone=alone: [
                        alone(both, training=False).numpy() for _ in range(steps_per_epoch(len(people), INPUT_BATCH))
                    ],
                    len(people),
                ),
            ]
        yield cases


def _coco_figures(count):
    """The case of COCO's figures of `count` people, two in an image."""
    people = random_people(count)
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


def _data(settings, folder):
    """Folder and split of the data to read, by default rendered into `folder`."""
    if settings.data_dir is not None:
        return settings.data_dir, settings.split
    render_dataset(pathlib.Path(folder), "train", 100, 0)
    return folder, "train"


def random_people(count):
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


def repeated(people, copies):
    """`PersonRecords` in which every image is there `copies` times, as if they were different ones."""
    tiled = people.take(np.tile(np.arange(len(people)), copies))
    offsets = np.repeat(np.arange(copies), len(people)) * len(people.image_paths)
    return dataclasses.replace(
        tiled,
        image_paths=people.image_paths * copies,
        image_ids=np.arange(len(people.image_paths) * copies),
        image_index=(tiled.image_index + offsets).astype(np.int32),
    )
