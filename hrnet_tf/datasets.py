"""The two benchmarks, COCO and MPII, as the tools use them: reading a split and measuring predictions on it.

Data of one's own in COCO's format is a `CocoDataset` too.
"""

import dataclasses

from hrnet_tf.data import coco, mpii
from hrnet_tf.data.records import check_images_exist
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation import evaluate_coco, evaluate_pckh
from hrnet_tf.evaluation.coco import REFERENCE_SUPPRESSION, keypoint_results, save_results
from hrnet_tf.evaluation.pck import keypoint_pck
from hrnet_tf.evaluation.published import published_coco, published_pckh


@dataclasses.dataclass(frozen=True)
class CocoDataset:
    """A folder with COCO keypoint annotations, of COCO or of one's own.

    Attributes:
        data_dir: the folder.
        main_metric: what decides which checkpoint is best.
    """

    data_dir: str
    main_metric = "AP"

    def is_annotated(self, split):
        """Whether there are annotations to measure predictions on; else they go to COCO's server."""
        return not coco.is_unannotated(split)

    def load_split(self, split):
        """`PersonRecords` of a split's annotated people; of a test split of COCO, its images without people."""
        if not self.is_annotated(split):
            return coco.load_image_info(self.data_dir, split)
        return coco.load_split(self.data_dir, split)

    def load_detections(self, path, annotated, threshold=0.0):
        """`PersonRecords` of a detector's boxes with at least the score `threshold`, on the images of `annotated`."""
        people = coco.load_detections(path, annotated)
        kept = people.box_scores >= threshold
        if not kept.any():
            raise InputError(f"{path}: no box scores {threshold} or more. The best has {max(people.box_scores)}")
        return people.take(kept)

    def evaluate(self, split, keypoints, people, input_size, suppression=REFERENCE_SUPPRESSION, results_file=None):
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
        sigmas = people.skeleton.oks_sigmas
        if not self.is_annotated(split):
            results = keypoint_results(*arguments, sigmas=sigmas, suppression=suppression)
            save_results(results_file, results)
            return {}
        path = coco.annotation_path(self.data_dir, split)
        return evaluate_coco(path, *arguments, sigmas, results_file, suppression)

    def published(self, split, model_name, input_size, detector_boxes):
        """{statistic: fraction} published for a network on this split and boxes, empty where there is none."""
        return published_coco(model_name, input_size, detector_boxes) if split == "val2017" else {}


@dataclasses.dataclass(frozen=True)
class MpiiDataset:
    """A folder with MPII Human Pose: `images/` and the annotations.

    Attributes:
        data_dir: the folder.
        main_metric: what decides which checkpoint is best.
    """

    data_dir: str
    main_metric = "Mean"

    def is_annotated(self, split):
        """Whether there are annotations to measure predictions on; else they go to MPII's server."""
        return split != mpii.TEST_SPLIT

    def load_split(self, split):
        """`PersonRecords` of a split's people."""
        return mpii.load_split(self.data_dir, split)

    def load_detections(self, path, annotated, threshold=0.0):
        raise InputError(f"detector boxes are for COCO: MPII gives everybody's position. Received: --detections={path}")

    def evaluate(self, split, keypoints, people, input_size, suppression=None, results_file=None):
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

    def published(self, split, model_name, input_size, detector_boxes):
        """{group: percent} published for a network on this split, empty where there is none."""
        return published_pckh(model_name, input_size) if split == "valid" else {}


DATASETS = {"coco": CocoDataset, "mpii": MpiiDataset}


def load_people(dataset, split, detections=None, box_threshold=0.0):
    """The people of a split: those annotated, and those to predict (the same, or the detector's boxes).

    Args:
        dataset: one of the above.
        split: name of the split.
        detections: a COCO results file of boxes, or None for the annotated ones.
        box_threshold: least score of a detector's box.

    Returns:
        two `PersonRecords`.

    Raises:
        InputError: a file is absent or not in its format, images are absent, or nobody is there to predict.
    """
    annotated = dataset.load_split(split)
    people = dataset.load_detections(detections, annotated, box_threshold) if detections else annotated
    if not len(people):
        raise InputError(f"split {split} has no annotated people: give --detections, a COCO results file of boxes")
    check_images_exist(people)
    return annotated, people


def pck_by_keypoint(keypoints, people, annotated, input_size):
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
