"""Which keypoint of a network is which of the data, told by their names."""

from hrnet_tf.errors import InputError, listed
from hrnet_tf.skeletons.skeleton import Skeleton


def match(model: Skeleton, data: Skeleton) -> list[int]:
    """Where a network's keypoints are in data, by name.

    Names that are the numbers 0 to K-1 are none: the keypoints are then taken to be in the same order.

    Args:
        model: the K keypoints of the network.
        data: the K keypoints of the annotations.

    Returns:
        K indices: keypoint k of the network is keypoint `order[k]` of the data.

    Raises:
        InputError: the names are not the same, or not equally many.
    """
    if model.num_keypoints != data.num_keypoints:
        raise InputError(f"the model has {model.num_keypoints} keypoints, the annotations {data.num_keypoints}")
    if _has_names(model) and _has_names(data) and set(model.names) != set(data.names):
        ours = [name for name in model.names if name not in data.names]
        theirs = [name for name in data.names if name not in model.names]
        raise InputError(
            f"the model's keypoints are not the annotations': by name the model has {listed(ours) or 'no others'} "
            f"and the annotations {listed(theirs) or 'no others'}. If they are the same points, say which is which: "
            "--keypoint_names=annotations_name:model_name,... (in Python Skeleton.renamed)"
        )
    if set(model.names) != set(data.names):
        return list(range(model.num_keypoints))
    return [data.names.index(name) for name in model.names]


def match_in_words(model: Skeleton, data: Skeleton) -> str | None:
    """One line that says what `match` did, None where both are the same names in the same order."""
    if model.names == data.names:
        return None
    if set(model.names) == set(data.names):
        moved = sum(a != b for a, b in zip(model.names, data.names, strict=True))
        return (
            f"the annotations have the model's keypoints in another order ({moved} of {len(data.names)} moved): "
            "they are matched by name"
        )
    if _has_names(model):
        return "the annotations name no keypoints: they are taken to be in the model's order"
    return "the model names no keypoints: they are taken to be in the annotations' order"


def _has_names(skeleton: Skeleton) -> bool:
    return skeleton.names != tuple(map(str, range(skeleton.num_keypoints)))
