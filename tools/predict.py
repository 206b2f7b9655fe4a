"""Predicts people in an image, in the images of a folder or in a video.

    python tools/predict.py --model=best.keras --input=photo.jpg --boxes="120,80,60,200;300,75,70,210" --out_dir=out
    python tools/predict.py --model=best.keras --input=photos --detections=detections.json --out_dir=out
    python tools/predict.py --model=best.keras --input=clip.mp4 --out_dir=out

--model is a .keras, .onnx or .tflite file or a SavedModel folder. --out_dir receives annotated copies
and the people in two forms:

    predictions.json  COCO's keypoint results with `file_name`, and `frame` for videos
    predictions.csv   file, frame, person, keypoint, x, y, score: a line for each keypoint

People are looked for in the boxes of --detections (a COCO results file), else in those of --boxes
(the same in every picture), else in the whole picture, as fits pictures of one person. Boxes and
keypoints are in pixels of the picture as it is looked at, turned as its EXIF orientation says.

The `image_id` of an image, in detections and in results, is the one that --annotations gives its
file name; without them the number that its name consists of, such as 785 of 000000000785.jpg;
that of a video's frame is its number, from 0. Where not every file has a number of its own, the
results count the files from 1, and detections must give each box's `file_name`.
"""

import sys
import time

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf import PosePredictor
from hrnet_tf.errors import InputError
from hrnet_tf.prediction import boxes, files, video

FLAGS = flags.FLAGS

flags.DEFINE_string("model", None, "Model: a .keras, .onnx or .tflite file or a SavedModel folder.")
flags.DEFINE_string("input", None, "Image, folder of images, or video.")
flags.DEFINE_string("out_dir", None, "Folder for annotated copies and results, created; not that of the input.")
flags.DEFINE_string("detections", None, "COCO results file with the boxes to look in.")
flags.DEFINE_float("box_threshold", 0.0, "Least score of a detector's box.", 0)
flags.DEFINE_string("boxes", None, "Boxes to look in: x,y,width,height;x,y,width,height;... in pixels.")
flags.DEFINE_string("annotations", None, "COCO-format file with the images' ids and the model's keypoints.")
flags.DEFINE_float("score_threshold", 0.2, "Keypoints scored at or below it are not drawn.")
flags.DEFINE_bool("flip_test", True, "Average the heatmaps of the crop and of its mirror image.")
flags.DEFINE_integer("batch_size", 32, "People in a batch.", lower_bound=1)
cli.define_codec_flags()
cli.define_precision_flag()
flags.mark_flags_as_required(["model", "input", "out_dir"])

_SECONDS_BETWEEN_LINES = 5


def main():
    cli.assume_frozen_weights()
    ids, skeleton = boxes.read_annotations(FLAGS.annotations) if FLAGS.annotations else (None, None)
    boxes_of = _boxes_of()
    bad_images = cli.BadImages()
    is_video = video.is_video(FLAGS.input)
    images = {} if is_video else files.find_images(FLAGS.input, bad_images, ids)
    if images and FLAGS.detections:
        boxes_of.check_match(images)
    predictor = PosePredictor(
        FLAGS.model, FLAGS.flip_test, FLAGS.codec, FLAGS.refine, skeleton, FLAGS.batch_size, FLAGS.precision
    )
    if is_video:
        progress = _Progress("frames")
        done, people, announced = files.predict_video(
            predictor, FLAGS.input, FLAGS.out_dir, boxes_of, FLAGS.score_threshold, progress
        )
        if done < announced:
            print(f"{FLAGS.input} announces {announced} frames, of which {done} could be read", file=sys.stderr)
    else:
        progress = _Progress("images", len(images))
        done, people = files.predict_images(
            predictor, images, FLAGS.out_dir, boxes_of, bad_images, FLAGS.score_threshold, progress
        )
    bad_images.report()
    print(f"{progress.line(done, people)}; wrote {FLAGS.out_dir}")


def _boxes_of():
    """Where to look for people, as the flags say."""
    if FLAGS.detections and FLAGS.boxes:
        raise InputError("--detections and --boxes exclude each other")
    if FLAGS.detections:
        return boxes.Detections(FLAGS.detections, FLAGS.box_threshold)
    return boxes.GivenBoxes(FLAGS.boxes) if FLAGS.boxes else boxes.whole_image


class _Progress:
    """Prints how far it has come every few seconds."""

    def __init__(self, unit, total=None):
        self.unit, self.total = unit, total
        self.start = self.printed = time.monotonic()

    def __call__(self, pictures, people):
        if time.monotonic() - self.printed >= _SECONDS_BETWEEN_LINES:
            self.printed = time.monotonic()
            print(self.line(pictures, people), flush=True)

    def line(self, pictures, people):
        of = f" of {self.total}" if self.total else ""
        rate = pictures / max(time.monotonic() - self.start, 1e-3)
        return f"{pictures}{of} {self.unit}, {people} people, {rate:.1f} {self.unit} a second"


if __name__ == "__main__":
    cli.run(main)
