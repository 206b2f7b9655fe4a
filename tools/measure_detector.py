"""How well a detector finds the annotated people of a COCO split, and how long it takes beside a network.

    python tools/measure_detector.py --detector=yolox_nano.onnx --data_dir=data/coco --split=val2017

Prints the average precision of COCO's person category, and how many of the annotated people have a box of their own
(intersection over union of at least 0.5), by COCO's sizes; the same with channels in the reverse order, which shows in
which one the detector was trained; and milliseconds an image and a person of HRNet-W32 with the flip test.
"""

import contextlib
import io
import statistics
import time

import numpy as np
from absl import app, flags
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hrnet_tf import PosePredictor, build_model, skeletons
from hrnet_tf.data.layouts import ImageFolder
from hrnet_tf.data.records import read_image
from hrnet_tf.detection import PersonDetector
from hrnet_tf.detection.detector import DEFAULT_SCORE

flags.DEFINE_string("detector", "yolox_s", "Name or file.")
flags.DEFINE_string(
    "data_dir", "data/coco", "Folder with annotations/person_keypoints_<split>.json and images/<split>."
)
flags.DEFINE_string("split", "val2017", "Split to measure on.")
flags.DEFINE_float("threshold", DEFAULT_SCORE, "Least score of a box that counts for how many are found.")
FLAGS = flags.FLAGS
PERSON = 1
# Least and greatest area in square pixels: COCO's.
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


def main(_):
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO(f"{FLAGS.data_dir}/annotations/person_keypoints_{FLAGS.split}.json")
    listed = annotated.loadImgs(annotated.getImgIds())
    paths = ImageFolder(f"{FLAGS.data_dir}/images/{FLAGS.split}").paths([image["file_name"] for image in listed])
    images = {image["id"]: read_image(path) for image, path in zip(listed, paths, strict=True)}
    detector = PersonDetector(FLAGS.detector, score_threshold=0.01)
    for order, step in (("as it is", 1), ("reversed", -1)):
        found = {number: detector(image[..., ::step]) for number, image in images.items()}
        precision = average_precision(annotated, found)
        print(f"channels {order}: AP {precision[0]:.3f}, AP50 {precision[1]:.3f}; {recall(annotated, found)}")
    network = PosePredictor(build_model("hrnet_w32", (256, 192), 17), skeleton=skeletons.COCO)
    image = next(iter(images.values()))
    person = [[image.shape[1] // 4, 0, image.shape[1] // 2, image.shape[0]]]
    times = {"detector": lambda: detector(image), "network": lambda: network(image, person)}
    print(", ".join(f"{name} {milliseconds(call):.0f} ms" for name, call in times.items()))


def average_precision(annotated, found):
    """COCO's statistics of {image id: (boxes, scores)}."""
    results = [
        {"image_id": number, "category_id": PERSON, "bbox": box.tolist(), "score": float(score)}
        for number, (boxes, scores) in found.items()
        for box, score in zip(boxes, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(annotated, annotated.loadRes(results), "bbox")
        evaluation.params.catIds = [PERSON]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def recall(annotated, found):
    """In words how many people are found by the boxes that score at least --threshold, and how many boxes there are."""
    counts = {size: [0, 0] for size in SIZES}
    num_boxes = 0
    for number, (boxes, scores) in found.items():
        boxes = boxes[scores >= FLAGS.threshold]
        num_boxes += len(boxes)
        people = annotated.loadAnns(annotated.getAnnIds(imgIds=[number], catIds=[PERSON], iscrowd=False))
        free = np.ones(len(boxes), bool)
        for person in sorted(people, key=lambda one: -one["area"]):
            (count,) = [counts[size] for size, (least, most) in SIZES.items() if least <= person["area"] < most]
            count[1] += 1
            overlaps = np.where(free, intersection_over_union(np.float32(person["bbox"]), boxes), 0)
            if len(boxes) and overlaps.max() >= 0.5:
                free[overlaps.argmax()] = False
                count[0] += 1
    sizes = ", ".join(f"{size} {there} of {of}" for size, (there, of) in counts.items())
    total = sum(there for there, _ in counts.values())
    return f"found at a score of {FLAGS.threshold:g}: {sizes}; {total} of {num_boxes} boxes are somebody's"


def intersection_over_union(box, boxes):
    """[N] of one box [4] with others [N,4] (x, y, width, height)."""
    ends = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = (ends - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(axis=1)
    return shared / (box[2:].prod() + boxes[:, 2:].prod(axis=1) - shared)


def milliseconds(call, repeats=15):
    """The median of a call, after one."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    app.run(main)
