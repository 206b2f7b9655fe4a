"""What all benchmarks have, and what is done with any of them."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from hrnet_tf.data.records import PersonRecords, check_images_exist
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.pck import keypoint_pck
from hrnet_tf.evaluation.similarity import Suppression

if TYPE_CHECKING:
    from hrnet_tf.files import PathLike


class Benchmark(Protocol):
    """What benchmarks have in common; `CocoBenchmark` says what the methods do."""

    @property
    def data_dir(self) -> str: ...

    @property
    def main_metric(self) -> str: ...

    def is_annotated(self, split: str) -> bool: ...

    def load_split(self, split: str) -> PersonRecords: ...

    def load_detections(self, path: "PathLike", annotated: PersonRecords, threshold: float = 0.0) -> PersonRecords: ...

    def check_measurable(self, split: str, annotated: PersonRecords) -> None: ...

    def evaluate(
        self,
        split: str,
        keypoints: np.ndarray,
        people: PersonRecords,
        input_size: tuple[int, int],
        suppression: Suppression = ...,
        results_file: "PathLike | None" = None,
    ) -> dict[str, float]: ...

    def published(
        self, split: str, model_name: str, input_size: tuple[int, int], detector_boxes: bool
    ) -> dict[str, float]: ...


def load_people(
    benchmark: Benchmark, split: str, detections: "PathLike | None" = None, box_threshold: float = 0.0
) -> tuple[PersonRecords, PersonRecords]:
    """The people of a split: those annotated, and those to predict (the same, or the detector's boxes).

    Args:
        benchmark: of `open_benchmark`.
        split: name of the split.
        detections: a COCO results file of boxes, or None for the annotated ones.
        box_threshold: least score of a detector's box.

    Returns:
        two `PersonRecords`.

    Raises:
        InputError: a file is absent or not in its format, images are absent, or nobody is there to predict.
    """
    annotated = benchmark.load_split(split)
    people = benchmark.load_detections(detections, annotated, box_threshold) if detections else annotated
    if not len(people):
        raise InputError(f"split {split} has no annotated people: give --detections, a COCO results file of boxes")
    check_images_exist(people)
    return annotated, people


def pck_by_keypoint(
    keypoints: np.ndarray, people: PersonRecords, annotated: PersonRecords, input_size: tuple[int, int]
) -> dict[str, float]:
    """{keypoint name: share within 5 % of the crop}, NaN where nobody has it annotated; see `keypoint_pck`.

    Args:
        keypoints: [N,K,3] in image pixels, of `people`.
        people: `PersonRecords` that were predicted.
        annotated: `PersonRecords` of the same split.
        input_size: (H, W) of the crops.
    """
    _, sizes = annotated.crops(input_size)
    shares = keypoint_pck(
        annotated.image_index, annotated.keypoints, annotated.visible, sizes, people.image_index, keypoints
    )
    return dict(zip(annotated.skeleton.names, shares.tolist(), strict=True))
