"""MPII Human Pose: reading a split, measuring predictions, published results.

Source of the published results: tables of github.com/leoxiaobin/deep-high-resolution-net.pytorch, with flip test.
"""

import dataclasses
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from hrnet_tf.data import mpii
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation import evaluate_pckh
from hrnet_tf.evaluation.similarity import Suppression

if TYPE_CHECKING:
    from hrnet_tf.files import PathLike

# MPII validation set, PCKh in percent: Head, Shoulder, Elbow, Wrist, Hip, Knee, Ankle, Mean, Mean@0.1
_PCKH = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean@0.1")
_MPII_VAL: dict[tuple[str, tuple[int, ...]], tuple[float, ...]] = {
    ("pose_resnet50", (256, 256)): (96.4, 95.3, 89.0, 83.2, 88.4, 84.0, 79.6, 88.5, 34.0),
    ("pose_resnet101", (256, 256)): (96.9, 95.9, 89.5, 84.4, 88.4, 84.5, 80.7, 89.1, 34.0),
    ("pose_resnet152", (256, 256)): (97.0, 95.9, 90.0, 85.0, 89.2, 85.3, 81.3, 89.6, 35.0),
    ("hrnet_w32", (256, 256)): (97.1, 95.9, 90.3, 86.4, 89.1, 87.1, 83.3, 90.3, 37.7),
}


@dataclasses.dataclass(frozen=True)
class MpiiBenchmark:
    """A folder with MPII Human Pose: `images/` and the annotations.

    Attributes:
        data_dir: the folder.
        main_metric: what decides which checkpoint is best.
    """

    data_dir: str
    main_metric = "Mean"

    def is_annotated(self, split: str) -> bool:
        """Whether there are annotations to measure predictions on; else they go to MPII's server."""
        return split != mpii.TEST_SPLIT

    def load_split(self, split: str) -> PersonRecords:
        """`PersonRecords` of a split's people."""
        return mpii.load_split(self.data_dir, split)

    def load_detections(self, path: "PathLike", annotated: PersonRecords, threshold: float = 0.0) -> NoReturn:
        raise InputError(f"detector boxes are for COCO: MPII gives everybody's position. Received: --detections={path}")

    def check_measurable(self, split: str, annotated: PersonRecords) -> None:
        """Raises InputError where the ground truth of a split is absent, malformed or not of these people."""
        if self.is_annotated(split):
            evaluate_pckh(mpii.ground_truth_path(self.data_dir, split), annotated.keypoints)

    def evaluate(
        self,
        split: str,
        keypoints: np.ndarray,
        people: PersonRecords,
        input_size: tuple[int, int],
        suppression: Suppression | None = None,
        results_file: "PathLike | None" = None,
    ) -> dict[str, float]:
        """{group: percent} of predictions for everybody in the split, in order; nothing for the test split.

        Args:
            split: name of the split.
            keypoints: [N,16,3] x and y in image pixels and score.
            people, input_size, suppression: not used; MPII's people are given.
            results_file: where to write `pred.mat` for the test server, if anywhere.
        """
        if results_file is not None:
            mpii.save_predictions(results_file, keypoints)
        if not self.is_annotated(split):
            return {}
        return evaluate_pckh(mpii.ground_truth_path(self.data_dir, split), keypoints[..., :2])

    def published(
        self, split: str, model_name: str, input_size: tuple[int, int], detector_boxes: bool
    ) -> dict[str, float]:
        """{group: percent} published for a network on this split, empty where there is none."""
        return published_pckh(model_name, input_size) if split == "valid" else {}


def published_pckh(model_name: str, input_size: tuple[int, int]) -> dict[str, float]:
    """{group: percent} published for a network on MPII's validation set, empty where there is none."""
    return dict(zip(_PCKH, _MPII_VAL.get((model_name, tuple(input_size)), ()), strict=False))


BENCHMARK = MpiiBenchmark
