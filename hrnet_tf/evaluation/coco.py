"""COCO keypoint evaluation: rescoring, OKS suppression per image, then pycocotools' average precision."""

import contextlib
import io
import json
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hrnet_tf.data.annotations import make_table
from hrnet_tf.errors import InputError, listed
from hrnet_tf.evaluation.similarity import REFERENCE_SUPPRESSION, SUPPRESSIONS, Suppression, checked_sigmas, rescore
from hrnet_tf.files import PathLike, read_json, replacing

# The ten numbers, in pycocotools' order.
STATISTICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def evaluate_coco(
    annotation_file: PathLike | dict[str, Any],
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    box_scores: ArrayLike,
    areas: ArrayLike,
    sigmas: ArrayLike | None = None,
    results_file: PathLike | None = None,
    suppression: Suppression = REFERENCE_SUPPRESSION,
    category_ids: ArrayLike | None = None,
) -> dict[str, float]:
    """Average precision and recall of predicted people, as the reference implementation computes them.

    Every image of the annotation file is evaluated: one without predictions counts as missed. The
    keypoint set is the first that has annotations, of all categories with its names, so custom sets need no code.
    Who counts is who is trained on (`data.annotations`); the others are ignored, as COCO's without keypoints are.

    Args:
        annotation_file: path of a COCO-format keypoint annotation file, or the dict loaded from one.
        image_ids: [N] image of each predicted person, in any order.
        keypoints: [N, K, 3] x, y in pixels of the image, and score.
        box_scores: [N] score of the box each person was predicted in; 1 for annotated boxes.
        areas: [N] square pixels of those boxes, with the crop's padding.
        sigmas: K OKS tolerances; those of the annotation file's category by default.
        results_file: where to write the people evaluated, in COCO's results format.
        suppression: a `Suppression`.
        category_ids: [N] category of each person in `results_file`; that of the keypoint set by default.

    Returns:
        dict of ten floats by the names in `STATISTICS`; -1 where no annotated person has the size.

    Raises:
        InputError: the annotation file cannot be used or nobody in it counts, lengths
            differ, an image is not in the file, a number is not finite, an area is negative, or
            `results_file` cannot be written.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/coco.py; pycocotools
    """
    table = _read(annotation_file)
    category, skeleton = table.keypoint_set()
    sigmas = checked_sigmas(skeleton.oks_sigmas if sigmas is None else sigmas, skeleton.num_keypoints)
    image_ids, keypoints, box_scores, areas = _checked_predictions(
        image_ids, keypoints, box_scores, areas, skeleton.num_keypoints
    )
    _check_images(image_ids, table)
    categories = category["id"] if category_ids is None else category_ids
    results = keypoint_results(image_ids, keypoints, box_scores, areas, categories, sigmas, suppression)
    if results_file is not None:
        save_results(results_file, results)
    for result in results:  # written with their own, evaluated as one set
        result["category_id"] = category["id"]
    return _statistics(_ground_truth(table, category), results, sigmas)


def save_results(path: PathLike, results: list[dict[str, Any]]) -> None:
    """Writes people in COCO's results format, as `keypoint_results` gives them, to a JSON file."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(results), encoding="utf-8")


def keypoint_results(
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    box_scores: ArrayLike,
    areas: ArrayLike,
    category_id: ArrayLike = 1,
    sigmas: ArrayLike | None = None,
    suppression: Suppression = REFERENCE_SUPPRESSION,
) -> list[dict[str, Any]]:
    """People in COCO's results format, rescored and without duplicates, by image and best first.

    Args:
        image_ids, keypoints, box_scores, areas, suppression: as for `evaluate_coco`.
        category_id: the category to give all of them, or [N] of each; COCO's person by default.
        sigmas: K OKS tolerances; COCO's by default.

    Returns:
        list of dicts with `image_id`, `category_id`, `keypoints` (3·K floats) and `score`.
    """
    image_ids = np.asarray(image_ids)
    keypoints = np.asarray(keypoints, np.float64)
    areas = np.asarray(areas, np.float64)
    scores = rescore(box_scores, keypoints[..., 2], suppression.score_threshold)
    nms = SUPPRESSIONS[suppression.nms]
    kept = []
    for members in _group_by_value(image_ids):
        best = nms(keypoints[members], scores[members], areas[members], suppression.oks_threshold, sigmas)
        kept.extend(members[best].tolist())
    flat_keypoints = keypoints.reshape(len(keypoints), 3 * keypoints.shape[1])
    categories = np.broadcast_to(np.asarray(category_id), len(keypoints))
    columns = [column[kept].tolist() for column in (image_ids, categories, flat_keypoints, scores)]
    return [
        {"image_id": image_id, "category_id": category, "keypoints": flat, "score": score}
        for image_id, category, flat, score in zip(*columns, strict=True)
    ]


def _group_by_value(values):
    """Index arrays, one for each distinct value, ascending; indices within one ascending too."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1) if len(order) else []


def _statistics(ground_truth, results, sigmas):
    """pycocotools' ten numbers; its progress output is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        annotated.dataset = ground_truth
        annotated.createIndex()
        # loadRes cannot take an empty list. It adds keys to the results: they were written before.
        predicted = annotated.loadRes(results) if results else COCO()
        evaluation = COCOeval(annotated, predicted, "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATISTICS, map(float, evaluation.stats), strict=True))


def _read(annotation_file):
    """The `AnnotationTable` of a path or dict, which may do without file names."""
    if isinstance(annotation_file, dict):
        content, source = annotation_file, "annotation_file"
    else:
        content, source = read_json(annotation_file), f"annotation_file {os.fspath(annotation_file)}"
    images = content.get("images") if isinstance(content, dict) else None
    named = isinstance(images, list) and any("file_name" in image for image in images if isinstance(image, dict))
    return make_table(content, source, with_files=named)


def _ground_truth(table, category):
    """The dataset pycocotools evaluates against: of a table whoever has a box on a listed image.

    People who are left out are ignored, as COCO's without keypoints are: predictions of them are neither right nor
    wrong. pycocotools takes a matched id of 0 for no match, so ids of the file are not used.
    """
    people = []
    rows = np.flatnonzero((table.image_index >= 0) & np.isfinite(table.boxes).all(axis=1))
    counts = (table.used | table.crowd) & np.isfinite(table.keypoints).all(axis=(1, 2))
    keypoints = np.where(counts[:, None, None], table.keypoints, 0)
    for row in rows.tolist():
        people.append(
            {
                "id": len(people) + 1,
                "image_id": int(table.image_ids[table.image_index[row]]),
                "category_id": category["id"],
                "bbox": table.boxes[row].tolist(),
                "area": float(table.areas[row]),
                "iscrowd": int(table.crowd[row]),
                "keypoints": keypoints[row].ravel().tolist(),
                "num_keypoints": int((keypoints[row, :, 2] > 0).sum()),
            }
        )
    images = [{"id": image_id} for image_id in table.image_ids[table.listed].tolist()]
    return {"images": images, "annotations": people, "categories": [category]}


def _checked_predictions(image_ids, keypoints, box_scores, areas, num_keypoints):
    """The arguments as arrays of equal length with usable numbers."""
    image_ids = np.asarray(image_ids)
    arrays = {
        "keypoints": np.asarray(keypoints, np.float64),
        "box_scores": np.asarray(box_scores, np.float64),
        "areas": np.asarray(areas, np.float64),
    }
    n = len(image_ids)
    for name, shape in (("keypoints", (n, num_keypoints, 3)), ("box_scores", (n,)), ("areas", (n,))):
        if arrays[name].shape != shape:
            raise InputError(
                f"{name} must have shape {shape} for {n} image_ids and the file's {num_keypoints} keypoints. "
                f"Received: {arrays[name].shape}"
            )
        finite = np.isfinite(arrays[name]).reshape(n, int(np.prod(shape[1:]))).all(axis=1)
        if not finite.all():
            raise InputError(f"{name} must be finite. Received: NaN or infinity for person {np.argmin(finite)}")
    if (arrays["areas"] < 0).any():
        raise InputError(f"areas must not be negative. Received: {arrays['areas'].min()}")
    return image_ids, *arrays.values()


def _check_images(image_ids, table):
    unknown = sorted(set(image_ids.tolist()) - set(table.image_ids[table.listed].tolist()))
    if unknown:
        raise InputError(
            f"image_ids must be in the images of {table.path}. Received: {len(unknown)} that are not: "
            f"{listed(map(str, unknown), 60)}"
        )
