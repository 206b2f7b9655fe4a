"""Evaluation of predicted keypoints: object keypoint similarity, its suppression of duplicates, COCO's AP, PCKh."""

from typing import TYPE_CHECKING

from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from hrnet_tf.evaluation.coco import evaluate_coco
    from hrnet_tf.evaluation.pckh import evaluate_pckh
    from hrnet_tf.evaluation.similarity import oks, oks_nms, rescore, soft_oks_nms

__all__ = [
    "evaluate_coco",
    "evaluate_pckh",
    "oks",
    "oks_nms",
    "rescore",
    "soft_oks_nms",
]
_HOMES = {
    "coco": ("evaluate_coco",),
    "similarity": ("oks", "oks_nms", "rescore", "soft_oks_nms"),
    "pckh": ("evaluate_pckh",),
}
__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
