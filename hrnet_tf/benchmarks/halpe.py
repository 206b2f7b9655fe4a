"""Halpe, 136 keypoints: 26 of the body with the feet, face and hands.

The published figures are of a network with DARK's encoding: there are no others.

Source: github.com/Fang-Haoshu/Halpe-FullBody
"""

import dataclasses
from typing import ClassVar

from hrnet_tf.benchmarks._sets import KeypointSetBenchmark, Published
from hrnet_tf.data.formats import Format
from hrnet_tf.evaluation.average_precision import Measure


@dataclasses.dataclass(frozen=True)
class HalpeBenchmark(KeypointSetBenchmark):
    """A folder with Halpe's `annotations/`, the images of HICO-DET to train on and COCO's val2017."""

    form: ClassVar[Format] = Format(
        keypoint_set="halpe",
        annotations=("annotations/halpe_{split}_v1.json", "halpe_{split}_v1.json"),
        images=("hico_20160224_det/images/{split}2015", "images/{split}2015", "images/{split}2017", "{split}2017"),
    )
    measure: ClassVar[Measure] = Measure(only_scored=True)
    figures: ClassVar[Published] = Published(
        "val",
        detector_boxes=True,
        statistics=("AP", "AR"),
        thousandths={("hrnet_w48", (384, 288)): (527, 620)},
    )


BENCHMARK = HalpeBenchmark
