"""Renders images of people with COCO annotations, for the synthetic dataset."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from hrnet_tf.synthetic.backgrounds import draw_background, draw_obstacle
from hrnet_tf.synthetic.camera import View, photograph, sample_exposure
from hrnet_tf.synthetic.clothes import sample_outfit
from hrnet_tf.synthetic.composition import Item, Person, annotate, compose, draw_person, seen_share
from hrnet_tf.synthetic.cones import draw_cones
from hrnet_tf.synthetic.people import sample_body, sample_pose

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
# Of five people or more, in pixels from one to the next where the image is as wide as it may be.
MIN_PITCH = 110
# Least and most pixels per stature.
SCALES = (135, 420)


def render_scene(
    seed: int | Sequence[int], size: tuple[int, int] | None = None, people: tuple[int, int] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Renders one image of people, mostly of one and at most of four unless `people` says so.

    Args:
        seed: an integer or a sequence of integers; the result depends on nothing else but `people`.
        size: (height, width) in pixels, or None for one that suits the number of people.
        people: least and most people, each number as likely; those of whom too little is seen are left out.

    Returns:
        `image`, [height, width, 3] uint8, RGB, and a list of COCO annotations that lack `id` and
        `image_id`. Keypoints are in pixels, (0, 0) being the middle of the first pixel.
    """
    rng = np.random.default_rng(seed)
    count = 1 + int(rng.choice(len(GROUP_SIZES), p=GROUP_SIZES)) if people is None else _count(rng, people)
    size = size or _sample_size(rng, count)
    view, scales = _sample_view(rng, size, count)
    background = blurred_background(rng, view, scales.min())
    items = _draw_people(rng, view, scales)
    if items and rng.random() < OBSTACLE_CHANCE:
        items += _draw_obstacle(rng, view, items[rng.integers(len(items))])
    image, annotations = _settle(background, items)
    exposure, noise = sample_exposure(rng), rng.standard_normal(size, np.float32)
    return photograph(image, exposure, np.float32(rng.uniform(0, 0.015)) * noise), annotations


def blurred_background(rng: np.random.Generator, view: View, smallest: float) -> np.ndarray:
    """[h, w, 3] float64 0..255, a random place out of focus for people of at least `smallest` pixels per stature."""
    background = draw_background(rng, view.size, view.horizon, view.horizon + 0.75 * view.height * smallest)
    background = cv2.GaussianBlur(background, (0, 0), BACKGROUND_BLUR)
    return background.mean() + BACKGROUND_CONTRAST * (background - background.mean())


def _settle(background, items):
    """Composes the items by nearness, leaving out people of whom too little is seen.

    Returns:
        The image, [h, w, 3] float32 0..1, and the annotations of the people in it.
    """
    items = sorted(items, key=lambda item: item.nearness)
    while True:
        image, owner = compose(background, items)
        annotations = []
        for i, item in enumerate(items):
            if isinstance(item, Person):
                annotation = annotate(item, owner, i)
                if annotation is None or not _is_much(annotation, seen_share(item, owner, i)):
                    break
                annotations.append(annotation)
        else:
            return image, annotations
        items = items[:i] + items[i + 1 :]


def _is_much(annotation, seen):
    """Whether enough is seen of a person that is annotated so."""
    labelled, height = annotation["num_keypoints"], annotation["bbox"][3]
    return labelled >= MIN_KEYPOINTS and height > MIN_HEIGHT and seen >= MIN_SEEN


def _count(rng, people):
    least, most = people
    return int(rng.integers(least, most + 1))


def _sample_size(rng, count):
    height = int(rng.integers(280, 400))
    widest = max(480, MIN_PITCH * count)
    return height, int(np.clip(height * rng.uniform(0.55, 0.8) + 70 * (count - 1), 200, widest))


def _sample_view(rng, size, count):
    """A camera and the people's sizes in pixels per stature, [count]."""
    height = size[0]
    base = height * (rng.uniform(1.05, 1.5) if rng.random() < CLOSE_UP_CHANCE else rng.uniform(0.5, 0.86))
    scales = np.clip(base * np.exp(rng.normal(0, 0.14, count)), *SCALES)
    feet = height * rng.uniform(0.9, 0.99) if base < 0.9 * height else height * rng.uniform(1.05, 1.4)
    camera_height = rng.uniform(0.6, 1.05)
    light = np.array([rng.normal(0, 0.6), -rng.uniform(0.3, 1.2), rng.uniform(0.5, 1.2)])
    view = View(
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
        pose = sample_pose(rng, _sample_yaw(rng))
        person = draw_person(view, sample_body(rng), sample_outfit(rng), pose, x, scale)
        if person is not None:
            people.append(person)
    return people


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
    return [] if layer is None else [Item(layer, foot, nearness)]
