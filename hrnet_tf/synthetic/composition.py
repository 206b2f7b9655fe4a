"""Puts drawn people before a background, and says in COCO's terms what is seen of each."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic.camera import View
from hrnet_tf.synthetic.clothes import Outfit, Placement, dress
from hrnet_tf.synthetic.cones import EMPTY, Layer, draw_cones
from hrnet_tf.synthetic.people import SIDES, Body, Part, Pose, pose_figure

# A keypoint behind another person or object is labelled where its limb is seen this near, in statures.
INFERABLE_DISTANCE = 0.05
# Where nose and eyes look, in the head's frame. They are labelled unless they look away from the
# viewer by more than this component; a nose is still seen from slightly behind.
FACE_DIRECTIONS = {"nose": (0.0, 0.0, 1.0), "left_eye": (0.42, 0.0, 0.91), "right_eye": (-0.42, 0.0, 0.91)}
FACE_TURNED_AWAY = -0.15
# How far behind the visible surface a joint of a visible limb may lie, in statures.
JOINT_DEPTH = {"nose": 0.03, "eye": 0.03, "ear": 0.04, "shoulder": 0.08, "elbow": 0.06}
JOINT_DEPTH |= {"wrist": 0.05, "hip": 0.115, "knee": 0.075, "ankle": 0.06}
# Parts of the body of which one is seen where a joint is.
JOINT_PARTS = {
    **dict.fromkeys(("nose", "eye", "ear"), ("HEAD",)),
    "shoulder": ("TRUNK", "{}_UPPER_ARM"),
    "elbow": ("{}_UPPER_ARM", "{}_FOREARM"),
    "wrist": ("{}_FOREARM",),
    "hip": ("TRUNK", "{}_THIGH"),
    "knee": ("{}_THIGH", "{}_SHANK"),
    "ankle": ("{}_SHANK",),
}


@dataclasses.dataclass(frozen=True)
class Item:
    """Something drawn: its layer, the point (x, y) below it and pixels per stature where it is."""

    layer: Layer
    foot: tuple[float, float]
    nearness: float


@dataclasses.dataclass(frozen=True)
class Person(Item):
    """A drawn person: keypoints [17, 3] in the image frame and whether the head is turned so that one can tell them."""

    scale: float
    keypoints: np.ndarray
    tellable: np.ndarray


def draw_person(view: View, body: Body, outfit: Outfit, pose: Pose, x: float, nearness: float) -> Person | None:
    """Draws a person who stands on the ground.

    Args:
        view: the camera.
        body, outfit, pose: of the person.
        x: where the pelvis is, in pixels.
        nearness: pixels per stature there, which says where the ground is.

    Returns:
        a `Person`, or None where nothing of it is in the image.
    """
    figure = pose_figure(body, pose, view.pitch)
    foot = (x, view.horizon + view.height * nearness)
    scale = nearness * body.stature
    lowest = min(figure.points[f"{side}_{end}"][1] for side in SIDES for end in ("heel", "toe")) - 0.025
    placement = Placement(scale, np.array([x, foot[1] + lowest * scale, 0.0]))
    layer = draw_cones(dress(figure, body, outfit, placement, pose.seated), outfit.palette, view.light, view.size)
    if layer is None:
        return None
    head = figure.frames["head"]
    tellable = [
        name not in FACE_DIRECTIONS or (head @ FACE_DIRECTIONS[name])[2] > FACE_TURNED_AWAY for name in COCO.names
    ]
    keypoints = np.array([placement.project(figure.points[name])[0] for name in COCO.names])
    return Person(layer, foot, nearness, scale, keypoints, np.array(tellable))


def compose(background: np.ndarray, items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Puts items over the background, the farthest first.

    Returns:
        The image, [h, w, 3] float32 0..1, and the index of the item seen at each pixel, [h, w], or -1.
    """
    image = background.astype(np.float32) / 255
    owner = np.full(image.shape[:2], -1, np.int8)
    for item in items:
        _cast_shadow(image, item)
    for i, item in enumerate(items):
        layer = item.layer
        image[layer.window] *= 1 - layer.alpha
        image[layer.window] += layer.color
        owner[layer.window][layer.parts != EMPTY] = i
    return image, owner


def _cast_shadow(image, item):
    """Darkens the ground below an item, in place."""
    height, width = image.shape[:2]
    (x, y), reach = item.foot, 0.3 * item.nearness
    rows, columns = np.ogrid[:height, :width]
    left, right = (int(np.clip(x + sign * reach, 0, width)) for sign in (-1, 1))
    top, bottom = (int(np.clip(y + sign * 0.3 * reach, 0, height)) for sign in (-1, 1))
    rows, columns = rows[top:bottom], columns[:, left:right]
    distance = ((columns - x) / reach) ** 2 + ((rows - y) / (0.3 * reach)) ** 2
    image[top:bottom, left:right] *= (1 - 0.5 * np.clip(1 - distance, 0, 1))[..., None].astype(np.float32)


def annotate(person: Person, owner: np.ndarray, index: int, hidden_too: bool = False) -> dict[str, Any] | None:
    """The COCO annotation of a person of a picture, without `id` and `image_id`.

    Args:
        person: item `index` of the picture.
        owner: [h, w], the item seen at each pixel, as `compose` gives it.
        index: of the person.
        hidden_too: label keypoints wherever they are hidden by others, not only where a limb is seen that tells.

    Returns:
        the annotation, or None where no part of the person is within the image.
    """
    body = person.layer.parts > Part.OBJECT
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    if not len(rows):
        return None
    flags = [_visibility(person, k, owner, index, hidden_too) for k in range(len(COCO.names))]
    keypoints = np.column_stack([person.keypoints[:, :2] - 0.5, flags])
    keypoints[keypoints[:, 2] == 0] = 0
    left, top = person.layer.top_left
    return {
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int(np.count_nonzero(flags)),
        "keypoints": [
            value if i % 3 < 2 else int(value) for i, value in enumerate(keypoints.round(2).ravel().tolist())
        ],
        "bbox": [
            float(left + columns[0]),
            float(top + rows[0]),
            float(columns[-1] - columns[0] + 1),
            float(rows[-1] - rows[0] + 1),
        ],
        "area": float(np.count_nonzero(body)),
    }


def seen_share(person: Person, owner: np.ndarray, index: int) -> float:
    """Of the pixels that a person has in the image the share that nothing hides; arguments as for `annotate`."""
    body = person.layer.parts > Part.OBJECT
    return float((body & (owner[person.layer.window] == index)).sum()) / max(1, int(body.sum()))


def _visibility(person, k, owner, index, hidden_too):
    """COCO's flag of keypoint k: 0 not labelled, 1 labelled but hidden, 2 seen."""
    x, y, depth = person.keypoints[k]
    column, row = int(np.floor(x)), int(np.floor(y))
    inside = 0 <= row < owner.shape[0] and 0 <= column < owner.shape[1]
    if not inside or not person.tellable[k]:
        return 0
    side, _, joint = COCO.names[k].rpartition("_")
    limb = [Part[name.format(side.upper())] for name in JOINT_PARTS[joint]]
    layer = person.layer
    row, column = row - layer.top_left[1], column - layer.top_left[0]
    seen = owner[layer.window] == index
    if 0 <= row < seen.shape[0] and 0 <= column < seen.shape[1] and seen[row, column]:
        # The layer's own buffers say what of the person is seen here, and how far before the joint.
        before = layer.depth[row, column] - depth
        return 2 if layer.parts[row, column] in limb and before < JOINT_DEPTH[joint] * person.scale else 1
    if hidden_too:
        return 1
    reach = int(np.ceil(INFERABLE_DISTANCE * person.scale))
    around = tuple(slice(max(i - reach, 0), max(i + reach + 1, 0)) for i in (row, column))
    return int((seen[around] & np.isin(layer.parts[around], limb)).any())
