"""Predicts the same pictures again and again, and tells whether memory grows or the rate falls.

    python tools/measure_memory.py --images=data/coco/images/val2017 --pictures=20000

Every picture is read from its file and has two boxes, through the smallest network at 64x64 with random weights. Prints
the resident memory and the pictures a second, for each tenth of them by the seconds of the processor and of the clock.
"""

import itertools
import os
import time

from absl import app, flags

from hrnet_tf import PosePredictor, build_model, skeletons
from hrnet_tf.prediction.sources import find_images

flags.DEFINE_string("images", None, "Folder of pictures.", required=True)
flags.DEFINE_integer("pictures", 20000, "How many to predict.", 10)
FLAGS = flags.FLAGS


def main(_):
    paths = list(find_images(FLAGS.images, print))
    predictor = PosePredictor(build_model("hrnet_w18_small_v1", (64, 64), 17), skeleton=skeletons.COCO)
    boxes = [[0, 0, 100, 200], [50, 20, 80, 90]]
    part = FLAGS.pictures // 10
    clock, processor = time.perf_counter(), time.process_time()
    for count, path in enumerate(itertools.islice(itertools.cycle(paths), part * 10), 1):
        predictor(path, boxes)
        if count % part == 0:
            now, used = time.perf_counter(), time.process_time()
            rates = (
                f"{part / (used - processor):.1f} a second of the processor, {part / (now - clock):.1f} of the clock"
            )
            print(f"{count} pictures: {resident_mb():.1f} MB, {rates}", flush=True)
            clock, processor = now, used


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    app.run(main)
