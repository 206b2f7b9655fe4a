"""OCHuman: people who hide one another, with COCO's 17 keypoints, in the COCO-format files that its authors ship.

The published figures are of networks trained on COCO.

Source: github.com/liruilong940607/OCHumanApi
"""

import dataclasses
from typing import ClassVar

from hrnet_tf.benchmarks._sets import KeypointSetBenchmark, Published
from hrnet_tf.data.formats import Format
from hrnet_tf.evaluation.average_precision import Measure


@dataclasses.dataclass(frozen=True)
class OcHumanBenchmark(KeypointSetBenchmark):
    """A folder with `images/` and OCHuman's annotations."""

    form: ClassVar[Format] = Format(
        keypoint_set="ochuman",
        annotations=(
            "annotations/ochuman_coco_format_{split}_range_0.00_1.00.json",
            "ochuman_coco_format_{split}_range_0.00_1.00.json",
        ),
    )
    measure: ClassVar[Measure] = Measure(only_scored=True)
    figures: ClassVar[Published] = Published(
        "test",
        detector_boxes=False,
        statistics=("AP", "AP50", "AP75", "AR", "AR50"),
        thousandths={
            ("pose_resnet50", (256, 192)): (546, 726, 593, 592, 755),
            ("pose_resnet50", (384, 288)): (539, 723, 574, 588, 756),
            ("pose_resnet101", (256, 192)): (559, 724, 606, 605, 751),
            ("pose_resnet101", (384, 288)): (571, 715, 615, 615, 748),
            ("pose_resnet152", (256, 192)): (570, 725, 617, 616, 754),
            ("pose_resnet152", (384, 288)): (582, 723, 627, 627, 752),
            ("hrnet_w32", (256, 192)): (591, 748, 641, 631, 775),
            ("hrnet_w32", (384, 288)): (606, 748, 650, 647, 776),
            ("hrnet_w48", (256, 192)): (611, 752, 663, 648, 778),
            ("hrnet_w48", (384, 288)): (616, 749, 663, 653, 773),
        },
    )


BENCHMARK = OcHumanBenchmark
