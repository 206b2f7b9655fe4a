"""What the command-line tools share: how they start and end, common flags, and loading what those name."""

import errno
import os
import sys

# TensorFlow's C++ start-up notes would bury the tools' own lines; errors still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from absl import app, flags, logging

from hrnet_tf.data import coco, pipeline
from hrnet_tf.data.records import check_images_exist
from hrnet_tf.errors import InputError
from hrnet_tf.files import reason

FLAGS = flags.FLAGS
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
# What TensorFlow notes about its own workings is not news; --verbosity=0 shows it.
FLAGS.set_default("verbosity", logging.WARNING)
tf.get_logger().setLevel("WARNING")


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

    app.run(guarded)


def define_data_flags():
    """Flags of where the validation people are."""
    flags.DEFINE_string("data_dir", None, "COCO-format folder: annotations/person_keypoints_<split>.json and images.")
    flags.DEFINE_string("val_split", "val2017", "Split to evaluate on.")
    flags.DEFINE_string(
        "detections", None, "Detector boxes to evaluate on: a COCO results file. Annotated boxes by default."
    )
    flags.DEFINE_bool("skip_bad_images", False, "Go on past images that cannot be read, and count them.")
    flags.mark_flag_as_required("data_dir")


def define_prediction_flags():
    """Flags of how people are predicted."""
    flags.DEFINE_bool("flip_test", True, "Average the heatmaps of the crop and of its mirror image in evaluations.")
    flags.DEFINE_integer("batch_size", 32, "People in a batch, on all GPUs together.", lower_bound=1)
    flags.DEFINE_enum("xla", "auto", ["auto", "on", "off"], "Compile the network with XLA; auto: where there is a GPU.")


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


def load_people():
    """The validation people: those annotated, and those to predict (the same, or the detector's boxes)."""
    annotated = coco.load_split(FLAGS.data_dir, FLAGS.val_split)
    people = coco.load_detections(FLAGS.detections, annotated) if FLAGS.detections else annotated
    check_images_exist(people)
    return annotated, people


def load_model(path):
    """Loads a `.keras` file and checks that it is a pose network."""
    if not path.endswith(".keras") or not os.path.isfile(path):
        raise InputError(f"--model must be an existing .keras file. Received: {path}")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types on a damaged file
        raise InputError(f"--model {path} cannot be loaded: {reason(error)}") from error
    if len(model.inputs) != 1 or len(model.input_shape) != 4 or len(model.output_shape) != 4:
        raise InputError(f"--model {path} is not a pose network (images [B,H,W,3] to heatmaps [B,h,w,K])")
    return model


def check_keypoints(model, skeleton, path):
    """Raises InputError unless the model predicts the keypoints of the annotations."""
    if model.output_shape[-1] != skeleton.num_keypoints:
        raise InputError(
            f"--model {path} predicts {model.output_shape[-1]} keypoints, but the annotations have "
            f"{skeleton.num_keypoints}"
        )


def some_crops(people, input_size, bad_images, count=16):
    """[N,H,W,3] uint8 crops of the first people whose images can be read, at most `count`."""
    dataset = pipeline.evaluation_dataset(people.take(slice(count)), input_size, count, bad_images.handler())
    images, index = next(iter(dataset))
    return images.numpy()[index.numpy() >= 0]


def print_exports(paths, differences):
    for path in paths.values():
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
