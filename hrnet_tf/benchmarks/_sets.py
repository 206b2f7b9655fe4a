"""Benchmarks of other keypoint sets, whose annotation files are near to COCO's format, and measuring on any of them.

Source of the published results: tables of github.com/open-mmlab/mmpose, with flip test, without DARK and UDP but where
nothing else is published.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf import benchmarks
from hrnet_tf.benchmarks.coco import CocoBenchmark, WithoutBoxes
from hrnet_tf.errors import InputError, listed
from hrnet_tf.evaluation.average_precision import average_precision, read_table
from hrnet_tf.evaluation.coco import checked_predictions, results_of

if TYPE_CHECKING:
    from hrnet_tf.data.annotations import AnnotationTable
    from hrnet_tf.files import PathLike


@dataclasses.dataclass(frozen=True)
class Published:
    """Published figures of networks.

    Attributes:
        split: that they are of.
        detector_boxes: whether people were cropped by a detector's boxes, else by the annotated ones.
        statistics: which figures.
        thousandths: these by (model, (H, W)).
    """

    split: str
    detector_boxes: bool
    statistics: tuple[str, ...]
    thousandths: Mapping[tuple[str, tuple[int, int]], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class KeypointSetBenchmark(CocoBenchmark):
    """A folder with another keypoint set's annotations, as its authors ship them."""

    figures: ClassVar[Published]
    without_boxes: ClassVar[WithoutBoxes] = WithoutBoxes("", (), {})

    def is_annotated(self, split: str) -> bool:
        """Whether there are annotations to measure predictions on: of every split."""
        return True

    def published(
        self, split: str, model_name: str, input_size: tuple[int, int], detector_boxes: bool
    ) -> dict[str, float]:
        """{statistic: fraction} published for a network on this split and boxes, empty where there is none."""
        figures = self.figures
        if (split.removesuffix("2017"), detector_boxes) != (figures.split, figures.detector_boxes):
            return {}
        values = figures.thousandths.get((model_name, (input_size[0], input_size[1])), ())
        return {name: value / 1000 for name, value in zip(figures.statistics, values, strict=False)}


def coco_like(name: str) -> type[CocoBenchmark]:
    """The class of a benchmark whose annotations are in COCO's format, or near to it: all but MPII.

    Raises:
        InputError: there is no such benchmark of the name.
    """
    benchmark = benchmarks.benchmark_class(name)
    if not issubclass(benchmark, CocoBenchmark):
        raise InputError(f"benchmark {name} has no annotations in COCO's format, which this needs")
    return benchmark


def evaluate(
    name: str,
    annotation_file: "PathLike | dict[str, Any]",
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    scores: ArrayLike,
    categories: ArrayLike | None = None,
) -> dict[str, float]:
    """A benchmark's average precision and recall of people that are scored, and of whom duplicates are dropped.

    Args:
        name: of `NAMES`, of those that are measured by average precision.
        annotation_file: path of the annotations as their authors ship them, or the dict loaded from it.
        image_ids: [N] image of each predicted person, in any order.
        keypoints: [N,K,3] x, y in pixels of the image, and score.
        scores: [N] of the people.
        categories: [N] category of each, where the benchmark is measured by category (AP-10K's animals); by default
            that of the annotations of the image.

    Returns:
        dict of fractions by the names of COCO's statistics, with the name of a part in front where there are parts
        ("whole AP", "face AP"); -1 where nobody annotated is there to measure on.

    Raises:
        InputError: there is no such benchmark, the annotations cannot be used, lengths differ, an image or category is
            not in the annotations, or a number is not finite.
    """
    benchmark = coco_like(name)
    table = read_table(annotation_file, benchmark.form)
    ids, points, ranks = checked_predictions(table, image_ids, keypoints, scores=scores)
    found: ArrayLike = table.category_ids[0]
    if benchmark.measure.by_category:
        found = _of_images(table, ids) if categories is None else _checked(table, categories, len(ids))
    return average_precision(table, results_of(ids, found, points, ranks), benchmark.measure)


def _of_images(table: "AnnotationTable", image_ids: np.ndarray) -> np.ndarray:
    """[N] the categories of everybody annotated in images [N]."""
    listed_people = table.image_index >= 0
    images = table.image_ids[table.image_index[listed_people]].tolist()
    of_image: dict[int, set[int]] = {}
    for image, category in zip(images, table.person_categories[listed_people].tolist(), strict=True):
        of_image.setdefault(image, set()).add(category)
    found = [of_image.get(image, set()) for image in image_ids.tolist()]
    several = [i for i, categories in enumerate(found) if len(categories) != 1]
    if several:
        raise InputError(
            f"categories must be given, as {table.path} has several categories, or none, in image "
            f"{image_ids[several[0]]}: {sorted(found[several[0]])}"
        )
    return np.array([min(categories) for categories in found], np.int64)


def _checked(table, categories, count):
    categories = np.asarray(categories)
    if categories.shape != (count,):
        raise InputError(
            f"categories must have shape ({count},), one for each of image_ids. Received: {categories.shape}"
        )
    unknown = sorted(set(categories.tolist()) - set(table.category_ids), key=str)
    if unknown:
        raise InputError(f"categories must be those of {table.path}. Received: {listed(map(str, unknown), 60)}")
    return categories
