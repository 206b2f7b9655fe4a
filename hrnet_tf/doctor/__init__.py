"""Checks of a keypoint dataset before training: what would be refused, left out, or give an AP of 0 or -1."""

from hrnet_tf.doctor.check import check_content, check_split
from hrnet_tf.doctor.findings import Finding, Report
from hrnet_tf.doctor.picture import draw_worst

__all__ = ["Finding", "Report", "check_content", "check_split", "draw_worst"]
