"""Checks a keypoint dataset before training, and explains an AP of 0 or -1.

    python tools/check_dataset.py --data_dir=mydata --split=train --picture=worst.png --json=report.json

Exit code: 0 nothing worse than notes, 2 warnings, 3 errors, 1 the check could not be run.
"""

import json

import cli
from absl import flags

from hrnet_tf import doctor
from hrnet_tf.files import replacing
from hrnet_tf.visualize import write_image

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "COCO-format folder: annotations/person_keypoints_<split>.json and images.")
flags.DEFINE_string("split", "train2017", "Split to check.")
flags.DEFINE_string("picture", None, "Where to draw up to 12 people that findings name, such as worst.png.")
flags.DEFINE_string("json", None, "Where to write the report as JSON.")
flags.DEFINE_bool("check_images", True, "Read the image files too, not only the annotations.")
flags.DEFINE_bool("decode_all", False, "Decode every image: minutes on large sets. By default 1000.")
flags.mark_flag_as_required("data_dir")


def main():
    report, image_dir = doctor.check_split(FLAGS.data_dir, FLAGS.split, FLAGS.check_images, FLAGS.decode_all)
    print(report.as_text())
    if FLAGS.json:
        with replacing(FLAGS.json) as path:
            path.write_text(json.dumps(report.as_json(), indent=2), encoding="utf-8")
    if FLAGS.picture:
        picture = doctor.draw_worst(report, image_dir) if image_dir else None
        if picture is None:
            print(f"nobody to draw: {FLAGS.picture} was not written")
        else:
            write_image(FLAGS.picture, picture)
    return report.exit_code


if __name__ == "__main__":
    cli.run(main)
