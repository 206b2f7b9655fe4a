"""Renders images of people with COCO annotations, for the synthetic dataset."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic.backgrounds import draw_background, draw_obstacle
from hrnet_tf.synthetic.clothes import Placement, dress, sample_outfit
from hrnet_tf.synthetic.cones import EMPTY, Layer, draw_cones
from hrnet_tf.synthetic.people import SIDES, Part, pose_figure, sample_body, sample_pose

# People with fewer labelled keypoints, or lower than this many pixels, are left out.
MIN_KEYPOINTS = 5
MIN_HEIGHT = 48
# So are people of whose pixels in the image a smaller share is seen.
MIN_SEEN = 0.4
# Chances of 1, 2, 3 and 4 people in an image.
GROUP_SIZES = (0.7, 0.2, 0.07, 0.03)
CLOSE_UP_CHANCE = 0.03
# Chance that a person may stand at, or beyond, the border of the image.
BORDER_CHANCE = 0.05
OBSTACLE_CHANCE = 0.08
# Backgrounds are out of focus, by this many pixels, and of this contrast.
BACKGROUND_BLUR = 2.0
BACKGROUND_CONTRAST = 0.6
# Least and most pixels per stature.
SCALES = (135, 420)
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
class _View:
    """The camera of a scene: image size, horizon (y), its height in statures, tilt in degrees, light [3]."""

    size: tuple[int, int]
    horizon: float
    height: float
    pitch: float
    light: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Item:
    """Something drawn: its layer, the point (x, y) below it and pixels per stature where it is."""

    layer: Layer
    foot: tuple[float, float]
    nearness: float


@dataclasses.dataclass(frozen=True)
class _Person(_Item):
    """A drawn person: keypoints [17, 3] in the image frame and whether the head is turned so that one can tell them."""

    scale: float
    keypoints: np.ndarray
    tellable: np.ndarray


def render_scene(
    seed: int | Sequence[int], size: tuple[int, int] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Renders one image of one to four people.

    Args:
        seed: an integer or a sequence of integers; the result depends on nothing else.
        size: (height, width) in pixels, or None for one that suits the number of people.

    Returns:
        `image`, [height, width, 3] uint8, RGB, and a list of COCO annotations that lack `id` and
        `image_id`. Keypoints are in pixels, (0, 0) being the middle of the first pixel.
    """
    rng = np.random.default_rng(seed)
    count = 1 + int(rng.choice(len(GROUP_SIZES), p=GROUP_SIZES))
    size = size or _sample_size(rng, count)
    view, scales = _sample_view(rng, size, count)
    background = draw_background(rng, size, view.horizon, view.horizon + 0.75 * view.height * scales.min())
    background = cv2.GaussianBlur(background, (0, 0), BACKGROUND_BLUR)
    background = background.mean() + BACKGROUND_CONTRAST * (background - background.mean())
    items = _draw_people(rng, view, scales)
    if items and rng.random() < OBSTACLE_CHANCE:
        items += _draw_obstacle(rng, view, items[rng.integers(len(items))])
    image, annotations = _settle(background, items)
    return _photograph(rng, image), annotations


def _settle(background, items):
    """Composes the items by nearness, leaving out people of whom too little is seen.

    Returns:
        The image, [h, w, 3] float32 0..1, and the annotations of the people in it.
    """
    items = sorted(items, key=lambda item: item.nearness)
    while True:
        image, owner = _compose(background, items)
        annotations = []
        for i, item in enumerate(items):
            if isinstance(item, _Person):
                annotation = _annotate(item, owner, i)
                if annotation is None:
                    break
                annotations.append(annotation)
        else:
            return image, annotations
        items = items[:i] + items[i + 1 :]


def _sample_size(rng, count):
    height = int(rng.integers(280, 400))
    return height, int(np.clip(height * rng.uniform(0.55, 0.8) + 70 * (count - 1), 200, 480))


def _sample_view(rng, size, count):
    """A camera and the people's sizes in pixels per stature, [count]."""
    height = size[0]
    base = height * (rng.uniform(1.05, 1.5) if rng.random() < CLOSE_UP_CHANCE else rng.uniform(0.5, 0.86))
    scales = np.clip(base * np.exp(rng.normal(0, 0.14, count)), *SCALES)
    feet = height * rng.uniform(0.9, 0.99) if base < 0.9 * height else height * rng.uniform(1.05, 1.4)
    camera_height = rng.uniform(0.6, 1.05)
    light = np.array([rng.normal(0, 0.6), -rng.uniform(0.3, 1.2), rng.uniform(0.5, 1.2)])
    view = _View(
        size=size,
        horizon=feet - camera_height * scales.max(),
        height=camera_height,
        pitch=float(np.clip(rng.normal(6, 6), -6, 22)),
        light=light / np.linalg.norm(light),
    )
    return view, scales


def _draw_people(rng, view, scales):
    """Draws people side by side, as far as they are in the image."""
    places = rng.permutation(len(scales))
    people = []
    for place, scale in zip(places, scales, strict=True):
        pitch = view.size[1] / len(scales)
        deviation = 0.12 * pitch if rng.random() > BORDER_CHANCE else 0.5 * pitch
        x = (place + 0.5) * pitch + rng.normal(0, deviation)
        person = _draw_person(rng, view, x, scale)
        if person is not None:
            people.append(person)
    return people


def _draw_person(rng, view, x, nearness):
    """Draws a random person whose feet are below x, or gives None where that is outside the image."""
    pose = sample_pose(rng, _sample_yaw(rng))
    body, outfit = sample_body(rng), sample_outfit(rng)
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
    return _Person(layer, foot, nearness, scale, keypoints, np.array(tellable))


def _sample_yaw(rng):
    """Most people face the viewer, a third face away and few are seen from the side."""
    way = rng.random()
    if way < 0.62:
        return rng.normal(0, 20)
    if way < 0.96:
        return rng.normal(180, 20)
    return rng.choice((-90, 90)) + rng.normal(0, 22)


def _draw_obstacle(rng, view, person):
    """A list with an obstacle in front of a person; empty where that is outside the image."""
    nearness = 1.01 * person.nearness
    foot = (person.foot[0] + nearness * rng.normal(0, 0.16), person.foot[1] + 0.02 * nearness)
    cones, palette = draw_obstacle(rng, foot, nearness)
    layer = draw_cones(cones, palette, view.light, view.size)
    return [] if layer is None else [_Item(layer, foot, nearness)]


def _compose(background, items):
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


def _annotate(person, owner, index):
    """The COCO annotation of item `index`, a person, or None where too little of it is seen."""
    body = person.layer.parts > Part.OBJECT
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    if not len(rows) or rows[-1] - rows[0] < MIN_HEIGHT:
        return None
    if np.count_nonzero(body & (owner[person.layer.window] == index)) < MIN_SEEN * np.count_nonzero(body):
        return None
    flags = [_visibility(person, k, owner, index) for k in range(len(COCO.names))]
    keypoints = np.column_stack([person.keypoints[:, :2] - 0.5, flags])
    keypoints[keypoints[:, 2] == 0] = 0
    labelled = int(np.count_nonzero(flags))
    if labelled < MIN_KEYPOINTS:
        return None
    left, top = person.layer.top_left
    return {
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": labelled,
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


def _visibility(person, k, owner, index):
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
    reach = int(np.ceil(INFERABLE_DISTANCE * person.scale))
    around = tuple(slice(max(i - reach, 0), max(i + reach + 1, 0)) for i in (row, column))
    return int((seen[around] & np.isin(layer.parts[around], limb)).any())


def _photograph(rng, image):
    """Gives a scene, [h, w, 3] 0..1, the light, the blur and the noise of a camera; returns uint8."""
    height, width = image.shape[:2]
    image = image * np.float32(rng.uniform(0.85, 1.25)) * np.clip(rng.normal(1, 0.06, 3), 0.85, 1.15).astype(np.float32)
    contrast = np.float32(rng.uniform(0.8, 1.25))
    image = (image - 0.5) * contrast + 0.5
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    dx, dy = rng.normal(0, 0.1, 2).astype(np.float32)
    image = image * (1 + dx * x + dy * y - np.float32(rng.uniform(0, 0.15)) * (x * x + y * y))[..., None]
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    noise = rng.standard_normal((height, width), np.float32)
    image = image + np.float32(rng.uniform(0, 0.015)) * noise[..., None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
