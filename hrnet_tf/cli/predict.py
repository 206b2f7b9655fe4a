"""`hrnet-tf predict`: people in images, folders and videos."""

import sys

from absl import flags

from hrnet_tf import PosePredictor
from hrnet_tf.cli import shared
from hrnet_tf.errors import InputError
from hrnet_tf.prediction import boxes, files, video

FLAGS = flags.FLAGS


def main() -> None:
    shared.assume_frozen_weights()
    ids, skeleton = boxes.read_annotations(FLAGS.annotations) if FLAGS.annotations else (None, None)
    boxes_of = _boxes_of()
    bad_images = shared.BadImages()
    is_video = video.is_video(FLAGS.input)
    images = {} if is_video else files.find_images(FLAGS.input, bad_images, ids)
    if images and FLAGS.detections:
        boxes_of.check_match(images)
    predictor = PosePredictor(
        FLAGS.model, FLAGS.flip_test, FLAGS.codec, FLAGS.refine, skeleton, FLAGS.batch_size, FLAGS.precision
    )
    if is_video:
        unit = "frames"
        done, people, announced = files.predict_video(
            predictor, FLAGS.input, FLAGS.out_dir, boxes_of, FLAGS.score_threshold
        )
        if done < announced:
            print(f"{FLAGS.input} announces {announced} frames, of which {done} could be read", file=sys.stderr)
    else:
        unit = f"of {len(images)} images"
        done, people = files.predict_images(
            predictor, images, FLAGS.out_dir, boxes_of, bad_images, FLAGS.score_threshold
        )
    bad_images.report()
    print(f"{done} {unit}, {people} people; wrote {FLAGS.out_dir}")


def _boxes_of():
    """Where to look for people, as the flags say."""
    if FLAGS.detections and FLAGS.boxes:
        raise InputError("--detections and --boxes exclude each other")
    if FLAGS.detections:
        return boxes.Detections(FLAGS.detections, FLAGS.box_threshold)
    return boxes.GivenBoxes(FLAGS.boxes) if FLAGS.boxes else boxes.whole_image
