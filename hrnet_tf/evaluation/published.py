"""Results published for the networks, to print beside one's own.

All with flip test. Source: tables of github.com/leoxiaobin/deep-high-resolution-net.pytorch.
"""

# The ten numbers of COCO's keypoint evaluation, in pycocotools' order.
STATISTICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")

# COCO val2017, boxes of a detector with person AP 56.4: (model, input size) -> `STATISTICS`, in thousandths
_COCO_VAL_DETECTOR = {
    ("pose_resnet50", (256, 192)): (704, 886, 783, 671, 772, 763, 929, 834, 721, 824),
    ("pose_resnet50", (384, 288)): (722, 893, 789, 681, 797, 776, 932, 838, 728, 846),
    ("pose_resnet101", (256, 192)): (714, 893, 793, 681, 781, 771, 934, 840, 730, 832),
    ("pose_resnet101", (384, 288)): (736, 896, 803, 699, 811, 791, 936, 851, 745, 858),
    ("pose_resnet152", (256, 192)): (720, 893, 798, 687, 789, 778, 934, 846, 736, 839),
    ("pose_resnet152", (384, 288)): (743, 896, 811, 705, 816, 797, 937, 858, 751, 863),
    ("hrnet_w32", (256, 192)): (744, 905, 819, 708, 810, 798, 942, 865, 757, 858),
    ("hrnet_w32", (384, 288)): (758, 906, 825, 720, 827, 809, 943, 869, 767, 871),
    ("hrnet_w48", (256, 192)): (751, 906, 822, 715, 818, 804, 943, 867, 762, 864),
    ("hrnet_w48", (384, 288)): (763, 908, 829, 723, 834, 812, 942, 871, 767, 876),
}
# COCO val2017, annotated boxes: AP alone.
_COCO_VAL_ANNOTATED = {("hrnet_w32", (256, 192)): 765}
# MPII validation set, PCKh in percent: Head, Shoulder, Elbow, Wrist, Hip, Knee, Ankle, Mean, Mean@0.1
_PCKH = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean@0.1")
_MPII_VAL = {
    ("pose_resnet50", (256, 256)): (96.4, 95.3, 89.0, 83.2, 88.4, 84.0, 79.6, 88.5, 34.0),
    ("pose_resnet101", (256, 256)): (96.9, 95.9, 89.5, 84.4, 88.4, 84.5, 80.7, 89.1, 34.0),
    ("pose_resnet152", (256, 256)): (97.0, 95.9, 90.0, 85.0, 89.2, 85.3, 81.3, 89.6, 35.0),
    ("hrnet_w32", (256, 256)): (97.1, 95.9, 90.3, 86.4, 89.1, 87.1, 83.3, 90.3, 37.7),
}


def published_coco(model_name, input_size, detector_boxes):
    """{statistic: fraction} published for a network on COCO val2017, empty where there is none.

    Args:
        model_name: as `build_model` takes it.
        input_size: (H, W).
        detector_boxes: people cropped by the detector's boxes, as in the papers' tables, rather
            than by the annotated ones.
    """
    key = (model_name, tuple(input_size))
    if detector_boxes:
        values = _COCO_VAL_DETECTOR.get(key, ())
        return {name: value / 1000 for name, value in zip(STATISTICS, values, strict=False)}
    return {"AP": _COCO_VAL_ANNOTATED[key] / 1000} if key in _COCO_VAL_ANNOTATED else {}


def published_pckh(model_name, input_size):
    """{group: percent} published for a network on MPII's validation set, empty where there is none."""
    return dict(zip(_PCKH, _MPII_VAL.get((model_name, tuple(input_size)), ()), strict=False))
