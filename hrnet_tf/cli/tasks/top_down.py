"""Networks of crops with one person each: samples, objective and evaluation, as the flags say."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from hrnet_tf import benchmarks
from hrnet_tf.cli import shared
from hrnet_tf.cli.keypoint_names import with_flag_pairs
from hrnet_tf.data import pipeline
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.targets import Targets, keypoint_weights_by_name
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.similarity import Suppression
from hrnet_tf.losses import KeypointDSNT, KeypointMSE, KeypointOHKM, SummedLoss
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.clones import last_output
from hrnet_tf.models.variants import CPNS, num_outputs
from hrnet_tf.prediction.keypoints import make_predict_function, predict_people
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.skeletons import Skeleton, match
from hrnet_tf.training.objectives import HeatmapObjective, PointObjective
from hrnet_tf.visualize import draw_heatmaps, draw_keypoints
from hrnet_tf.workers import Share

FLAGS = flags.FLAGS
# Keypoints of a person that a CPN's last output is supervised with, as in the paper.
_MINED = 8


class TopDown:
    """The `Task` of networks of crops."""

    unit = "people"

    def check_flags(self) -> None:
        wanted = num_outputs(FLAGS.model)
        if FLAGS.output_weights and len(FLAGS.output_weights) != wanted:
            raise InputError(
                f"--output_weights must be {wanted} numbers, as {FLAGS.model} has so many outputs. "
                f"Received: {','.join(FLAGS.output_weights)}"
            )
        if FLAGS.loss == "dsnt" and (FLAGS.ohkm_keypoints or FLAGS.supervise_absent):
            raise InputError("--ohkm_keypoints and --supervise_absent are of heatmaps. Received: --loss=dsnt")

    def load_training(self) -> PersonRecords:
        people, _ = benchmarks.load_people(shared.dataset(), shared.train_split())
        num_keypoints = people.skeleton.num_keypoints
        if (FLAGS.ohkm_keypoints or 0) > num_keypoints:
            raise InputError(
                f"--ohkm_keypoints={FLAGS.ohkm_keypoints} are more than the {num_keypoints} keypoints there are: "
                "give fewer, or 0 for all"
            )
        return dataclasses.replace(people, skeleton=with_flag_pairs(people.skeleton))

    def load_validation(self, measured: bool = True) -> tuple[PersonRecords, PersonRecords]:
        found = benchmarks.load_people(shared.dataset(), shared.val_split(), FLAGS.detections, FLAGS.box_threshold)
        return shared.named_and_measurable(found, measured)

    def in_words(self, people: PersonRecords) -> str:
        boxes = f"detector boxes ({FLAGS.detections})" if FLAGS.detections else "annotated boxes"
        return f"{len(people)} people in {boxes}"

    def decoding_in_words(self, card: ModelCard) -> str:
        return f"codec {card.codec}, decoding {card.decoding}"

    def setting(self, card: ModelCard) -> dict[str, Any]:
        boxes = "detector" if FLAGS.detections else "annotated"
        return {"boxes": boxes, "codec": card.codec, "refine": card.decoding}

    def published(self, card: ModelCard) -> dict[str, float]:
        return shared.dataset().published(shared.val_split(), card.name, card.input_size, bool(FLAGS.detections))

    def batches(
        self,
        records: PersonRecords,
        card: ModelCard,
        bad_images: shared.BadImages,
        share: Share,
        first_step: int,
        last_step: int,
    ) -> tf.data.Dataset:
        """Batches of augmented crops with their keypoints: see `keypoint_dataset`."""
        return pipeline.keypoint_dataset(
            records,
            card.input_size,
            FLAGS.batch_size,
            Augmentation(
                FLAGS.scale_factor, FLAGS.rotation_factor, FLAGS.flip_probability, FLAGS.half_body_probability
            ),
            FLAGS.seed,
            first_step,
            last_step,
            on_bad_image=bad_images.handler(),
            codec=card.codec,
            share=share,
            reduced=FLAGS.reduced_decoding,
        )

    def objective(self, card: ModelCard) -> HeatmapObjective:
        targets = _targets(card)
        if FLAGS.loss == "dsnt":
            return PointObjective(_of_outputs(*[KeypointDSNT(FLAGS.heatmap_sigma)] * 2), targets.points)
        is_cpn, mined = FLAGS.model in CPNS, FLAGS.ohkm_keypoints
        if mined is None:
            mined = min(_MINED, card.skeleton.num_keypoints) if is_cpn else 0
        last = KeypointOHKM(mined) if mined else KeypointMSE()
        return HeatmapObjective(_of_outputs(KeypointMSE() if is_cpn else last, last), targets)

    def pictures(self, batch: Any, card: ModelCard) -> tuple[list[np.ndarray], list[str]]:
        images, keypoints, visible = batch
        heatmaps, weights = _targets(card)(keypoints, visible)
        samples = zip(*(array.numpy() for array in (images, keypoints, heatmaps, weights)), strict=True)
        pictures = [_picture(crop, points, maps, weight, card.skeleton) for crop, points, maps, weight in samples]
        return pictures, [f"{np.count_nonzero(weight)} of {len(weight)} count" for weight in weights]

    def make_evaluate(
        self,
        strategy: tf.distribute.Strategy,
        model: Callable | Runner,
        card: ModelCard,
        people: PersonRecords,
        bad_images: shared.BadImages,
    ) -> Callable[..., tuple[dict[str, float], np.ndarray, PersonRecords]]:
        input_size = card.input_size
        # The network is asked in its own order, and measured in that of the annotations.
        order = np.argsort(match(card.skeleton, people.skeleton))
        flip_pairs = shared.flip_pairs(card.skeleton)
        predict = make_predict_function(
            strategy, last_output(model), flip_pairs, shared.use_xla(), card.codec, card.refine
        )
        suppression = Suppression(FLAGS.nms, FLAGS.oks_threshold, FLAGS.score_threshold)

        def evaluate(results_file=None):
            keypoints, predicted = predict_people(
                predict, people, input_size, FLAGS.batch_size, strategy, bad_images.handler(), card.codec
            )
            keypoints = keypoints[:, order]
            dataset, split = shared.dataset(), shared.val_split()
            metrics = dataset.evaluate(split, keypoints, predicted, input_size, suppression, results_file)
            return metrics, keypoints, predicted

        return evaluate

    def examples(
        self, people: PersonRecords, card: ModelCard, bad_images: shared.BadImages, count: int = 16
    ) -> np.ndarray:
        first = people.take(slice(count))
        batches = pipeline.evaluation_dataset(first, card.input_size, count, bad_images.handler(), card.codec)
        images, index = next(iter(batches))
        return images.numpy()[index.numpy() >= 0]


def _of_outputs(earlier: Callable, last: Callable) -> Callable:
    """The loss of all outputs: of each but the last, and of that."""
    count = num_outputs(FLAGS.model)
    weights = [float(weight) for weight in FLAGS.output_weights or ["1"] * count]
    return SummedLoss([earlier] * (count - 1) + [last], weights)


def _targets(card: ModelCard) -> Targets:
    """What makes heatmaps and target weights of keypoints."""
    return Targets(
        card.input_size,
        card.skeleton.num_keypoints,
        FLAGS.heatmap_sigma,
        card.codec,
        keypoint_weights_by_name(card.skeleton.names) if FLAGS.keypoint_weights else None,
        FLAGS.supervise_absent,
    )


def _picture(
    crop: np.ndarray, keypoints: np.ndarray, heatmaps: np.ndarray, weight: np.ndarray, skeleton: Skeleton
) -> np.ndarray:
    """The crop with the keypoints that count, and beside it with their targets: [H,2W,3]."""
    peaks = heatmaps.max(axis=(0, 1)) > 0
    points = np.concatenate([keypoints, (peaks * weight)[:, None]], axis=1)
    return np.concatenate([draw_keypoints(crop, points[None], skeleton, 0.0), draw_heatmaps(crop, heatmaps)], axis=1)
