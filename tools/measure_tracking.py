"""Measures tracking and smoothing on rendered videos, whose people are known.

    pip install motmetrics
    python tools/measure_tracking.py --seeds=201,202,203
    python tools/measure_tracking.py --seeds=201,202,203 --model=demo/run/best.keras

People of whom too little is seen are not detected, nor are some others; boxes are as imprecise as a detector's, and
there are some where nobody is. Without a network, keypoints are the annotated ones with noise, more of it and low
scores for hidden ones. Printed are of the tracks MOTA, IDF1 and identity switches (people of whom less than a quarter
is seen count for nothing), and of the keypoints before and after each smoothing the mean acceleration, that of the
annotated ones beside it, the mean error and PCK: the share of keypoints at most 0.05 of the box's longer side away.
"""

import json
import pathlib

import cv2
import motmetrics
import numpy as np
from absl import app, flags

from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic import render_video
from hrnet_tf.synthetic.dataset import detector_box
from hrnet_tf.tracking import NO_TRACK, LiveSmoother, Tracker, smooth_whole
from hrnet_tf.tracking.arrays import overlaps

flags.DEFINE_list("seeds", ["201", "202", "203"], "Of the videos, one each.")
flags.DEFINE_integer("frames", 300, "In a video.")
flags.DEFINE_string("model", None, "A network of COCO's 17 keypoints, instead of annotated ones with noise.")
flags.DEFINE_integer("detect_every", 1, "With a network: between frames so many apart, expected boxes.", 1)
flags.DEFINE_string("folder", "work/tracking", "Where the videos are, or are rendered.")
FLAGS = flags.FLAGS
flags.register_multi_flags_validator(
    ["detect_every", "model"],
    lambda given: given["detect_every"] == 1 or given["model"],
    "--detect_every needs --model",
)
NUM_PEOPLE = 6
# People of whom a smaller share is seen are mostly missed, and do not count; of the others this share is missed.
MIN_SEEN, MISSED = 0.25, 0.05
# Boxes are of the same person from this overlap on, as in the MOT benchmarks.
MIN_OVERLAP = 0.5
# How many boxes without anybody a frame has in the mean.
NOBODIES = 0.3
# Deviations of the keypoints as shares of their OKS tolerances and the person's size; the other is of hidden ones.
NOISE, HIDDEN_NOISE = 0.4, 1.5
# Keypoints count in errors and trembling where their score is above this.
SCORE = 0.2
PCK = 0.05


def read_video(folder, name):
    """The times of its frames, the paths, and of each the annotations."""
    content = json.loads((folder / "annotations" / f"person_keypoints_{name}.json").read_text())
    people = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        annotation["keypoints"] = np.array(annotation["keypoints"], float).reshape(-1, 3)
        people[annotation["image_id"]].append(annotation)
    paths = [folder / "images" / name / image["file_name"] for image in content["images"]]
    return [image["time"] for image in content["images"]], paths, list(people.values())


def detect(rng, annotations, size):
    """What a detector could find: boxes [N,4], scores [N] and the annotation of each, None where nobody is."""
    found = []
    for annotation in annotations:
        seen = annotation["seen"]
        if rng.random() < (MISSED if seen >= MIN_SEEN else 0.9):
            continue
        score = np.clip(0.35 + 0.6 * seen + rng.normal(0, 0.1), 0.05, 1)
        found.append((detector_box(rng, annotation["bbox"], *size), score, annotation))
    for _ in range(rng.poisson(NOBODIES)):
        height = rng.uniform(0.2, 0.6) * size[1]
        box = [rng.uniform(0, size[0] - 0.4 * height), rng.uniform(0, size[1] - height), 0.4 * height, height]
        found.append((box, rng.uniform(0.1, 0.6), None))
    boxes, scores, sources = zip(*found, strict=True) if found else ((), (), ())
    return np.array(boxes).reshape(-1, 4), np.array(scores), list(sources)


def noisy_keypoints(rng, boxes, sources):
    """[N,17,3]: the annotated keypoints with noise, of nobody random ones in the box."""
    keypoints = np.zeros((len(boxes), 17, 3))
    for points, box, source in zip(keypoints, boxes, sources, strict=True):
        if source is None:
            points[:] = np.column_stack([box[:2] + rng.random((17, 2)) * box[2:], rng.uniform(0, 0.4, 17)])
            continue
        seen = source["keypoints"][:, 2] == 2
        deviation = np.where(seen, NOISE, HIDDEN_NOISE) * COCO.oks_sigmas * np.sqrt(source["area"])
        points[:, :2] = source["keypoints"][:, :2] + rng.normal(0, deviation[:, None], (17, 2))
        points[:, 2] = np.where(seen, rng.uniform(0.4, 1, 17), rng.uniform(0.05, 0.5, 17))
        points[source["keypoints"][:, 2] == 0, 2] = 0.05
        gone = rng.random(17) < 0.03
        points[gone, :2], points[gone, 2] = box[:2] + rng.random((gone.sum(), 2)) * box[2:], 0.1
    return keypoints


def track(times, paths, people, seed, predictor, detect_every):
    """Of each frame keypoints [N,17,3], boxes, scores and annotations (None where no detector looks), and tracks."""
    rng, tracker = np.random.default_rng(seed), Tracker(COCO.oks_sigmas)
    frames, track_ids = [], []
    for i, (time, path, annotations) in enumerate(zip(times, paths, people, strict=True)):
        image = cv2.imread(str(path))[..., ::-1]
        boxes, scores, sources = detect(rng, annotations, image.shape[1::-1])
        looks = i % detect_every == 0
        if not looks:
            boxes = tracker.expected_boxes(time)
            scores, sources = np.ones(len(boxes)), [None] * len(boxes)
        keypoints = noisy_keypoints(rng, boxes, sources) if predictor is None else predictor(image, boxes)
        ids = tracker.update(keypoints, boxes, scores, time) if looks else tracker.follow(keypoints, time)
        frames.append((np.asarray(keypoints, float), boxes, scores, sources))
        track_ids.append(ids)
    return frames, track_ids


def accumulate(frames, track_ids, people):
    """What motmetrics counts from."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for (_, boxes, _, _), ids, annotations in zip(frames, track_ids, people, strict=True):
        known = ids != NO_TRACK
        ids, boxes = ids[known], boxes[known]
        truth = np.array([one["bbox"] for one in annotations]).reshape(-1, 4)
        likeness = overlaps(truth, boxes)
        distances = np.where(likeness >= MIN_OVERLAP, 1 - likeness, np.nan)
        counted = np.array([one["seen"] >= MIN_SEEN for one in annotations], bool)
        # Whoever is found as somebody who does not count is neither right nor wrong.
        matched = np.zeros(len(ids), bool)
        for row, column in zip(*motmetrics.lap.linear_sum_assignment(distances), strict=True):
            matched[column] = not counted[row]
        names = [one["track_id"] for one in annotations if one["seen"] >= MIN_SEEN]
        accumulator.update(names, ids[~matched], distances[counted][:, ~matched])
    return accumulator


def keypoint_figures(frames, track_ids, keypoints):
    """Mean acceleration in pixels a frame², that of the truth, mean error in pixels, PCK; each with its count."""
    moving, true_moving, errors, right = [], [], [], []
    last: list[dict] = [{}, {}]
    for (given, _, _, sources), ids, points in zip(frames, track_ids, keypoints, strict=True):
        now = {}
        for i, source in enumerate(sources):
            if source is None:
                continue
            truth = source["keypoints"]
            counted = (given[i, :, 2] > SCORE) & (truth[:, 2] > 0)
            error = np.linalg.norm(points[i, :, :2] - truth[:, :2], axis=1)[counted]
            errors.append(error)
            right.append(error <= PCK * max(source["bbox"][2:]))
            if ids[i] == NO_TRACK:
                continue
            now[ids[i]] = points[i, :, :2], truth[:, :2], counted
            if all(ids[i] in frame for frame in last):
                (a, ta, ca), (b, tb, cb) = (frame[ids[i]] for frame in last)
                thrice = counted & ca & cb
                moving.append(np.linalg.norm(points[i, :, :2] - 2 * b + a, axis=1)[thrice])
                true_moving.append(np.linalg.norm(truth[:, :2] - 2 * tb + ta, axis=1)[thrice])
        last = [last[1], now]
    return [np.concatenate(values).mean() for values in (moving, true_moving, errors, right)]


def smoothings(frames, track_ids, times):
    live = LiveSmoother()
    given = [frame[0] for frame in frames]
    yield "off", given
    yield "live", [live(ids, points, time) for ids, points, time in zip(track_ids, given, times, strict=True)]
    yield "whole", smooth_whole(track_ids, given, times)


def main(_):
    predictor = None
    if FLAGS.model:
        from hrnet_tf import PosePredictor

        predictor = PosePredictor(FLAGS.model)
    accumulators, names, figures = [], [], {}
    folder = pathlib.Path(FLAGS.folder)
    for seed in map(int, FLAGS.seeds):
        name = f"v{seed}"
        render_video(folder, name, FLAGS.frames, NUM_PEOPLE, seed)
        times, paths, people = read_video(folder, name)
        frames, track_ids = track(times, paths, people, seed, predictor, FLAGS.detect_every)
        accumulators.append(accumulate(frames, track_ids, people))
        names.append(name)
        # Who is who in expected boxes is not known: there are no figures of keypoints.
        for smoothing, keypoints in smoothings(frames, track_ids, times) if FLAGS.detect_every == 1 else ():
            figures[name, smoothing] = keypoint_figures(frames, track_ids, keypoints)
    metrics = motmetrics.metrics.create()
    wanted = ["mota", "idf1", "num_switches", "num_false_positives", "num_misses", "num_objects", "num_fragmentations"]
    summary = metrics.compute_many(accumulators, metrics=wanted, names=names, generate_overall=True)
    print(summary.to_string(float_format="{:.4f}".format))
    print("video, smoothing: acceleration (px/frame^2), that of the truth, error (px), PCK")
    for (name, smoothing), values in figures.items():
        print(f"{name}, {smoothing}: " + ", ".join(f"{value:.3f}" for value in values))


if __name__ == "__main__":
    app.run(main)
