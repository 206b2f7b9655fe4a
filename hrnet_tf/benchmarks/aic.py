"""AI Challenger, 14 keypoints, in the COCO-format files that MMPose ships.

They have no areas: 0.53 of the box is taken.

Source: github.com/AIChallenger/AI_Challenger_2017; github.com/open-mmlab/mmpose
"""

import dataclasses
from typing import ClassVar

from hrnet_tf.benchmarks._sets import KeypointSetBenchmark, Published
from hrnet_tf.data.formats import Format
from hrnet_tf.evaluation.average_precision import Measure


@dataclasses.dataclass(frozen=True)
class AicBenchmark(KeypointSetBenchmark):
    """A folder with `annotations/` and AI Challenger's folders of images."""

    form: ClassVar[Format] = Format(
        keypoint_set="aic",
        area_of_box=0.53,
        annotations=("annotations/aic_{split}.json",),
        images=(
            "ai_challenger_keypoint_train_20170902/keypoint_train_images_20170902",
            "ai_challenger_keypoint_validation_20170911/keypoint_validation_images_20170911",
        ),
    )
    measure: ClassVar[Measure] = Measure(only_scored=True)
    figures: ClassVar[Published] = Published(
        "val",
        detector_boxes=False,
        statistics=("AP", "AP50", "AP75", "AR", "AR50"),
        thousandths={
            ("pose_resnet101", (256, 192)): (294, 736, 172, 337, 762),
            ("hrnet_w32", (256, 192)): (323, 761, 218, 366, 789),
        },
    )


BENCHMARK = AicBenchmark
