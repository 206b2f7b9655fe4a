"""Evaluates a trained model on a split of a COCO-format dataset.

    python tools/evaluate.py --model=work/w32/best.keras --data_dir=data/coco --val_split=val2017

Without --detections the people are cropped by their annotated boxes, which gives a higher AP than
a detector's boxes: published tables use the latter.
"""

import json
import os

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf.data import coco
from hrnet_tf.errors import InputError
from hrnet_tf.files import replacing
from hrnet_tf.predict import evaluate_people, make_predict_function, predict_people, prediction_sheet
from hrnet_tf.visualize import write_image

FLAGS = flags.FLAGS

cli.define_data_flags()
cli.define_prediction_flags()
flags.DEFINE_string("model", None, "Model file (.keras).")
flags.DEFINE_string("metrics", None, "JSON file to write the statistics to.")
flags.DEFINE_string("results", None, "JSON file to write the predictions to, in COCO's results format.")
flags.DEFINE_string("sheet", None, "PNG or JPEG file to draw predictions in, over the first images.")
flags.mark_flag_as_required("model")


def main():
    for path in (FLAGS.metrics, FLAGS.results, FLAGS.sheet):
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise InputError(f"cannot write {path}: its folder does not exist")
    strategy = cli.make_strategy(FLAGS.batch_size)
    with strategy.scope():
        model = cli.load_model(FLAGS.model)
    _, people = cli.load_people()
    cli.check_keypoints(model, people.skeleton, FLAGS.model)
    input_size = model.input_shape[1:3]
    flip_pairs = people.skeleton.flip_pairs if FLAGS.flip_test else None
    predict = make_predict_function(strategy, model, flip_pairs, cli.use_xla())
    bad_images = cli.BadImages()
    keypoints, people = predict_people(predict, people, input_size, FLAGS.batch_size, strategy, bad_images.handler())
    metrics = evaluate_people(
        keypoints, people, input_size, coco.annotation_path(FLAGS.data_dir, FLAGS.val_split), FLAGS.results
    )
    bad_images.report()
    print(
        f"{len(people)} {'detector' if FLAGS.detections else 'annotated'} boxes, flip test "
        f"{'on' if FLAGS.flip_test else 'off'}"
    )
    for name, value in metrics.items():
        print(f"{name:5}{value:7.4f}")
    if FLAGS.metrics:
        with replacing(FLAGS.metrics) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(metrics, file, indent=2)
    if FLAGS.sheet:
        write_image(FLAGS.sheet, prediction_sheet(keypoints, people))


if __name__ == "__main__":
    cli.run(main)
