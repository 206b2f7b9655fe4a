"""COCO-WholeBody, 133 keypoints: COCO's 17, feet, face and hands, measured together and by part.

In its files the keypoints of a part are in a field of their own. Those of a part that could not be annotated are all of
visibility 0, so that its `*_valid` fields say nothing more; other visibilities are fractions, and above 0 reliable.

Source: github.com/jin-s13/COCO-WholeBody; "hand" is the mean of both hands as in its tables (its issue 38)
"""

import dataclasses
from typing import ClassVar

from hrnet_tf.benchmarks._sets import KeypointSetBenchmark, Published
from hrnet_tf.data.formats import Format
from hrnet_tf.evaluation.average_precision import Measure


@dataclasses.dataclass(frozen=True)
class CocoWholeBodyBenchmark(KeypointSetBenchmark):
    """A COCO folder with COCO-WholeBody's annotations."""

    main_metric: ClassVar[str] = "whole AP"
    form: ClassVar[Format] = Format(
        keypoint_set="coco_wholebody",
        parts={
            "body": ("keypoints", 17),
            "foot": ("foot_kpts", 6),
            "face": ("face_kpts", 68),
            "lefthand": ("lefthand_kpts", 21),
            "righthand": ("righthand_kpts", 21),
        },
        annotations=("annotations/coco_wholebody_{split}_v1.0.json", "coco_wholebody_{split}_v1.0.json"),
        images=("images/{split}2017", "{split}2017"),
    )
    measure: ClassVar[Measure] = Measure(only_scored=True, means={"hand": ("lefthand", "righthand")})
    figures: ClassVar[Published] = Published(
        "val",
        detector_boxes=True,
        statistics=tuple(
            f"{part} {name}" for part in ("whole", "body", "foot", "face", "hand") for name in ("AP", "AR")
        ),
        thousandths={
            ("pose_resnet50", (256, 192)): (521, 633, 652, 738, 615, 749, 606, 715, 460, 584),
            ("pose_resnet50", (384, 288)): (574, 670, 666, 747, 634, 763, 731, 811, 536, 646),
            ("pose_resnet101", (256, 192)): (531, 645, 669, 753, 637, 766, 611, 722, 463, 589),
            ("pose_resnet101", (384, 288)): (598, 691, 692, 770, 680, 799, 746, 820, 548, 657),
            ("pose_resnet152", (256, 192)): (548, 661, 682, 764, 661, 787, 623, 728, 481, 607),
            ("pose_resnet152", (384, 288)): (610, 705, 704, 780, 693, 813, 751, 824, 559, 666),
            ("hrnet_w32", (256, 192)): (536, 636, 678, 755, 543, 661, 630, 708, 467, 566),
            ("hrnet_w32", (384, 288)): (586, 673, 700, 772, 585, 691, 726, 783, 515, 603),
            ("hrnet_w48", (256, 192)): (579, 681, 701, 776, 675, 787, 656, 743, 535, 639),
            ("hrnet_w48", (384, 288)): (632, 717, 722, 791, 696, 801, 776, 834, 587, 678),
        },
    )


BENCHMARK = CocoWholeBodyBenchmark
