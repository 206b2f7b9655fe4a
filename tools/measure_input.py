"""Measures what makes the batches of training: threads of one process, or processes, by Grain.

    pip install grain psutil
    python tools/measure_input.py --annotations=lsp/annotations/train.json --images=lsp/images/train --copies=6
    python tools/measure_input.py --images=photos --decoding

Printed are for each number of processes (0: the threads of this one, as training does it) samples a second, processor
time of a sample, and whether the batches are equal in every bit to those of the first. On a machine that is busy with
other work the processor time is what can be relied on. --decoding measures something else: how long JPEG files of
quality 90 take to decode, enlarged to several sizes, whole and at a half and a quarter of their sides.
"""

import dataclasses
import hashlib
import itertools
import pathlib
import time

import cv2
import grain.python as grain
import numpy as np
import psutil
import simplejpeg
from absl import app, flags
from benchmark.people import repeated

from hrnet_tf.data import coco
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.crops import TrainingCrops
from hrnet_tf.data.pipeline import keypoint_dataset
from hrnet_tf.data.sequence import CropSequence

flags.DEFINE_string("annotations", None, "COCO-format file.")
flags.DEFINE_string("images", None, "Folder of its images.")
flags.DEFINE_integer("copies", 1, "How many times every image is there.", 1)
flags.DEFINE_integer("batch_size", 32, "People in a batch.", 1)
flags.DEFINE_integer("rounds", 3, "How often all is measured, in turn.", 1)
flags.DEFINE_bool("decoding", False, "Measure decoding alone.")
flags.DEFINE_list("processes", ["0", "1", "2"], "Numbers of processes that make batches.")
FLAGS = flags.FLAGS
SIZE, SEED = (256, 192), 0
QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 90)
# Not timed: nothing is prefetched yet, and processes start.
WARM_UP = 5


@dataclasses.dataclass
class Batches(grain.MapTransform):
    """From the number of a step to its batch; what makes it is built where it is used."""

    people: object
    steps: int
    batch_size: int
    made_by: object = None

    def map(self, step):
        if self.made_by is None:
            sequence = CropSequence(self.people, SIZE, self.batch_size, Augmentation(), SEED)
            self.made_by = TrainingCrops(sequence, 0, self.steps)
        return self.made_by(step)


def batches(people, steps, processes):
    """An iterator of batches in their order, made by so many processes, or by threads of this one."""
    if not processes:
        return keypoint_dataset(people, SIZE, FLAGS.batch_size, Augmentation(), SEED, 0, steps).as_numpy_iterator()
    data = grain.MapDataset.range(steps).map(Batches(people, steps, FLAGS.batch_size)).to_iter_dataset()
    return iter(data.mp_prefetch(grain.MultiprocessingOptions(num_workers=processes)))


def processor_time():
    """Seconds of this process and of those that it has started and that are still there."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def measured(people, steps, processes):
    """Samples a second, processor milliseconds of a sample, and a hash of all batches."""
    found = hashlib.sha256()
    iterator = batches(people, 2 * steps, processes)  # more than is taken, or processes would end before they are asked
    for step, arrays in enumerate(itertools.islice(iterator, steps), start=1):
        for array in arrays:
            found.update(np.ascontiguousarray(array))
        if step == WARM_UP:
            start, started_using = time.monotonic(), processor_time()
    samples = (steps - WARM_UP) * FLAGS.batch_size
    rate, used = samples / (time.monotonic() - start), 1000 * (processor_time() - started_using) / samples
    if hasattr(iterator, "close"):
        iterator.close()
    return rate, used, found.hexdigest()


def decoding():
    """Prints processor milliseconds of decoding by the size of pictures."""
    paths = sorted(pathlib.Path(FLAGS.images).rglob("*.jpg"))[:12]
    for enlarged in (1, 2, 4):
        sizes = (None, None, enlarged, enlarged, cv2.INTER_CUBIC)
        files = [cv2.imencode(".jpg", cv2.resize(cv2.imread(path), *sizes), QUALITY)[1].tobytes() for path in paths]
        headers = [simplejpeg.decode_jpeg_header(file) for file in files]
        pixels = np.mean([height * width for height, width, *_ in headers]) / 1e6
        times = []
        for factor in (1, 2, 4):
            rounds = []
            for _ in range(5):
                start = time.thread_time()
                for file, (height, width, *_) in zip(files, headers, strict=True):
                    # At its full size where no least size is asked for.
                    least = (
                        {} if factor == 1 else {"min_height": -(-height // factor), "min_width": -(-width // factor)}
                    )
                    simplejpeg.decode_jpeg(file, "RGB", **least)
                rounds.append((time.thread_time() - start) / len(files))
            times.append(f"{1000 * min(rounds):.2f}")
        print(f"{pixels:.2f} megapixels: {', '.join(times)} ms whole, at a half, at a quarter")


def main(_):
    if FLAGS.decoding:
        decoding()
        return
    people = coco.load_split(None, None, FLAGS.annotations, FLAGS.images)
    people = repeated(people, FLAGS.copies)
    steps = len(people) // FLAGS.batch_size
    first = None
    for _ in range(FLAGS.rounds):
        for processes in map(int, FLAGS.processes):
            rate, used, digest = measured(people, steps, processes)
            first = first or digest
            equal = "equal" if digest == first else "OTHER BATCHES"
            print(f"{processes} processes: {rate:.0f} samples/s, {used:.3f} ms of a processor, {equal}", flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("images")
    app.run(main)
