"""Networks of whole images with everybody in them: samples, objective and evaluation, as the flags say."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from hrnet_tf import benchmarks, geometry, progress
from hrnet_tf.ahead import ahead
from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.cli import shared
from hrnet_tf.cli.keypoint_names import with_flag_pairs
from hrnet_tf.data.augment import ImageAugmentation
from hrnet_tf.data.images import STRIDES, ImageRecords
from hrnet_tf.data.pipeline import image_dataset
from hrnet_tf.data.records import PersonRecords, check_paths_exist, read_image
from hrnet_tf.data.targets import ImageTargets
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.coco import results_of, save_results
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.variants import BOTTOM_UP
from hrnet_tf.prediction.bottom_up import BottomUpPredictor
from hrnet_tf.prediction.network import Network
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.prediction.settings import Settings
from hrnet_tf.skeletons import match
from hrnet_tf.training.objectives import TagsObjective
from hrnet_tf.visualize import draw_heatmaps, draw_keypoints
from hrnet_tf.workers import Share, gathered, share_of

FLAGS = flags.FLAGS
# Flags of networks of crops, and those of them that are of training.
_OTHERS = ("detections", "codec", "refine")
_OTHERS_OF_TRAINING = ("loss", "ohkm_keypoints", "output_weights", "keypoint_weights", "supervise_absent")
# What is masked is drawn so much darker.
_MASKED = 0.4


class BottomUp:
    """The `Task` of networks of whole images."""

    unit = "images"

    def check_flags(self) -> None:
        _refuse(_OTHERS_OF_TRAINING)
        height, width = shared.input_size()
        if height != width:
            raise InputError(
                "--input_size of networks of whole images must be a square, such as 512x512. Received: "
                f"{height}x{width}"
            )

    def load_training(self) -> ImageRecords:
        images = _dataset().load_images(shared.train_split())
        check_paths_exist([images.path(image) for image in range(len(images))])
        people = dataclasses.replace(images.people, skeleton=with_flag_pairs(images.skeleton))
        return dataclasses.replace(images, people=people)

    def load_validation(self, measured: bool = True) -> tuple[PersonRecords, PersonRecords]:
        _refuse(_OTHERS)
        annotated = _dataset().load_split(shared.val_split())
        check_paths_exist(annotated.image_paths)
        return shared.named_and_measurable((annotated, annotated), measured)

    def in_words(self, people: PersonRecords) -> str:
        return f"{len(people.image_paths)} images without boxes"

    def decoding_in_words(self, card: ModelCard) -> str:
        return f"scales {', '.join(f'{scale:g}' for scale in _scales())}"

    def setting(self, card: ModelCard) -> dict[str, Any]:
        return {"boxes": "none", "scales": _scales()}

    def published(self, card: ModelCard) -> dict[str, float]:
        return _dataset().published_without_boxes(shared.val_split(), card.name, card.input_size, _scales())

    def batches(
        self,
        records: ImageRecords,
        card: ModelCard,
        bad_images: shared.BadImages,
        share: Share,
        first_step: int,
        last_step: int,
    ) -> tf.data.Dataset:
        """Batches of augmented crops of images with everybody's keypoints: see `image_dataset`."""
        least, most = map(float, FLAGS.scale_range)
        augmentation = ImageAugmentation(
            (least, most), FLAGS.rotation_factor, FLAGS.shift_factor, FLAGS.flip_probability
        )
        return image_dataset(
            records,
            card.input_size,
            FLAGS.batch_size,
            augmentation,
            FLAGS.seed,
            first_step,
            last_step,
            on_bad_image=bad_images.handler(),
            share=share,
            reduced=FLAGS.reduced_decoding,
        )

    def objective(self, card: ModelCard) -> TagsObjective:
        return TagsObjective(ImageTargets(card.input_size, FLAGS.heatmap_sigma), FLAGS.tag_weight)

    def pictures(self, batch: Any, card: ModelCard) -> tuple[list[np.ndarray], list[str]]:
        images, keypoints, visible, mask = batch
        heatmaps, indices = ImageTargets(card.input_size, FLAGS.heatmap_sigma)(keypoints, visible, STRIDES[1])
        counts = indices[..., 1:].numpy()
        points = np.concatenate([keypoints, counts], axis=-1)  # [B,P,K,3]
        pictures = []
        for image, people, maps, counted in zip(images.numpy(), points, heatmaps.numpy(), mask.numpy(), strict=True):
            shown = np.repeat(np.repeat(counted, STRIDES[1], 0), STRIDES[1], 1)[..., None]
            left = draw_keypoints(image, people[people[..., 2].any(-1)], card.skeleton, 0.0)
            right = np.where(shown > 0, draw_heatmaps(image, maps), _MASKED * image).astype(np.uint8)
            pictures.append(np.concatenate([left, right], axis=1))
        return pictures, [f"{people.any((1, 2)).sum()} people" for people in counts]

    def make_evaluate(
        self,
        strategy: tf.distribute.Strategy,
        model: Callable | Runner,
        card: ModelCard,
        people: PersonRecords,
        bad_images: shared.BadImages,
    ) -> Callable[..., tuple[dict[str, float], np.ndarray, PersonRecords]]:
        order = np.argsort(match(card.skeleton, people.skeleton))
        num_keypoints = card.skeleton.num_keypoints
        settings = Settings(
            input_size=card.input_size,
            skeleton=card.skeleton,
            order=np.arange(num_keypoints),
            network_skeleton=card.skeleton,
            flip_pairs=shared.flip_pairs(card.skeleton),
            codec=card.codec,
            refine=None,
            scales=_scales(),
        )
        predictor = BottomUpPredictor(Network(model, card.input_size, num_keypoints, BOTTOM_UP), settings)

        def evaluate(results_file=None):
            keypoints, found = _find_people(strategy, predictor, people, bad_images.handler())
            keypoints = keypoints[:, order]
            return _measure(keypoints, found, results_file), keypoints, found

        return evaluate

    def examples(
        self, people: PersonRecords, card: ModelCard, bad_images: shared.BadImages, count: int = 16
    ) -> np.ndarray:
        crops = []
        for path in people.image_paths[:count]:
            try:
                image = read_image(path)
            except InputError as error:
                bad_images.handler()(error)
                continue
            center, side = np.array(image.shape[1::-1]) / 2, min(image.shape[:2])
            matrix = geometry.affine_matrix(center, [side, side], 0, card.input_size)
            crops.append(geometry.warp(image, matrix, card.input_size))
        return np.array(crops).reshape(-1, *card.input_size, 3)


def _scales() -> tuple[float, ...]:
    """Those of --scales; while training there is one."""
    return tuple(map(float, FLAGS.scales)) if "scales" in FLAGS else (1.0,)


def _dataset() -> CocoBenchmark:
    dataset = shared.dataset()
    if not isinstance(dataset, CocoBenchmark):
        raise InputError(
            "networks of whole images take annotations in COCO's format, in which everybody is annotated. Received: "
            f"--dataset={FLAGS.dataset}"
        )
    return dataset


def _refuse(others):
    """Raises InputError for flags that are for networks of crops alone."""
    for name in others:
        if FLAGS[name].value != FLAGS[name].default:
            raise InputError(
                f"--{name} is for networks of crops; those of whole images do without. Received: {FLAGS[name].value}"
            )


def _find_people(strategy, predictor, images, on_bad_image):
    """Everybody in the images of `PersonRecords`: keypoints [N,K,3], and `PersonRecords` of them with their scores."""
    read, keypoints, boxes, scores, image_index = (
        gathered(strategy, rows) for rows in _find_share(share_of(strategy), predictor, images, on_bad_image)
    )
    if not len(read):
        raise InputError("none of the images can be read")
    return keypoints, dataclasses.replace(
        images,
        image_index=image_index,
        boxes=boxes,
        box_scores=scores,
        keypoints=keypoints[..., :2],
        visible=(keypoints[..., 2] > 0).astype(np.float32),
        categories=None,
    )


def _find_share(share, predictor, images, on_bad_image):
    """Of every so manieth image: numbers [m] of those that were read; of the n people in them keypoints [n,K,3], boxes
    [n,4], scores [n] and numbers of their images [n].
    """

    def read(path):
        try:
            image = read_image(path)
            predictor.check_image_size(image.shape[:2], path)
        except InputError as error:
            on_bad_image(error)
            return None
        return image

    numbers = range(share.index, len(images.image_paths), share.count)
    read_numbers: list[int] = []
    with (
        progress.bar("predicting", len(numbers), "images") as shown,
        contextlib.closing(ahead(read, [images.image_paths[number] for number in numbers])) as pictures,
    ):

        def readable():
            for number, picture in zip(numbers, pictures, strict=True):
                shown.update(1)
                if picture is not None:
                    read_numbers.append(number)
                    yield [(picture, None, None)]

        found = [people for (people,) in predictor.people_batches(readable())]
    keypoints = [np.zeros((0, images.skeleton.num_keypoints, 3), np.float32), *(people.keypoints for people in found)]
    boxes = [np.zeros((0, 4), np.float32), *(people.boxes for people in found)]
    scores = [np.zeros(0, np.float32), *(people.scores for people in found)]
    indices = np.array(read_numbers, np.int32)
    image_index = np.repeat(indices, [len(people.scores) for people in found])
    return indices, *map(np.concatenate, (keypoints, boxes, scores)), image_index


def _measure(keypoints, found, results_file):
    """{name: number} of people who were found; for a test split of COCO nothing, as only its server has the truth."""
    image_ids, split = found.image_ids[found.image_index], shared.val_split()
    if results_file is not None:
        save_results(results_file, results_of(image_ids, found.category_ids[0], keypoints, found.box_scores))
    if not _dataset().is_annotated(split):
        return {}
    path = _dataset().annotation_file(split)
    return benchmarks.evaluate(FLAGS.dataset, path, image_ids, keypoints, found.box_scores)
