"""CrowdPose, 14 keypoints: people in crowds, with figures of easy, medium and hard images.

Its annotations have no areas: its evaluation takes 0.53 of the box. It splits images at crowd indices of 0.2 and 0.8.

Source: github.com/Jeff-sjtu/CrowdPose, crowdpose-api
"""

import dataclasses
from typing import ClassVar

from hrnet_tf.benchmarks._sets import KeypointSetBenchmark, Published
from hrnet_tf.benchmarks.coco import WithoutBoxes
from hrnet_tf.data.formats import Format
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.evaluation.average_precision import Measure, images_by_crowding, read_table


@dataclasses.dataclass(frozen=True)
class CrowdPoseBenchmark(KeypointSetBenchmark):
    """A folder with `images/` and CrowdPose's annotations, the authors' or MMPose's."""

    form: ClassVar[Format] = Format(
        keypoint_set="crowdpose",
        area_of_box=0.53,
        annotations=(
            "annotations/crowdpose_{split}.json",
            "annotations/mmpose_crowdpose_{split}.json",
            "json/crowdpose_{split}.json",
            "crowdpose_{split}.json",
        ),
    )
    measure: ClassVar[Measure] = Measure(by_crowding=True, only_scored=True)
    figures: ClassVar[Published] = Published(
        "test",
        detector_boxes=True,
        statistics=("AP", "AP50", "AP75", "AP easy", "AP medium", "AP hard"),
        thousandths={
            ("pose_resnet50", (256, 192)): (637, 808, 692, 738, 650, 506),
            ("pose_resnet101", (256, 192)): (647, 810, 703, 745, 658, 521),
            ("pose_resnet101", (320, 256)): (661, 821, 714, 759, 672, 534),
            ("pose_resnet152", (256, 192)): (656, 818, 712, 754, 666, 533),
            ("hrnet_w32", (256, 192)): (675, 825, 729, 770, 687, 553),
        },
    )

    without_boxes: ClassVar[WithoutBoxes] = WithoutBoxes(
        "test",
        ("AP", "AP easy", "AP medium", "AP hard"),
        {("higher_hrnet_w48", (640, 640), (1.0,)): (659, 733, 665, 579)},
    )

    def check_measurable(self, split: str, annotated: PersonRecords) -> None:
        """Raises InputError where an image has no `crowdIndex`."""
        images_by_crowding(read_table(self.annotation_file(split), self.form))


BENCHMARK = CrowdPoseBenchmark
