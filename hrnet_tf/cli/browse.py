"""`hrnet-tf browse`: what training sees, as a picture."""

import dataclasses

import numpy as np
from absl import flags

from hrnet_tf.benchmarks import load_people
from hrnet_tf.cli import samples, shared
from hrnet_tf.cli.keypoint_names import with_flag_pairs
from hrnet_tf.skeletons import Skeleton
from hrnet_tf.visualize import contact_sheet, draw_heatmaps, draw_keypoints, write_image

FLAGS = flags.FLAGS
_COLUMNS = 4


def main() -> int:
    people, _ = load_people(shared.dataset(), shared.train_split())
    shared.print_omissions(people.omissions)
    people = dataclasses.replace(people, skeleton=with_flag_pairs(people.skeleton))
    if FLAGS.flip_probability:
        people.skeleton.check_mirroring("give --flip_probability=0")
    codec, bad_images = FLAGS.codec or "msra", shared.BadImages()
    images, *labels = next(iter(samples.crops(people, codec, bad_images, FLAGS.step, FLAGS.step + 1)))
    heatmaps, weights = samples.targets(people.skeleton, codec)(*labels)
    pictures, titles = [], []
    for crop, keypoints, maps, weight in zip(images, labels[0], heatmaps, weights, strict=True):
        pictures.append(_picture(crop.numpy(), keypoints.numpy(), maps.numpy(), weight.numpy(), people.skeleton))
        titles.append(f"{np.count_nonzero(weight)} of {len(weight)} count")
    height, width = shared.input_size()
    write_image(FLAGS.out, contact_sheet(pictures, min(_COLUMNS, len(pictures)), (height, 2 * width), titles))
    bad_images.report()
    print(f"wrote {FLAGS.out}: {len(pictures)} crops of step {FLAGS.step}, with what the network is to answer beside")
    return 0


def _picture(
    crop: np.ndarray, keypoints: np.ndarray, heatmaps: np.ndarray, weight: np.ndarray, skeleton: Skeleton
) -> np.ndarray:
    """The crop with the keypoints that count, and beside it with their targets: [H,2W,3]."""
    peaks = heatmaps.max(axis=(0, 1)) > 0
    points = np.concatenate([keypoints, (peaks * weight)[:, None]], axis=1)
    return np.concatenate([draw_keypoints(crop, points[None], skeleton, 0.0), draw_heatmaps(crop, heatmaps)], axis=1)
