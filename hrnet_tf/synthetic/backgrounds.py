"""Draws the places and the obstacles of the synthetic dataset. Images are RGB uint8."""

from collections.abc import Iterable
from typing import SupportsInt

import cv2
import numpy as np

from hrnet_tf.synthetic.clothes import random_color
from hrnet_tf.synthetic.cones import Cone
from hrnet_tf.synthetic.people import Part

GREENS = ((96, 128, 60), (70, 104, 52), (124, 144, 76), (54, 84, 48))
GROUNDS = ((104, 132, 70), (150, 140, 116), (130, 130, 132), (196, 178, 140), (112, 98, 80))
SKIES = (((120, 170, 226), (214, 228, 240)), ((168, 180, 194), (222, 224, 226)), ((96, 110, 150), (242, 188, 146)))
FLOORS = ((150, 112, 76), (108, 78, 54), (178, 168, 152), (120, 124, 130), (196, 176, 148))


def _paint(rng, saturation=(0.1, 0.85), value=(0.15, 0.95)):
    """A random RGB colour, three floats 0..255."""
    return tuple(255 * c for c in random_color(rng, saturation, value))


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cell: float) -> np.ndarray:
    """[height, width] float32 noise of deviation about 1 that varies over `cell` pixels."""
    height, width = size
    grid = rng.standard_normal((int(height // cell) + 2, int(width // cell) + 2), np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def draw_background(rng: np.random.Generator, size: tuple[int, int], horizon: float, floor: float) -> np.ndarray:
    """Draws a random place.

    Args:
        rng: a `numpy.random.Generator`.
        size: (height, width) in pixels.
        horizon: y of the horizon.
        floor: y of the lower end of a wall.

    Returns:
        [height, width, 3] uint8.
    """
    height = size[0]
    horizon = int(np.clip(horizon, 0.15 * height, 0.75 * height))
    floor = int(np.clip(floor, horizon + 4, 0.92 * height))
    place = rng.choice(4, p=(0.32, 0.28, 0.25, 0.15))
    if place == 0:
        image = _room(rng, size, floor)
    elif place == 1:
        image = _landscape(rng, size, horizon)
    elif place == 2:
        image = _street(rng, size, horizon, floor)
    else:
        image = _studio(rng, size)
    return _textured(rng, image)


def _textured(rng, image):
    """Adds coarse and fine irregularities, so that no surface is of one colour."""
    size = image.shape[:2]
    noise = 4 * smooth_noise(rng, size, 40) + rng.uniform(1, 5) * smooth_noise(rng, size, rng.uniform(2, 8))
    return np.clip(image + noise[..., None], 0, 255).astype(np.uint8)


def _gradient(rows, top, bottom, width):
    ramp = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    colors = np.float32(top) * (1 - ramp) + np.float32(bottom) * ramp
    return np.broadcast_to(colors, (rows, width, 3)).astype(np.uint8, order="C")


def _pick(rng, colors):
    return tuple(float(c) for c in np.clip(np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 12, 3), 0, 255))


def _shade(color, factor):
    return tuple(float(min(255, c * factor)) for c in color)


def _box(image, left, top, right, bottom, color, border=None):
    """A filled rectangle with an outline of `border` colour."""
    corners = (int(left), int(top)), (int(right), int(bottom))
    cv2.rectangle(image, *corners, color, -1)
    if border is not None:
        cv2.rectangle(image, *corners, border, 2, cv2.LINE_AA)


def _ground(rng, image, top, color):
    """Fills everything below `top` with ground that is lighter towards the viewer."""
    image[top:] = _gradient(image.shape[0] - top, _shade(color, 0.8), _shade(color, 1.1), image.shape[1])


def _room(rng, size, floor):
    height, width = size
    wall = _paint(rng, (0.02, 0.4), (0.5, 0.98))
    image = np.empty((height, width, 3), np.uint8)
    image[:floor] = _gradient(floor, _shade(wall, rng.uniform(0.85, 1.05)), _shade(wall, rng.uniform(0.8, 1.0)), width)
    if rng.random() < 0.3:
        step = int(rng.integers(14, 50))
        for x in range(int(rng.integers(step)), width, step):
            cv2.line(image, (x, 0), (x, floor), _shade(wall, 0.9), int(rng.integers(1, step // 2)))
    color = _pick(rng, FLOORS)
    _ground(rng, image, floor, color)
    vanishing, lines = width * rng.uniform(0.2, 0.8), int(rng.integers(0, 22))
    for x in np.linspace(-2 * width, 3 * width, lines):
        near = (int(x), height)
        far = (int(vanishing + (x - vanishing) * 0.45), floor)
        cv2.line(image, far, near, _shade(color, 0.82), 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 4))):
        _wall_item(rng, image, floor)
    cv2.line(image, (0, floor), (width, floor), _shade(wall, rng.choice((0.6, 1.25))), int(rng.integers(2, 7)))
    for _ in range(int(rng.integers(0, 4))):
        _furniture(rng, image, floor)
    return image


def _wall_item(rng, image, floor):
    """A picture, a window or a door."""
    width = image.shape[1]
    x, w = rng.uniform(-0.05, 0.9) * width, rng.uniform(30, 110)
    kind, frame = rng.integers(3), _paint(rng, (0.0, 0.5), (0.2, 0.95))
    if kind == 0:
        y = rng.uniform(0.05, 0.4) * floor
        _box(image, x, y, x + w, y + w * rng.uniform(0.6, 1.3), _paint(rng), frame)
        center = (int(x + w / 2), int(y + w / 3))
        cv2.circle(image, center, int(w * rng.uniform(0.1, 0.25)), _paint(rng), -1, cv2.LINE_AA)
    elif kind == 1:
        y, bottom = 0.06 * floor, rng.uniform(0.5, 0.75) * floor
        _box(image, x, y, x + w, bottom, (206, 226, 244), frame)
        cv2.line(image, (int(x + w / 2), int(y)), (int(x + w / 2), int(bottom)), frame, 3)
        cv2.line(image, (int(x), int((y + bottom) / 2)), (int(x + w), int((y + bottom) / 2)), frame, 2)
    else:
        top = rng.uniform(0.1, 0.35) * floor
        _box(image, x, top, x + w, floor, frame, _shade(frame, 0.7))
        _box(image, x + 0.15 * w, top + 10, x + 0.85 * w, (top + floor) / 2, _shade(frame, 0.92), _shade(frame, 0.8))


def _furniture(rng, image, floor):
    """A cupboard, a sofa, a plant or a standard lamp at the wall."""
    width = image.shape[1]
    x, base = rng.uniform(-0.1, 0.95) * width, floor + rng.uniform(2, 25)
    color, w = _paint(rng, (0.1, 0.7), (0.25, 0.85)), rng.uniform(50, 130)
    kind = rng.integers(4)
    if kind == 0:
        h = rng.uniform(0.25, 0.9) * floor
        _box(image, x, base - h, x + w, base, color, _shade(color, 0.7))
        for y in np.arange(base - h, base, rng.uniform(18, 50)):
            cv2.line(image, (int(x), int(y)), (int(x + w), int(y)), _shade(color, 0.7), 2)
    elif kind == 1:
        _box(image, x, base - 62, x + w * 1.3, base - 8, color)
        _box(image, x + 8, base - 34, x + w * 1.3 - 8, base - 4, _shade(color, 1.15), _shade(color, 0.8))
        _box(image, x - 8, base - 44, x + 10, base, _shade(color, 0.9))
        _box(image, x + w * 1.3 - 10, base - 44, x + w * 1.3 + 8, base, _shade(color, 0.9))
    elif kind == 2:
        _foliage(rng, image, x, base - 60, 34, _pick(rng, GREENS))
        _box(image, x - 14, base - 30, x + 14, base, color)
    else:
        cv2.line(image, (int(x), int(base)), (int(x), int(base - 150)), (60, 58, 56), 4, cv2.LINE_AA)
        shade = np.array([(x - 14, base - 190), (x + 14, base - 190), (x + 28, base - 145), (x - 28, base - 145)])
        cv2.fillPoly(image, [shade.astype(int)], (250, 236, 196), cv2.LINE_AA)


def _foliage(rng, image, x, y, radius, color):
    """A cluster of leaves of `radius` about (x, y)."""
    for _ in range(14):
        dx, dy = rng.normal(0, 0.45 * radius, 2)
        tone = _shade(color, rng.uniform(0.75, 1.2) - 0.25 * dy / radius)
        cv2.circle(image, (int(x + dx), int(y + dy)), int(radius * rng.uniform(0.3, 0.6)), tone, -1, cv2.LINE_AA)


def _landscape(rng, size, horizon):
    height, width = size
    image = np.empty((height, width, 3), np.uint8)
    image[:horizon] = _sky(rng, horizon, width)
    for layer in range(int(rng.integers(1, 4))):
        tone = _shade(_pick(rng, GREENS), 1.25 - 0.2 * layer)
        ridge = horizon - rng.uniform(4, 50) + 16 * smooth_noise(rng, (1, width), rng.uniform(30, 120))[0]
        outline = np.stack([np.arange(width), ridge], axis=1).astype(int)
        cv2.fillPoly(image, [np.concatenate([outline, [(width, horizon), (0, horizon)]])], tone, cv2.LINE_AA)
    _ground(rng, image, horizon, _pick(rng, GROUNDS))
    if rng.random() < 0.4:
        x, spread = rng.uniform(0.2, 0.8) * width, rng.uniform(0.1, 0.5) * width
        path = np.array([(x, horizon), (x + 8, horizon), (x + spread, height), (x - spread, height)])
        cv2.fillPoly(image, [path.astype(int)], _pick(rng, GROUNDS), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 6))):
        _tree(rng, image, rng.uniform(0, width), horizon + rng.uniform(0, 24), rng.uniform(40, 170))
    return image


def _sky(rng, rows, width):
    top, bottom = SKIES[rng.integers(len(SKIES))]
    sky = _gradient(rows, top, bottom, width).astype(np.float32)
    clouds = np.clip(0.6 * smooth_noise(rng, (rows, width), 50) + 0.3 * smooth_noise(rng, (rows, width), 14), 0, 1)
    return sky + (250 - sky) * (rng.uniform(0, 0.8) * clouds[..., None])


def _tree(rng, image, x, base, height):
    trunk = _shade((92, 70, 50), rng.uniform(0.7, 1.2))
    cv2.line(image, (int(x), int(base)), (int(x), int(base - 0.6 * height)), trunk, max(2, int(height / 14)))
    _foliage(rng, image, x, base - 0.7 * height, 0.32 * height, _pick(rng, GREENS))


def _street(rng, size, horizon, floor):
    height, width = size
    image = np.empty((height, width, 3), np.uint8)
    image[:floor] = _sky(rng, floor, width)
    _ground(rng, image, floor, _shade((140, 140, 142), rng.uniform(0.6, 1.2)))
    x = -rng.uniform(0, 60)
    while x < width:
        w = rng.uniform(60, 170)
        _building(rng, image, x, horizon * rng.uniform(-0.1, 0.8), x + w, floor)
        x += w + (rng.uniform(10, 60) if rng.random() < 0.3 else 0)
    curb = floor + rng.uniform(0.1, 0.4) * (height - floor)
    cv2.line(image, (0, int(curb)), (width, int(curb)), (190, 188, 184), int(rng.integers(2, 7)))
    if rng.random() < 0.5:
        _car(rng, image, rng.uniform(-0.1, 0.9) * width, floor + 12)
    for _ in range(int(rng.integers(0, 3))):
        x = int(rng.uniform(0, width))
        cv2.line(image, (x, floor + 10), (x, 0), _shade((90, 90, 92), rng.uniform(0.4, 1.3)), int(rng.integers(3, 8)))
    return image


def _building(rng, image, left, top, right, floor):
    color = _paint(rng, (0.05, 0.5), (0.35, 0.9))
    _box(image, left, top, right, floor, color)
    pane, step_x, step_y = _paint(rng, (0.05, 0.4), (0.15, 0.9)), rng.uniform(20, 36), rng.uniform(24, 44)
    for x in np.arange(left + 8, right - 14, step_x):
        for y in np.arange(top + 8, floor - 30, step_y):
            _box(image, x, y, x + 0.55 * step_x, y + 0.6 * step_y, _shade(pane, rng.uniform(0.85, 1.1)))


def _car(rng, image, x, base):
    color, s = _paint(rng, (0.2, 0.9), (0.2, 0.9)), rng.uniform(0.8, 1.3)
    cabin = np.array([(22, -52), (80, -52), (98, -30), (8, -30)]) * s + (x, base)
    body = np.array([(0, -32), (118, -32), (124, -8), (-4, -8)]) * s + (x, base)
    cv2.fillPoly(image, [cabin.astype(int)], (60, 72, 84), cv2.LINE_AA)
    cv2.fillPoly(image, [body.astype(int)], color, cv2.LINE_AA)
    for wheel in (26, 94):
        cv2.circle(image, (int(x + wheel * s), int(base - 8 * s)), int(11 * s), (30, 30, 32), -1, cv2.LINE_AA)


def _studio(rng, size):
    """Clutter without a place: a gradient, blots and shapes."""
    height, width = size
    top, bottom = (_paint(rng, (0.05, 0.5), (0.25, 0.95)) for _ in range(2))
    image = _gradient(height, top, bottom, width).astype(np.float32)
    blots = smooth_noise(rng, size, rng.uniform(12, 80))[..., None]
    image += rng.uniform(0, 25) * blots * rng.normal(0, 1, 3)
    image = np.clip(image, 0, 255).astype(np.uint8, order="C")
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(6, 70, 2)
        color = _paint(rng)
        if rng.random() < 0.5:
            _box(image, x, y, x + w, y + h, color)
        else:
            angle = rng.uniform(0, 180)
            cv2.ellipse(image, (int(x), int(y)), (int(w), int(h / 2)), angle, 0, 360, color, -1, cv2.LINE_AA)
    return image


def draw_obstacle(rng: np.random.Generator, foot: tuple[float, float], scale: float) -> tuple[list[Cone], np.ndarray]:
    """A bush, a post, a bench or a ball.

    Args:
        rng: a `numpy.random.Generator`.
        foot: (x, y) of the ground below it, in pixels.
        scale: pixels per stature of a person beside it.

    Returns:
        A list of `Cone`s and their palette, [2, 3] 0..1.
    """
    x, ground = foot
    palette = np.array([random_color(rng, (0.2, 0.7), (0.25, 0.8)), random_color(rng, (0.1, 0.6), (0.15, 0.5))])
    kind = rng.integers(4)
    solids: list[tuple[Iterable[float], Iterable[float], float, SupportsInt]]  # start, end, radius, material
    if kind == 0:
        palette = np.array(GREENS)[rng.permutation(len(GREENS))[:2]] / 255 * rng.uniform(0.8, 1.5)
        spots = rng.normal((x, ground - 0.1 * scale), (0.08 * scale, 0.06 * scale), (22, 2))
        solids = [(spot, spot, scale * rng.uniform(0.035, 0.07), rng.integers(2)) for spot in spots]
    elif kind == 1:
        solids = [((x, ground - 1.4 * scale), (x, ground), scale * rng.uniform(0.012, 0.035), 0)]
    elif kind == 2:
        top, reach = ground - scale * rng.uniform(0.12, 0.35), scale * rng.uniform(0.15, 0.35)
        solids = [((end, top), (end, ground), 0.012 * scale, 1) for end in (x - reach, x + reach)]
        solids.append(((x - reach, top), (x + reach, top), 0.024 * scale, 0))
    else:
        radius = scale * rng.uniform(0.06, 0.12)
        solids = [((x, ground - radius), (x, ground - radius), radius, 0)]
    cones = [
        Cone(np.array([*start, 0.0]), np.array([*end, 0.0]), (radius, radius), int(material), Part.OBJECT)
        for start, end, radius, material in solids
    ]
    return cones, palette.astype(np.float32)
