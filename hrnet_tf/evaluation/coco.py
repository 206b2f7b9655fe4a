"""COCO keypoint evaluation: rescoring, OKS suppression per image, then pycocotools' average precision."""

import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.data.annotations import AnnotationTable
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.errors import InputError, listed
from hrnet_tf.evaluation.average_precision import COCO_MEASURE, Measure, average_precision, read_table
from hrnet_tf.evaluation.similarity import REFERENCE_SUPPRESSION, SUPPRESSIONS, Suppression, checked_sigmas, rescore
from hrnet_tf.files import PathLike, reason, replacing


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
    form: Format = COCO_FORMAT,
    measure: Measure = COCO_MEASURE,
) -> dict[str, float]:
    """Average precision and recall of predicted people, as the reference implementation computes them.

    The keypoint set is the first that has annotations, of all categories with its names, so custom sets need no code.
    Who is evaluated says `average_precision`.

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
        form: the form of the annotation file.
        measure: in what average precision differs from COCO's.

    Returns:
        dict of ten floats by the names in `average_precision.STATISTICS`; -1 where no annotated person has the size.

    Raises:
        InputError: the annotation file cannot be used or nobody in it counts, lengths
            differ, an image is not in the file, a number is not finite, an area is negative, or
            `results_file` cannot be written.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/coco.py; pycocotools
    """
    table = read_table(annotation_file, form)
    category, skeleton = table.keypoint_set()
    sigmas = checked_sigmas(skeleton.oks_sigmas if sigmas is None else sigmas, skeleton.num_keypoints)
    ids, points, scores, sizes = checked_predictions(table, image_ids, keypoints, box_scores=box_scores, areas=areas)
    if (sizes < 0).any():
        raise InputError(f"areas must not be negative. Received: {sizes.min()}")
    categories = category["id"] if category_ids is None else category_ids
    results = keypoint_results(ids, points, scores, sizes, categories, sigmas, suppression)
    if results_file is not None:
        save_results(results_file, results)
    return average_precision(table, results, measure, sigmas)


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
    categories = np.broadcast_to(np.asarray(category_id), len(keypoints))
    return results_of(image_ids[kept], categories[kept], keypoints[kept], scores[kept])


def results_of(
    image_ids: np.ndarray, category_ids: ArrayLike, keypoints: np.ndarray, scores: np.ndarray
) -> list[dict[str, Any]]:
    """People in COCO's results format.

    Args:
        image_ids: [N].
        category_ids: [N], or one for all.
        keypoints: [N,K,3] x, y and score.
        scores: [N].
    """
    flat = keypoints.reshape(len(keypoints), 3 * keypoints.shape[1])
    categories = np.broadcast_to(np.asarray(category_ids), len(keypoints))
    columns = [column.tolist() for column in (image_ids, categories, flat, scores)]
    return [
        {"image_id": image_id, "category_id": category, "keypoints": numbers, "score": score}
        for image_id, category, numbers, score in zip(*columns, strict=True)
    ]


def _group_by_value(values):
    """Index arrays, one for each distinct value, ascending; indices within one ascending too."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1) if len(order) else []


def checked_predictions(
    table: AnnotationTable, image_ids: ArrayLike, keypoints: ArrayLike, **numbers: ArrayLike
) -> tuple[np.ndarray, ...]:
    """Predictions as arrays of equal length with usable numbers.

    Args:
        table: the annotations that they are of.
        image_ids: [N].
        keypoints: [N,K,3] x, y and score.
        numbers: others by what to call them, [N] each.

    Raises:
        InputError: lengths differ, an image is not in the annotations, or a number is not finite.
    """
    _, skeleton = table.keypoint_set()
    ids = _array("image_ids", image_ids, None)
    if ids.ndim != 1:
        raise InputError(f"image_ids must have shape (N,). Received: {ids.shape}")
    n, num_keypoints = len(ids), skeleton.num_keypoints
    arrays = {name: _array(name, values, np.float64) for name, values in {"keypoints": keypoints, **numbers}.items()}
    for name, array in arrays.items():
        shape = (n, num_keypoints, 3) if name == "keypoints" else (n,)
        if array.shape != shape:
            raise InputError(
                f"{name} must have shape {shape} for {n} image_ids and the file's {num_keypoints} keypoints. "
                f"Received: {array.shape}"
            )
        finite = np.isfinite(array).reshape(n, int(np.prod(shape[1:]))).all(axis=1)
        if not finite.all():
            raise InputError(f"{name} must be finite. Received: NaN or infinity for person {np.argmin(finite)}")
    unknown = sorted(set(ids.tolist()) - set(table.image_ids[table.listed].tolist()), key=str)
    if unknown:
        raise InputError(
            f"image_ids must be in the images of {table.path}. Received: {len(unknown)} that are not: "
            f"{listed(map(str, unknown), 60)}"
        )
    return ids, *arrays.values()


def _array(name, values, dtype):
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers: {reason(error)}") from error
