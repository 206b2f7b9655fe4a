"""AP-10K, 17 keypoints of mammals: animals are compared with those of their species, figures are means over species.

Source: github.com/AlexTheBad/AP-10K
"""

import dataclasses
from typing import ClassVar

from hrnet_tf.benchmarks._sets import KeypointSetBenchmark, Published
from hrnet_tf.data.formats import Format
from hrnet_tf.evaluation.average_precision import Measure


@dataclasses.dataclass(frozen=True)
class Ap10kBenchmark(KeypointSetBenchmark):
    """AP-10K's folder: `annotations/` and `data/`; its splits are such as "val-split1"."""

    form: ClassVar[Format] = Format(
        keypoint_set="ap10k", annotations=("annotations/ap10k-{split}.json",), images=("data",)
    )
    measure: ClassVar[Measure] = Measure(by_category=True, only_scored=True)
    figures: ClassVar[Published] = Published(
        "val-split1",
        detector_boxes=False,
        statistics=("AP", "AP50", "AP75", "APm", "APl"),
        thousandths={
            ("pose_resnet50", (256, 256)): (680, 926, 738, 552, 687),
            ("pose_resnet101", (256, 256)): (681, 921, 751, 545, 690),
            ("hrnet_w32", (256, 256)): (722, 935, 789, 557, 729),
            ("hrnet_w48", (256, 256)): (728, 936, 802, 577, 735),
        },
    )


BENCHMARK = Ap10kBenchmark
