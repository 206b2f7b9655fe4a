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

from hrnet_tf import skeletons
from hrnet_tf.errors import InputError, shown
from hrnet_tf.evaluation.similarity import REFERENCE_SUPPRESSION, SUPPRESSIONS, Suppression, checked_sigmas, rescore
from hrnet_tf.files import MAX_AREA, PathLike, json_numbers, read_json, replacing

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
) -> dict[str, float]:
    """Average precision and recall of predicted people, as the reference implementation computes them.

    Every image of the annotation file is evaluated: one without predictions counts as missed. The
    keypoint set is that of the first category that has keypoints, so custom sets need no code.

    Args:
        annotation_file: path of a COCO-format keypoint annotation file, or the dict loaded from one.
        image_ids: [N] image of each predicted person, in any order.
        keypoints: [N, K, 3] x, y in pixels of the image, and score.
        box_scores: [N] score of the box each person was predicted in; 1 for annotated boxes.
        areas: [N] square pixels of those boxes, with the crop's padding.
        sigmas: K OKS tolerances; those of the annotation file's category by default.
        results_file: where to write the people evaluated, in COCO's results format.
        suppression: a `Suppression`.

    Returns:
        dict of ten floats by the names in `STATISTICS`; -1 where no annotated person has the size.

    Raises:
        InputError: the annotation file cannot be used or holds nobody with keypoints, lengths
            differ, an image is not in the file, a number is not finite, an area is negative, or
            `results_file` cannot be written.

    Source: leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/coco.py; pycocotools
    """
    annotations, source = _load_annotations(annotation_file)
    category = skeletons.keypoint_category(annotations["categories"], source)
    skeleton = skeletons.skeleton_from_category(category, source)
    sigmas = checked_sigmas(skeleton.oks_sigmas if sigmas is None else sigmas, skeleton.num_keypoints)
    ground_truth = _ground_truth(annotations, category, skeleton.num_keypoints, source)
    image_ids, keypoints, box_scores, areas = _checked_predictions(
        image_ids, keypoints, box_scores, areas, skeleton.num_keypoints
    )
    _check_images(image_ids, annotations, source)
    results = keypoint_results(image_ids, keypoints, box_scores, areas, category["id"], sigmas, suppression)
    if results_file is not None:
        save_results(results_file, results)
    return _statistics(ground_truth, results, sigmas)


def save_results(path: PathLike, results: list[dict[str, Any]]) -> None:
    """Writes people in COCO's results format, as `keypoint_results` gives them, to a JSON file."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(results), encoding="utf-8")


def keypoint_results(
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    box_scores: ArrayLike,
    areas: ArrayLike,
    category_id: int = 1,
    sigmas: ArrayLike | None = None,
    suppression: Suppression = REFERENCE_SUPPRESSION,
) -> list[dict[str, Any]]:
    """People in COCO's results format, rescored and without duplicates, by image and best first.

    Args:
        image_ids, keypoints, box_scores, areas, suppression: as for `evaluate_coco`.
        category_id: the category to give all of them; COCO's person by default.
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
    columns = (image_ids[kept].tolist(), flat_keypoints[kept].tolist(), scores[kept].tolist())
    return [
        {"image_id": image_id, "category_id": category_id, "keypoints": flat, "score": score}
        for image_id, flat, score in zip(*columns, strict=True)
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


def _load_annotations(annotation_file):
    """The annotations as a dict, and what to call them in errors."""
    if isinstance(annotation_file, dict):
        annotations, source = annotation_file, "annotation_file"
    else:
        source = f"annotation_file {os.fspath(annotation_file)}"
        annotations = read_json(annotation_file)
    names = ("images", "annotations", "categories")
    missing = [name for name in names if not isinstance(annotations, dict) or name not in annotations]
    if missing:
        raise InputError(
            f"{source}: must hold images, annotations and categories, as COCO's keypoint files do. "
            f"Received: no {', '.join(missing)}"
        )
    for name in names:
        if not isinstance(annotations[name], list) or not all(isinstance(item, dict) for item in annotations[name]):
            raise InputError(f"{source}: {name} must be a list of objects. Received: {shown(annotations[name])}")
    for image in annotations["images"]:
        if not isinstance(image.get("id"), int):
            raise InputError(f"{source}: an image must have an integer 'id'. Received: {shown(image)}")
    return annotations, source


def _ground_truth(annotations, category, num_keypoints, source):
    """The dataset pycocotools evaluates against: copies, since it writes into them.

    Files of other tools leave out what COCO's have, so that is filled in: `iscrowd` 0, keypoints
    none, `num_keypoints` the labelled ones.
    """
    people = []
    for annotation in annotations["annotations"]:
        if annotation.get("category_id") != category["id"]:
            continue
        name = f"{source}: annotation {shown(annotation.get('id'))}"
        missing = [key for key in ("image_id", "bbox") if key not in annotation]
        if missing:
            raise InputError(f"{name} must have image_id and bbox. Received: no {', '.join(missing)}")
        if not isinstance(annotation["image_id"], int):
            raise InputError(f"{name} must have an integer image_id. Received: {shown(annotation['image_id'])}")
        try:
            person = _person(annotation, num_keypoints)
        except ValueError as error:
            raise InputError(
                f"{name} is malformed: {error}. A bbox has 4 numbers, keypoints 3 numbers for each of {num_keypoints}"
            ) from error
        # pycocotools takes a matched id of 0 for no match, so ids of the file are not used.
        people.append(person | {"id": len(people) + 1, "category_id": category["id"]})
    if not any(person["num_keypoints"] and not person["iscrowd"] for person in people):
        raise InputError(
            f"{source}: must hold a person with labelled keypoints in category {category.get('name')!r}. "
            f"Received: {len(people)} people, none with keypoints"
        )
    return {"images": annotations["images"], "annotations": people, "categories": [category]}


def _person(annotation, num_keypoints):
    """The fields of an annotation that pycocotools reads; ValueError where one holds no usable numbers."""
    box = json_numbers(annotation["bbox"], 4)
    keypoints = annotation.get("keypoints") or [0] * (3 * num_keypoints)
    visible = json_numbers(keypoints, 3 * num_keypoints)[2::3] > 0
    # Of hand-made sets without segments; a segment's area is some half of its box's.
    (area,) = json_numbers([annotation.get("area", box[2] * box[3])], 1, MAX_AREA)
    (num_labelled,) = json_numbers([annotation.get("num_keypoints", visible.sum())], 1)
    return {
        "image_id": annotation["image_id"],
        "bbox": annotation["bbox"],
        "area": max(0.0, float(area)),
        "keypoints": keypoints,
        "num_keypoints": int(num_labelled),
        "iscrowd": int(bool(annotation.get("iscrowd", 0))),
    }


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


def _check_images(image_ids, annotations, source):
    unknown = sorted(set(image_ids.tolist()) - {image["id"] for image in annotations["images"]})
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise InputError(f"image_ids must be in the images of {source}. Received: {len(unknown)} that are not: {shown}")
