"""`hrnet-tf predict`: people in images, folders and videos."""

import time

from absl import flags

from hrnet_tf import PosePredictor, benchmarks, skeletons, timing
from hrnet_tf.cli import shared
from hrnet_tf.cli.keypoint_names import renamed
from hrnet_tf.cli.predict_files import predict_found
from hrnet_tf.detection import PersonDetector
from hrnet_tf.errors import InputError
from hrnet_tf.model_card import read_card
from hrnet_tf.models.variants import TOP_DOWN
from hrnet_tf.prediction import boxes, sources
from hrnet_tf.prediction.network import load_network

FLAGS = flags.FLAGS
_SOURCES = ("boxes", "detections", "detector", "whole_image")


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
    given = _given_boxes(categories)
    category_id = categories[0] if categories else getattr(given, "category_id", 1)
    if not FLAGS.input:
        raise InputError("nothing to predict: name an image, a folder of images or a video, as in predict photo.jpg")
    bad_images = shared.BadImages()
    found = sources.find(FLAGS.input, bad_images, annotated.ids if annotated else None, FLAGS.recursive)
    if FLAGS.detections and found.images:
        named = zip(sources.picture_names(found.images), found.images.values(), strict=True)
        given.check_match(dict(named))
    if FLAGS.detections and len(found.videos) + bool(found.images) > 1:
        raise InputError("--detections are of images or of one video: predict other videos each by themselves")
    omissions = [*(annotated.omissions if annotated else []), *getattr(given, "omissions", [])]
    shared.print_omissions(map(str, omissions))
    predictor = _predictor(skeleton)
    boxes_of = (given or _detector(predictor.skeleton)) if predictor.needs_boxes else _everybody()
    if FLAGS.detect_every > 1 and not isinstance(boxes_of, boxes.Detected):
        raise InputError("--detect_every is of frames that a detector looks at: leave it out, or let one find people")
    start = time.perf_counter()
    with shared.memory_advice(" or give --precision=bfloat16"), timing.measured() as timings:
        predict_found(found, predictor, boxes_of, category_id, bad_images)
    if FLAGS.profile:
        _print_profile(timings, time.perf_counter() - start)


def _print_profile(timings, elapsed):
    """How long each part took, in all threads together."""
    print(f"{'part':<10} {'seconds':>8} {'pieces':>8} {'a second':>9}")
    for part, seconds, count in timings:
        print(f"{part:<10} {seconds:8.1f} {count:8} {count / max(seconds, 1e-9):9.1f}")
    print(f"{'elapsed':<10} {elapsed:8.1f}   parts overlap; a piece is a picture, of cropping and network a person")


def _predictor(annotations):
    """The `PosePredictor` of the flags, whose results have the keypoints of the annotations, if there are any."""
    network, path = load_network(shared.model_file(), FLAGS.trust_model)
    annotations = annotations and renamed(annotations)
    found = read_card(path)
    skeleton = shared.keypoints_of(FLAGS.model, found, network.num_keypoints, annotations)
    if FLAGS.flip_test:
        skeleton.check_mirroring("give --noflip_test")
    card = shared.make_card("unknown", network.input_size, skeleton, found)
    # Whole images are of many sizes, for each of which XLA would compile.
    xla = shared.use_xla() if network.kind == TOP_DOWN else FLAGS.xla == "on"
    people = annotations, FLAGS.batch_size
    return PosePredictor(network, FLAGS.flip_test, None, None, *people, FLAGS.precision, card, xla)


def _given_boxes(category_ids):
    """Where the flags say to look for people; None where a detector is to find them, or nothing is said."""
    given = [name for name in _SOURCES if FLAGS[name].value]
    if len(given) > 1:
        raise InputError(f"{' and '.join(f'--{name}' for name in given)} exclude each other")
    if FLAGS.detections:
        return boxes.Detections(FLAGS.detections, FLAGS.box_threshold or 0.0, category_ids)
    if FLAGS.boxes:
        return boxes.GivenBoxes(FLAGS.boxes)
    return boxes.whole_image if FLAGS.whole_image else None


def _everybody():
    """What a network of whole images is told of where people are: nothing."""
    given = [name for name in (*_SOURCES, "box_threshold", "detect_every") if FLAGS[name].value != FLAGS[name].default]
    if given:
        raise InputError(f"--{given[0]} is for networks of crops: {FLAGS.model} finds everybody in an image by itself")
    return boxes.everybody


def _detector(skeleton):
    """What finds people: --detector, else the default one, else the whole picture is one's, where people are none."""
    if not FLAGS.detector and not boxes.is_of_people(FLAGS.model, skeleton):
        print(
            "assumed: one in each picture, who fills it, as the keypoints are none of people that a detector finds: "
            "--boxes, --detections or --detector say where to look"
        )
        return boxes.whole_image
    try:
        thresholds = {} if FLAGS.box_threshold is None else {"score_threshold": FLAGS.box_threshold}
        detector = PersonDetector(
            FLAGS.detector or boxes.DEFAULT_DETECTOR, **thresholds, allow_unverified=FLAGS.allow_unverified
        )
    except InputError as error:
        if FLAGS.detector:
            raise
        raise InputError(f"{error}; or give --detector=FILE, --boxes, --detections or --whole_image") from error
    print(f"people are what {detector.name} finds with a score of at least {detector.score_threshold:g}")
    return boxes.Detected(detector)
