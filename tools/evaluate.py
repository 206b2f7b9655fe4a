"""Evaluates a trained model on a split of COCO, of data of one's own in COCO's format, or of MPII.

    python tools/evaluate.py --model=work/w32/best.keras --data_dir=data/coco --val_split=val2017
    python tools/evaluate.py --model=w32.keras --data_dir=data/coco --val_split=test-dev2017 \\
        --detections=detections.json --results=results.json

Without --detections the people are cropped by their annotated boxes, which gives a higher AP than
a detector's boxes: published tables use the latter. A test split has no annotations: what is
written to --results goes to the benchmark's server.
"""

import json
import os

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf.benchmarks import pck_by_keypoint
from hrnet_tf.errors import InputError
from hrnet_tf.files import replacing
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction.keypoints import prediction_sheet
from hrnet_tf.prediction.network import for_inference, load_network
from hrnet_tf.visualize import write_image

FLAGS = flags.FLAGS

cli.define_data_flags()
cli.define_prediction_flags()
cli.define_precision_flag()
flags.DEFINE_string("model", None, "Model: a .keras, .onnx or .tflite file or a SavedModel folder.")
flags.DEFINE_string("metrics", None, "JSON file to write the figures to.")
flags.DEFINE_string("results", None, "File to write the predictions to: COCO's results (JSON), MPII's pred.mat.")
flags.DEFINE_string("sheet", None, "PNG or JPEG file to draw predictions in, over the first images.")
flags.mark_flag_as_required("model")


def main():
    cli.assume_frozen_weights()
    for path in (FLAGS.metrics, FLAGS.results, FLAGS.sheet):
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise InputError(f"cannot write {path}: its folder does not exist")
    if not FLAGS.results and not cli.dataset().is_annotated(FLAGS.val_split):
        raise InputError(f"--val_split {FLAGS.val_split} is not annotated: give --results, for the benchmark's server")
    strategy = cli.make_strategy(FLAGS.batch_size)
    with strategy.scope():
        network, path = load_network(FLAGS.model)
        name = getattr(network.heatmaps, "name", "unknown")  # of a Keras model; other files have a card
        network = for_inference(network, FLAGS.precision)
    annotated, people = cli.load_people()
    cli.check_keypoints(network.num_keypoints, people.skeleton, FLAGS.model)
    input_size = network.input_size
    card = cli.make_card(name, input_size, people.skeleton, read_card(path))
    bad_images = cli.BadImages()
    metrics, keypoints, people = cli.make_evaluate(strategy, network.heatmaps, card, people, bad_images)(FLAGS.results)
    bad_images.report()
    print(
        f"{FLAGS.dataset} {FLAGS.val_split}: {len(people)} people in {cli.boxes_in_words()}, "
        f"flip test {'on' if FLAGS.flip_test else 'off'}, codec {card.codec}, "
        f"decoding {card.decoding}"
    )
    published = cli.dataset().published(FLAGS.val_split, card.name, input_size, bool(FLAGS.detections))
    pck = pck_by_keypoint(keypoints, people, annotated, input_size) if annotated.visible.any() else {}
    _print_metrics(metrics, published)
    _print_pck(pck)
    if FLAGS.metrics:
        setting = {"boxes": "detector" if FLAGS.detections else "annotated", "num_people": len(people)}
        setting |= {"flip_test": FLAGS.flip_test, "codec": card.codec, "refine": card.decoding}
        content = {**metrics, "published": published, "PCK": pck, "setting": setting}
        with replacing(FLAGS.metrics) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
    if FLAGS.sheet:
        write_image(FLAGS.sheet, prediction_sheet(keypoints, people))


def _print_metrics(metrics, published):
    """One figure a line, beside the published one where there is one."""
    if published:
        print(f"{'':10}{'this':>9}{'published':>11}{'difference':>12}")
    for name, value in metrics.items():
        beside = f"{published[name]:11.4f}{value - published[name]:+12.4f}" if name in published else ""
        print(f"{name:10}{value:9.4f}{beside}")


def _print_pck(pck):
    if pck:
        print("PCK, the share of keypoints within 5 % of the crop's sides:")
    for name, share in pck.items():
        print(f"  {name:16}{share:7.3f}")


if __name__ == "__main__":
    cli.run(main)
