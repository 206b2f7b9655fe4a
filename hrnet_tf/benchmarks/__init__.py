"""The benchmarks: of each its people, its measure and its published results, a file each.

Another one is another file with such a class, named in `BENCHMARKS`.
"""

from hrnet_tf.benchmarks.coco import CocoBenchmark
from hrnet_tf.benchmarks.mpii import MpiiBenchmark
from hrnet_tf.data.records import check_images_exist
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.pck import keypoint_pck

BENCHMARKS = {"coco": CocoBenchmark, "mpii": MpiiBenchmark}


def load_people(benchmark, split, detections=None, box_threshold=0.0):
    """The people of a split: those annotated, and those to predict (the same, or the detector's boxes).

    Args:
        benchmark: one of `BENCHMARKS`, of a folder.
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
