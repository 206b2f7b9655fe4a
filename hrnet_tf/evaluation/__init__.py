"""Evaluation of predicted keypoints: object keypoint similarity, its suppression of duplicates, COCO's AP, PCKh."""

from hrnet_tf.evaluation.coco import evaluate_coco
from hrnet_tf.evaluation.oks import oks, oks_nms, rescore, soft_oks_nms
from hrnet_tf.evaluation.pckh import evaluate_pckh

__all__ = ["evaluate_coco", "evaluate_pckh", "oks", "oks_nms", "rescore", "soft_oks_nms"]
