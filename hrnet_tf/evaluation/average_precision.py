"""Average precision of people against annotations by pycocotools: COCO's, and how other benchmarks' differs from it.

Shapes: N people predicted, P people annotated, K keypoints.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hrnet_tf.data.annotations import AnnotationTable, make_table
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.data.omissions import whole_number
from hrnet_tf.errors import InputError, shown
from hrnet_tf.evaluation.similarity import checked_sigmas
from hrnet_tf.files import PathLike, read_json

# The ten numbers, in pycocotools' order.
STATISTICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
_WITHOUT_SIZES = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")
# CrowdPose's authors evaluate images with a crowd index below these numbers as easy and medium, the others as hard.
# Their paper draws the first line at 0.1, their code, which published figures come from, at 0.2.
_EASY, _MEDIUM = 0.2, 0.8


@dataclasses.dataclass(frozen=True)
class Measure:
    """In what a benchmark's average precision differs from COCO's, which is the default.

    Attributes:
        by_category: people are matched within their category, and figures are means over categories.
        by_crowding: figures of easy, medium and hard images in place of sizes, and people count who have a
            `num_keypoints`, which here is of keypoints that are not hidden.
        only_scored: predictions without a keypoint that scores above 0 are none, of each part by itself.
        means: {part: parts} of parts whose figures are the means of other parts'.

    Source: xtcocotools, with which the authors of COCO-WholeBody evaluate, and which MMPose's published figures are of.
    """

    by_category: bool = False
    by_crowding: bool = False
    only_scored: bool = False
    means: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


COCO_MEASURE = Measure()


def read_table(annotation_file: PathLike | dict[str, Any], form: Format = COCO_FORMAT) -> AnnotationTable:
    """The `AnnotationTable` of a path or dict, which may do without file names.

    Raises:
        InputError: it cannot be read, or is refused for any reason.
    """
    if isinstance(annotation_file, dict):
        content, source = annotation_file, "annotation_file"
    else:
        content, source = read_json(annotation_file), f"annotation_file {os.fspath(annotation_file)}"
    images = content.get("images") if isinstance(content, dict) else None
    named = isinstance(images, list) and any("file_name" in image for image in images if isinstance(image, dict))
    table = make_table(content, source, with_files=named, form=form)
    table.check_all_but()
    return table


def average_precision(
    table: AnnotationTable,
    results: list[dict[str, Any]],
    measure: Measure = COCO_MEASURE,
    sigmas: ArrayLike | None = None,
) -> dict[str, float]:
    """Average precision and recall of people that are scored, and of whom duplicates are dropped.

    Every image of the annotations is evaluated: one without predictions counts as missed. Who counts is who is trained
    on (`data.annotations`); the others are ignored, as COCO's without keypoints are.

    Args:
        table: the annotations, of `read_table`.
        results: people in COCO's results format; not changed.
        measure: how it is measured.
        sigmas: K OKS tolerances; those of the annotations by default.

    Returns:
        dict of floats by the names in `STATISTICS`, with the name of the part in front where there are parts; -1 where
        nobody annotated is there to measure on.

    Raises:
        InputError: `sigmas` are not K numbers, or images have no `crowdIndex` where it is needed.
    """
    category, skeleton = table.keypoint_set()
    sigmas = checked_sigmas(skeleton.oks_sigmas if sigmas is None else sigmas, skeleton.num_keypoints)
    crowding = images_by_crowding(table) if measure.by_crowding else {}
    slices = table.form.slices()
    parts = {"whole": slice(None), **slices} if slices else {"": slice(None)}
    people, keypoints = _annotated(table, measure)
    found, predicted = _predicted(results, skeleton.num_keypoints, next(iter(slices.values()), slice(None)))
    if not measure.by_category:  # written with their own, evaluated as one set
        for person in found:
            person["category_id"] = category["id"]
    figures: dict[str, float] = {}
    for part, points in parts.items():
        scored = (predicted[:, points, 2] > 0).any(axis=1) | (not measure.only_scored)
        annotated = _index(table, measure, _with_keypoints(people, keypoints[:, points], measure))
        wanted = [person | {"keypoints": predicted[i, points].ravel()} for i, person in enumerate(found) if scored[i]]
        compared = annotated, _index(table, measure, wanted), sigmas[points]
        numbers = _statistics(*compared)
        if measure.by_crowding:
            numbers = {name: numbers[name] for name in _WITHOUT_SIZES}
            numbers |= {f"AP {kind}": _statistics(*compared, ids)["AP"] for kind, ids in crowding.items()}
        figures |= {f"{part} {name}".strip(): number for name, number in numbers.items()}
    for part, others in measure.means.items():
        for name in STATISTICS:
            measured = [figures[f"{other} {name}"] for other in others if figures[f"{other} {name}"] >= 0]
            figures[f"{part} {name}"] = float(np.mean(measured)) if measured else -1.0
    return figures


def images_by_crowding(table: AnnotationTable) -> dict[str, list[int]]:
    """{"easy", "medium" and "hard": ids of the images}, by the `crowdIndex` of CrowdPose's annotations.

    Raises:
        InputError: an image has no `crowdIndex`.
    """
    groups: dict[str, list[int]] = {"easy": [], "medium": [], "hard": []}
    for i in np.flatnonzero(table.listed).tolist():
        index = table.images[i].get("crowdIndex")
        if isinstance(index, bool) or not isinstance(index, int | float) or not np.isfinite(index):
            raise InputError(
                f"{table.path}: images must have a number 'crowdIndex', as CrowdPose's have. Received: {shown(index)} "
                f"for image {table.image_ids[i]}"
            )
        kind = "easy" if index < _EASY else "medium" if index < _MEDIUM else "hard"
        groups[kind].append(int(table.image_ids[i]))
    return groups


def _annotated(table, measure):
    """What pycocotools compares with, but for keypoints, and these [P,K,3]: of everybody with a box on a listed image.

    People who are left out are ignored, as COCO's without keypoints are: predictions of them are neither right nor
    wrong. pycocotools takes a matched id of 0 for no match, so ids of the file are not used.
    """
    rows = np.flatnonzero((table.image_index >= 0) & np.isfinite(table.boxes).all(axis=1))
    counts = (table.used | table.crowd) & np.isfinite(table.keypoints).all(axis=(1, 2))
    people = [
        {
            "id": i + 1,
            "image_id": int(table.image_ids[table.image_index[row]]),
            "category_id": int(table.person_categories[row]) if measure.by_category else table.category_ids[0],
            "bbox": table.boxes[row].tolist(),
            "area": float(table.areas[row]),
            "iscrowd": int(table.crowd[row]),
            "num_keypoints": whole_number(table.people[row].get("num_keypoints")),
        }
        for i, row in enumerate(rows.tolist())
    ]
    return people, np.where(counts[:, None, None], table.keypoints, 0)[rows]


def _with_keypoints(people, keypoints, measure):
    """The people with the keypoints of a part [P,k,3], and how many of these are labelled."""
    labelled = (keypoints[..., 2] > 0).sum(axis=1).tolist()
    written = [person["num_keypoints"] for person in people]
    if measure.by_crowding:
        labelled = [
            count if number is None else min(count, number) for count, number in zip(labelled, written, strict=True)
        ]
    return [
        person | {"keypoints": points.ravel(), "num_keypoints": count}
        for person, points, count in zip(people, keypoints, labelled, strict=True)
    ]


def _predicted(results, num_keypoints, first_part):
    """Results as pycocotools wants them, but for keypoints, and these [N,K,3].

    The area of a result decides whether it counts among the medium or the large: that around the first part.
    """
    rows = [result["keypoints"] for result in results]
    keypoints = np.array(rows, np.float64).reshape(len(results), num_keypoints, 3)
    areas = np.ptp(keypoints[:, first_part, :2], axis=1).prod(axis=-1).tolist()
    names = ("image_id", "category_id", "score")
    found = [{"id": i + 1, **{name: result[name] for name in names}} for i, result in enumerate(results)]
    return [person | {"area": area} for person, area in zip(found, areas, strict=True)], keypoints


def _index(table, measure, people):
    """pycocotools' index of people on the images of a table."""
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": image_id} for image_id in table.image_ids[table.listed].tolist()],
        "categories": [{"id": number} for number in table.category_ids[: None if measure.by_category else 1]],
        "annotations": people,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
    return dataset


def _statistics(annotated, predicted, sigmas, image_ids=None):
    """pycocotools' ten numbers, on some images alone if these are given; its progress output is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(annotated, predicted, "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATISTICS, map(float, evaluation.stats), strict=True))
