"""`hrnet-tf check`: what is wrong with a dataset."""

import json

from absl import flags

from hrnet_tf import benchmarks, doctor
from hrnet_tf.cli.keypoint_names import with_flag_pairs
from hrnet_tf.doctor.findings import as_text
from hrnet_tf.files import replacing
from hrnet_tf.visualize import write_image

FLAGS = flags.FLAGS


def main() -> int:
    report, image_dir = doctor.check_split(
        FLAGS.data_dir,
        FLAGS.split,
        FLAGS.check_images,
        FLAGS.decode_all,
        FLAGS.annotations,
        FLAGS.images,
        with_flag_pairs,
        benchmarks.coco_like(FLAGS.dataset).form,
    )
    print(report.as_text())
    if report.table.skeleton:
        print(as_text(report.table.skeleton.pairs_in_words(), 1500))
    if FLAGS.json:
        with replacing(FLAGS.json) as path:
            path.write_text(json.dumps(report.as_json(), indent=2), encoding="utf-8")
    if FLAGS.picture:
        picture = doctor.draw_worst(report) if image_dir else None
        if picture is None:
            print(f"nobody to draw: {FLAGS.picture} was not written")
        else:
            write_image(FLAGS.picture, picture)
    return report.exit_code
