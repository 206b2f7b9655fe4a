"""COCO keypoints, and data of one's own in its format: reading a split, measuring predictions, published results.

Source of the published results: tables of github.com/leoxiaobin/deep-high-resolution-net.pytorch, and without boxes of
github.com/HRNet/HigherHRNet-Human-Pose-Estimation, with flip test.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hrnet_tf.data import coco
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.data.images import ImageRecords
from hrnet_tf.data.layouts import find_split
from hrnet_tf.data.omissions import Omission
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation import evaluate_coco
from hrnet_tf.evaluation.average_precision import COCO_MEASURE, STATISTICS, Measure
from hrnet_tf.evaluation.coco import keypoint_results, save_results
from hrnet_tf.evaluation.similarity import REFERENCE_SUPPRESSION, Suppression

if TYPE_CHECKING:
    from hrnet_tf.files import PathLike

# COCO val2017, boxes of a detector with person AP 56.4: (model, input size) -> `STATISTICS`, in thousandths
_COCO_VAL_DETECTOR: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {
    ("pose_resnet50", (256, 192)): (704, 886, 783, 671, 772, 763, 929, 834, 721, 824),
    ("pose_resnet50", (384, 288)): (722, 893, 789, 681, 797, 776, 932, 838, 728, 846),
    ("pose_resnet101", (256, 192)): (714, 893, 793, 681, 781, 771, 934, 840, 730, 832),
    ("pose_resnet101", (384, 288)): (736, 896, 803, 699, 811, 791, 936, 851, 745, 858),
    ("pose_resnet152", (256, 192)): (720, 893, 798, 687, 789, 778, 934, 846, 736, 839),
    ("pose_resnet152", (384, 288)): (743, 896, 811, 705, 816, 797, 937, 858, 751, 863),
    ("hrnet_w32", (256, 192)): (744, 905, 819, 708, 810, 798, 942, 865, 757, 858),
    ("hrnet_w32", (384, 288)): (758, 906, 825, 720, 827, 809, 943, 869, 767, 871),
    ("hrnet_w48", (256, 192)): (751, 906, 822, 715, 818, 804, 943, 867, 762, 864),
    ("hrnet_w48", (384, 288)): (763, 908, 829, 723, 834, 812, 942, 871, 767, 876),
}
# COCO val2017, whole images: (model, input size, scales) -> AP, AP50, AP75, APm, APl; of several scales AP alone.
_SCALES = (0.5, 1.0, 2.0)
_COCO_VAL_WITHOUT_BOXES: dict[tuple[str, tuple[int, ...], tuple[float, ...]], tuple[int, ...]] = {
    ("higher_hrnet_w32", (512, 512), (1.0,)): (671, 862, 730, 615, 761),
    ("higher_hrnet_w32", (640, 640), (1.0,)): (685, 871, 747, 643, 753),
    ("higher_hrnet_w48", (640, 640), (1.0,)): (699, 872, 761, 654, 764),
    ("higher_hrnet_w32", (512, 512), _SCALES): (699,),
    ("higher_hrnet_w32", (640, 640), _SCALES): (706,),
    ("higher_hrnet_w48", (640, 640), _SCALES): (721,),
}
# COCO val2017, annotated boxes: AP alone.
_COCO_VAL_ANNOTATED: dict[tuple[str, tuple[int, ...]], int] = {("hrnet_w32", (256, 192)): 765}


@dataclasses.dataclass(frozen=True)
class WithoutBoxes:
    """Published figures of networks of whole images.

    Attributes:
        split: that they are of.
        statistics: which figures.
        thousandths: these by (model, (H, W), scales).
    """

    split: str
    statistics: tuple[str, ...]
    thousandths: Mapping[tuple[str, tuple[int, ...], tuple[float, ...]], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class CocoBenchmark:
    """A folder with COCO keypoint annotations, of COCO or of one's own.

    Attributes:
        data_dir: the folder; may be None where all splits are in `files`.
        files: {split: (annotation file, folder of images or None)} of splits that are somewhere else.
        main_metric: what decides which checkpoint is best.
        form: the form of the annotation files.
        measure: how predictions are measured.
    """

    data_dir: str | None
    files: Mapping[str, tuple[str | None, str | None]] = dataclasses.field(default_factory=dict)
    main_metric: ClassVar[str] = "AP"
    form: ClassVar[Format] = COCO_FORMAT
    measure: ClassVar[Measure] = COCO_MEASURE
    without_boxes: ClassVar[WithoutBoxes] = WithoutBoxes("val2017", STATISTICS[:5], _COCO_VAL_WITHOUT_BOXES)

    def is_annotated(self, split: str) -> bool:
        """Whether there are annotations to measure predictions on; else they go to COCO's server."""
        return split in self.files or not coco.is_unannotated(split)

    def load_split(self, split: str) -> PersonRecords:
        """`PersonRecords` of a split's annotated people; of a test split of COCO, its images without people."""
        if not self.is_annotated(split):
            return coco.load_image_info(self.data_dir or "", split)
        return coco.load_split(self.data_dir, split, *self._places(split), self.form)

    def load_images(self, split: str) -> ImageRecords:
        """`ImageRecords` of a split, for networks of whole images."""
        return coco.load_images(self.data_dir, split, *self._places(split), self.form)

    def load_detections(self, path: "PathLike", annotated: PersonRecords, threshold: float = 0.0) -> PersonRecords:
        """`PersonRecords` of a detector's boxes with at least the score `threshold`, on the images of `annotated`."""
        people = coco.load_detections(path, annotated)
        kept = people.box_scores >= threshold
        if not kept.any():
            raise InputError(f"{path}: no box scores {threshold} or more. The best has {max(people.box_scores)}")
        low = len(kept) - int(kept.sum())
        said = (str(Omission("left out", f"boxes that score less than {threshold}", low, len(kept))),) if low else ()
        return dataclasses.replace(people.take(kept), omissions=people.omissions + said)

    def check_measurable(self, split: str, annotated: PersonRecords) -> None:
        """Raises InputError where predictions on a split could not be measured: whoever is read here can be."""

    def evaluate(
        self,
        split: str,
        keypoints: np.ndarray,
        people: PersonRecords,
        input_size: tuple[int, int],
        suppression: Suppression = REFERENCE_SUPPRESSION,
        results_file: "PathLike | None" = None,
    ) -> dict[str, float]:
        """{statistic: fraction} of predictions; for a test split of COCO nothing, as only its server has the truth.

        Args:
            split: name of the split.
            keypoints: [N,K,3] x and y in image pixels and score.
            people: `PersonRecords` of these N people.
            input_size: (H, W) of the crops.
            suppression: how people are scored and duplicates dropped.
            results_file: where to write the people that remain, in COCO's results format, if anywhere.
        """
        _, size = people.crops(input_size)
        arguments = (people.image_ids[people.image_index], keypoints, people.box_scores, size.prod(-1))
        sigmas, categories = people.skeleton.oks_sigmas, people.categories
        if not self.is_annotated(split):
            category = people.category_ids[0] if categories is None else categories
            results = keypoint_results(*arguments, category, sigmas, suppression)
            if results_file is not None:
                save_results(results_file, results)
            return {}
        path = self.annotation_file(split)
        return evaluate_coco(path, *arguments, sigmas, results_file, suppression, categories, self.form, self.measure)

    def published(
        self, split: str, model_name: str, input_size: tuple[int, int], detector_boxes: bool
    ) -> dict[str, float]:
        """{statistic: fraction} published for a network on this split and boxes, empty where there is none."""
        return published_coco(model_name, input_size, detector_boxes) if split == "val2017" else {}

    def published_without_boxes(
        self, split: str, model_name: str, input_size: tuple[int, int], scales: Sequence[float] = (1.0,)
    ) -> dict[str, float]:
        """{statistic: fraction} published for a network of whole images on this split, empty where there is none.

        Args:
            split: name of the split.
            model_name: as `build_model` takes it.
            input_size: (H, W) of its training images.
            scales: that images were looked at in.
        """
        figures = self.without_boxes
        of_split = figures.thousandths if split in (figures.split, figures.split.removesuffix("2017")) else {}
        values = of_split.get((model_name, tuple(input_size), tuple(sorted(scales))), ())
        return {name: value / 1000 for name, value in zip(figures.statistics, values, strict=False)}

    def annotation_file(self, split: str) -> str:
        """Path of a split's annotations."""
        return find_split(self.data_dir, split, *self._places(split), self.form).annotations

    def _places(self, split: str) -> tuple[str | None, str | None]:
        """Annotation file and folder of images of a split, None where they are in `data_dir`."""
        return self.files.get(split, (None, None))


def published_coco(model_name: str, input_size: tuple[int, int], detector_boxes: bool) -> dict[str, float]:
    """{statistic: fraction} published for a network on COCO val2017, empty where there is none.

    Args:
        model_name: as `build_model` takes it.
        input_size: (H, W).
        detector_boxes: people cropped by the detector's boxes, as in the papers' tables, rather
            than by the annotated ones.
    """
    key = (model_name, tuple(input_size))
    if detector_boxes:
        values = _COCO_VAL_DETECTOR.get(key, ())
        return {name: value / 1000 for name, value in zip(STATISTICS, values, strict=False)}
    return {"AP": _COCO_VAL_ANNOTATED[key] / 1000} if key in _COCO_VAL_ANNOTATED else {}


BENCHMARK = CocoBenchmark
