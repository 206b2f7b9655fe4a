"""Evaluation of predicted keypoints: object keypoint similarity, its suppression of duplicates, COCO's AP."""

from hrnet_tf.evaluation.coco import evaluate_coco
from hrnet_tf.evaluation.oks import oks, oks_nms, rescore, soft_oks_nms

__all__ = ["evaluate_coco", "oks", "oks_nms", "rescore", "soft_oks_nms"]
