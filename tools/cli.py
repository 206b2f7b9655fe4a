"""What the command-line tools share: how they start and end, common flags, and loading what those name."""

import dataclasses
import errno
import os
import sys

# TensorFlow's C++ start-up notes would bury the tools' own lines; errors still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from absl import app, flags, logging

from hrnet_tf import benchmarks
from hrnet_tf.benchmarks import BENCHMARKS
from hrnet_tf.data import pipeline
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.similarity import REFERENCE_SUPPRESSION, SUPPRESSIONS, Suppression
from hrnet_tf.heatmaps import CODECS, REFINEMENTS
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.build import check_input_size
from hrnet_tf.models.clones import PRECISIONS
from hrnet_tf.prediction.keypoints import make_predict_function, predict_people
from hrnet_tf.prediction.network import load_network
from hrnet_tf.training.run_state import is_work_dir, load_last

FLAGS = flags.FLAGS
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
tf.get_logger().setLevel("WARNING")
# Whether convolutions on CPUs may keep weights in their own layout from the first call on: much faster in bfloat16,
# wrong where weights change or Keras models are called outside of a tf.function. Read at the first convolution.
_FROZEN_WEIGHTS = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
os.environ[_FROZEN_WEIGHTS] = "0"


def run(main):
    """Parses the flags and calls `main()`; bad input ends in one line on stderr and exit code 1."""

    def guarded(argv):
        try:
            if len(argv) > 1:
                raise InputError(f"unexpected argument {argv[1]!r}: every setting is a flag, as in --name=value")
            return main()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            print(f"error: cannot write {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        except KeyboardInterrupt:
            return 130
        return 1

    app.run(guarded, flags_parser=_parse_flags)


def assume_frozen_weights():
    """For processes that only predict, and do so in a tf.function: to be called before the first network runs."""
    os.environ[_FROZEN_WEIGHTS] = "1"


def _parse_flags(argv):
    """As absl does it, but what TensorFlow notes about its own workings is not shown without --verbosity=0."""
    arguments = app.parse_flags_with_usage(argv)
    if FLAGS["verbosity"].using_default_value:
        FLAGS.verbosity = logging.WARNING
    return arguments


def define_data_flags():
    """Flags of where the validation people are."""
    flags.DEFINE_enum("dataset", "coco", list(BENCHMARKS), "What the annotations are: COCO's format or MPII.")
    flags.DEFINE_string(
        "data_dir", None, "Folder with annotations/person_keypoints_<split>.json and images, or MPII's."
    )
    flags.DEFINE_string("val_split", "val2017", "Split to evaluate on.")
    flags.DEFINE_string(
        "detections", None, "Detector boxes to evaluate on: a COCO results file. Annotated boxes by default."
    )
    flags.DEFINE_float("box_threshold", 0.0, "Least score of a detector's box.", 0)
    flags.DEFINE_bool("skip_bad_images", False, "Go on past images that cannot be read, and count them.")
    flags.mark_flag_as_required("data_dir")


def define_codec_flags():
    """Flags of how keypoints become heatmaps and heatmaps keypoints."""
    flags.DEFINE_enum(
        "codec", None, list(CODECS), "Encoding of keypoints in training; by default the model card's, else msra."
    )
    flags.DEFINE_enum("refine", None, REFINEMENTS, "Decoding of heatmaps; by default the model card's or the codec's.")


def define_prediction_flags():
    """Flags of how people are predicted and duplicates of them dropped."""
    define_codec_flags()
    flags.DEFINE_bool("flip_test", True, "Average the heatmaps of the crop and of its mirror image in evaluations.")
    flags.DEFINE_integer("batch_size", 32, "People in a batch, on all GPUs together.", lower_bound=1)
    flags.DEFINE_enum("xla", "auto", ["auto", "on", "off"], "Compile the network with XLA; auto: where there is a GPU.")
    reference = REFERENCE_SUPPRESSION
    flags.DEFINE_enum("nms", reference.nms, list(SUPPRESSIONS), "COCO: how duplicates are dropped, by their OKS.")
    flags.DEFINE_float("oks_threshold", reference.oks_threshold, "COCO: likeness of duplicates; decay of soft NMS.", 0)
    flags.DEFINE_float("score_threshold", reference.score_threshold, "COCO: keypoints up to it do not score.", 0)


def define_precision_flag():
    """Flag of what a Keras model predicts in."""
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "What a .keras model computes in.")


def define_input_size_flag():
    """Flag of the size of a network to build; `input_size()` reads it."""
    flags.DEFINE_string("input_size", "256x192", "Height x width of the crops in pixels, multiples of 32.")
    flags.register_validator(
        "input_size", lambda text: _parse_size(text) is not None, "must be like 256x192, multiples of 32"
    )


def input_size():
    """(H, W) of --input_size."""
    return _parse_size(FLAGS.input_size)


def _parse_size(text):
    try:
        return check_input_size([int(side) for side in text.split("x")])
    except ValueError:
        return None


def make_strategy(batch_size):
    """Mirrors over all local GPUs, or runs on the CPU where there is none."""
    strategy = tf.distribute.MirroredStrategy()
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(f"--batch_size must be a multiple of the number of GPUs ({replicas}). Received: {batch_size}")
    return strategy


def use_xla():
    """What --xla means on this machine."""
    return FLAGS.xla == "on" or (FLAGS.xla == "auto" and bool(tf.config.list_physical_devices("GPU")))


def dataset():
    """What --dataset and --data_dir name."""
    return BENCHMARKS[FLAGS.dataset](FLAGS.data_dir)


def load_people():
    """The validation people: those annotated, and those to predict (the same, or the detector's boxes)."""
    return benchmarks.load_people(dataset(), FLAGS.val_split, FLAGS.detections, FLAGS.box_threshold)


def boxes_in_words():
    """Which boxes people are evaluated on: AP on one kind says little about the other."""
    return f"detector boxes ({FLAGS.detections})" if FLAGS.detections else "annotated boxes"


def make_card(name, input_size, skeleton, found=None):
    """The model card of a network: what the flags say, else the card `found` with its file, else codec msra."""
    codec = FLAGS.codec or (found.codec if found else "msra")
    refine = FLAGS.refine or (found.refine if found and found.codec == codec else None)
    if found:
        return dataclasses.replace(found, skeleton=skeleton, codec=codec, refine=refine)
    return ModelCard(name, tuple(input_size), skeleton, codec, refine)


def make_evaluate(strategy, model, card, people, bad_images):
    """Builds the function that evaluates a model as the flags say.

    Args:
        strategy: the one that the model was built under.
        model: images -> heatmaps.
        card: its `ModelCard`.
        people: `PersonRecords` to predict.
        bad_images: a `BadImages`.

    Returns:
        (results_file=None) -> {name: number}, keypoints [N,K,3] in image pixels and the
        `PersonRecords` of these N people.
    """
    input_size = card.input_size
    flip_pairs = people.skeleton.flip_pairs if FLAGS.flip_test else None
    predict = make_predict_function(strategy, model, flip_pairs, use_xla(), card.codec, card.refine)
    suppression = Suppression(FLAGS.nms, FLAGS.oks_threshold, FLAGS.score_threshold)

    def evaluate(results_file=None):
        keypoints, predicted = predict_people(
            predict, people, input_size, FLAGS.batch_size, strategy, bad_images.handler(), card.codec
        )
        metrics = dataset().evaluate(FLAGS.val_split, keypoints, predicted, input_size, suppression, results_file)
        return metrics, keypoints, predicted

    return evaluate


def load_model(path, skeleton):
    """The Keras model of a `.keras` file, or of a run's work directory that of its last checkpoint, and its card."""
    if is_work_dir(path):
        model, codec = load_last(path)
        found = ModelCard(model.name, tuple(model.input_shape[1:3]), skeleton, codec)
    elif path.endswith(".keras"):
        network, _ = load_network(path)
        model, found = network.heatmaps, read_card(path)
    else:
        raise InputError(f"--model must be a .keras file or the work directory of a training run. Received: {path}")
    check_keypoints(model.output_shape[-1], skeleton, path)
    return model, make_card(model.name, model.input_shape[1:3], skeleton, found)


def check_keypoints(num_keypoints, skeleton, path):
    """Raises InputError unless a model predicts the keypoints of the annotations."""
    if num_keypoints != skeleton.num_keypoints:
        raise InputError(
            f"--model {path} predicts {num_keypoints} keypoints, but the annotations have {skeleton.num_keypoints}"
        )


def some_crops(people, card, bad_images, count=16):
    """[N,H,W,3] uint8 crops for the network of `card` of the first `count` people, if their images can be read."""
    first = people.take(slice(count))
    batches = pipeline.evaluation_dataset(first, card.input_size, count, bad_images.handler(), card.codec)
    images, index = next(iter(batches))
    return images.numpy()[index.numpy() >= 0]


def print_exports(paths, differences):
    for path in paths:
        print(f"wrote {path}")
    for name, difference in differences.items():
        print(f"largest difference from the Keras model, {name}: {difference:.2g}")


class BadImages:
    """Counts the images that --skip_bad_images goes past, naming each once."""

    def __init__(self):
        self.reasons = set()

    def __call__(self, error):
        if str(error) not in self.reasons:
            self.reasons.add(str(error))
            print(f"\nskipped: {error}", file=sys.stderr, flush=True)

    def handler(self):
        """What to hand to a dataset: itself with --skip_bad_images, else None."""
        return self if FLAGS.skip_bad_images else None

    def report(self):
        if self.reasons:
            print(f"{len(self.reasons)} images could not be read and were skipped")
