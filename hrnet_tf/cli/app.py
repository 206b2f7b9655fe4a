"""`hrnet-tf app`: a page to try networks in."""

import importlib.util

from absl import flags

from hrnet_tf.app.server import check_port, serve
from hrnet_tf.cli.quiet import start_tensorflow
from hrnet_tf.errors import InputError

FLAGS = flags.FLAGS


def main() -> None:
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs Gradio: pip install 'hrnet_tf[app]', or in a checkout pip install '.[app]'")
    check_port(FLAGS.port)
    start_tensorflow()
    from hrnet_tf.cli import shared  # imports TensorFlow

    shared.assume_frozen_weights()
    serve(FLAGS.model or [], FLAGS.detector or [], FLAGS.port, FLAGS.max_upload, FLAGS.max_frames, FLAGS.share)
