"""What training sees, as the flags say."""

import tensorflow as tf
from absl import flags

from hrnet_tf.cli import shared
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.pipeline import keypoint_dataset
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.targets import Targets, keypoint_weights_by_name
from hrnet_tf.skeletons import Skeleton

FLAGS = flags.FLAGS


def crops(
    people: PersonRecords, codec: str, bad_images: shared.BadImages, first_step: int, last_step: int
) -> tf.data.Dataset:
    """Batches of augmented crops with their keypoints: see `keypoint_dataset`."""
    return keypoint_dataset(
        people,
        shared.input_size(),
        FLAGS.batch_size,
        Augmentation(FLAGS.scale_factor, FLAGS.rotation_factor, FLAGS.flip_probability, FLAGS.half_body_probability),
        FLAGS.seed,
        first_step,
        last_step,
        on_bad_image=bad_images.handler(),
        codec=codec,
    )


def targets(skeleton: Skeleton, codec: str) -> Targets:
    """What makes heatmaps and target weights of these keypoints."""
    return Targets(
        shared.input_size(),
        skeleton.num_keypoints,
        FLAGS.heatmap_sigma,
        codec,
        keypoint_weights_by_name(skeleton.names) if FLAGS.keypoint_weights else None,
        FLAGS.supervise_absent,
    )
