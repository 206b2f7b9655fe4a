"""`hrnet-tf predict`: people in images, folders and videos."""

import sys

from absl import flags

from hrnet_tf import PosePredictor, benchmarks, skeletons
from hrnet_tf.cli import shared
from hrnet_tf.cli.keypoint_names import renamed
from hrnet_tf.errors import InputError
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction import boxes, files, video
from hrnet_tf.prediction.network import load_network

FLAGS = flags.FLAGS


def main() -> None:
    shared.assume_frozen_weights()
    if FLAGS.keypoints:
        skeletons.named(FLAGS.keypoints)
    form = benchmarks.coco_like(FLAGS.dataset).form
    annotated = boxes.read_annotations(FLAGS.annotations, form) if FLAGS.annotations else None
    skeleton = annotated.skeleton if annotated else None
    if skeleton is None and FLAGS.keypoint_names:
        raise InputError("--keypoint_names are those of --annotations, which names none")
    categories = annotated.category_ids if annotated else None
    boxes_of = _boxes_of(categories)
    category_id = categories[0] if categories else getattr(boxes_of, "category_id", 1)
    bad_images = shared.BadImages()
    is_video = video.is_video(FLAGS.input)
    images = {} if is_video else files.find_images(FLAGS.input, bad_images, annotated.ids if annotated else None)
    if images and FLAGS.detections:
        boxes_of.check_match(dict(zip(files.picture_names(images), images.values(), strict=True)))
    omissions = [*(annotated.omissions if annotated else []), *getattr(boxes_of, "omissions", [])]
    shared.print_omissions(map(str, omissions))
    predictor = _predictor(skeleton)
    advice = shared.memory_advice(" or give --precision=bfloat16")
    if is_video:
        unit = "frames"
        with advice:
            done, people, announced = files.predict_video(
                predictor, FLAGS.input, FLAGS.out_dir, boxes_of, FLAGS.score_threshold, category_id, FLAGS.keypoints
            )
        if done < announced:
            print(f"{FLAGS.input} announces {announced} frames, of which {done} could be read", file=sys.stderr)
        if FLAGS.detections and people < boxes_of.count:
            lost = boxes_of.count - people
            shared.print_omissions([f"left out: {lost} of {boxes_of.count} detections that are of none of its frames"])
    else:
        unit = f"of {len(images)} images"
        arguments = images, FLAGS.out_dir, boxes_of, bad_images, FLAGS.score_threshold, category_id, FLAGS.keypoints
        with advice:
            done, people = files.predict_images(predictor, *arguments)
    bad_images.report()
    found = f"{people} people" if FLAGS.detections or FLAGS.boxes else "each taken for one person"
    print(f"{done} {unit}, {found}; wrote {FLAGS.out_dir}")


def _predictor(annotations):
    """The `PosePredictor` of the flags, whose results have the keypoints of the annotations, if there are any."""
    network, path = load_network(shared.model_file())
    annotations = annotations and renamed(annotations)
    found = read_card(path)
    skeleton = shared.keypoints_of(FLAGS.model, found, network.num_keypoints, annotations)
    if FLAGS.flip_test:
        skeleton.check_mirroring("give --noflip_test")
    card = shared.make_card("unknown", network.input_size, skeleton, found)
    people = annotations, FLAGS.batch_size
    return PosePredictor(network, FLAGS.flip_test, None, None, *people, FLAGS.precision, card, shared.use_xla())


def _boxes_of(category_ids):
    """Where to look for people, as the flags say."""
    if FLAGS.detections and FLAGS.boxes:
        raise InputError("--detections and --boxes exclude each other")
    if FLAGS.detections:
        return boxes.Detections(FLAGS.detections, FLAGS.box_threshold, category_ids)
    if FLAGS.boxes:
        return boxes.GivenBoxes(FLAGS.boxes)
    print("assumed: one person in each picture, who fills it, as neither --detections nor --boxes is given")
    return boxes.whole_image
