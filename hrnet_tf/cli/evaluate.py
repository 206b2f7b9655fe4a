"""`hrnet-tf evaluate`: figures of a trained network beside the published ones."""

import json
import os

from absl import flags

from hrnet_tf.benchmarks import pck_by_keypoint
from hrnet_tf.cli import shared
from hrnet_tf.cli.tasks import task_of
from hrnet_tf.errors import InputError
from hrnet_tf.files import replacing
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction.keypoints import prediction_sheet
from hrnet_tf.prediction.network import for_inference, load_network
from hrnet_tf.visualize import write_image

FLAGS = flags.FLAGS


def main() -> None:
    shared.assume_frozen_weights()
    for path in (FLAGS.metrics, FLAGS.results, FLAGS.sheet):
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise InputError(f"cannot write {path}: its folder does not exist")
    split = shared.val_split()
    if not FLAGS.results and not shared.dataset().is_annotated(split):
        raise InputError(f"--val_split {split} is not annotated: give --results, for the benchmark's server")
    strategy = shared.make_strategy(FLAGS.batch_size)
    with strategy.scope():
        network, path = load_network(shared.model_file(), FLAGS.trust_model)
        name = getattr(network.heatmaps, "name", "unknown")  # of a Keras model; other files have a card
        network = for_inference(network, FLAGS.precision)
    found = read_card(path)
    task = task_of(network.kind)
    annotated, people = task.load_validation()
    skeleton = shared.keypoints_of(FLAGS.model, found, network.num_keypoints, people.skeleton)
    card = shared.make_card(name, network.input_size, skeleton, found)
    print(skeleton.pairs_in_words())
    bad_images = shared.BadImages()
    evaluate = task.make_evaluate(strategy, network.heatmaps, card, people, bad_images)
    with shared.memory_advice(" or give --precision=bfloat16"):
        metrics, keypoints, predicted = evaluate(FLAGS.results)
    bad_images.report()
    print(
        f"{FLAGS.dataset} {split}: {task.in_words(predicted)}, flip test {'on' if FLAGS.flip_test else 'off'}, "
        f"{task.decoding_in_words(card)}"
    )
    published = task.published(card)
    pck = pck_by_keypoint(keypoints, predicted, annotated, card.input_size) if annotated.visible.any() else {}
    _print_metrics(metrics, published)
    _print_pck(pck)
    if FLAGS.metrics:
        setting = {"num_people": len(predicted), "flip_test": FLAGS.flip_test, **task.setting(card)}
        content = {**metrics, "published": published, "PCK": pck, "setting": setting}
        with replacing(FLAGS.metrics) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
    if FLAGS.sheet:
        write_image(FLAGS.sheet, prediction_sheet(keypoints, predicted))


def _print_metrics(metrics, published):
    """One figure a line, beside the published one where there is one."""
    width = max(map(len, ["", *metrics])) + 2
    if published:
        print(f"{'':{width}}{'this':>9}{'published':>11}{'difference':>12}")
    for name, value in metrics.items():
        beside = f"{published[name]:11.4f}{value - published[name]:+12.4f}" if name in published else ""
        print(f"{name:{width}}{value:9.4f}{beside}")


def _print_pck(pck):
    if pck:
        print("PCK, the share of keypoints within 5 % of the crop's sides:")
    for name, share in pck.items():
        print(f"  {name:16}{share:7.3f}")
