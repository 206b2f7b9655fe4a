"""Dresses posed figures: turns a `Figure` into coloured solids, for the synthetic dataset."""

import colorsys
import dataclasses

import numpy as np

from hrnet_tf.synthetic.cones import Cone
from hrnet_tf.synthetic.people import SIDES, Body, Figure, Part

# Distance of the camera in statures: what is nearer than the pelvis is drawn slightly larger.
CAMERA_DISTANCE = 6.0
# Thickness of the trunk from front to back as a fraction of its width.
TRUNK_FLATNESS = 0.64
# How far cloth stands off the skin, in statures.
CLOTH = 0.006

MATERIALS = (
    *("skin", "hair", "top", "top_stripe", "print", "bottom", "bottom_stripe", "shoe", "sole"),
    *("eye_white", "iris", "lips", "belt", "hat", "object", "object_dark"),
)
SKIN_TONES = ((255, 224, 196), (240, 200, 165), (224, 172, 130), (198, 140, 98), (150, 98, 66), (104, 68, 48))
HAIR_TONES = ((28, 23, 20), (52, 34, 24), (92, 60, 36), (140, 92, 48), (206, 168, 104), (150, 66, 34), (150, 148, 146))


@dataclasses.dataclass(frozen=True)
class Outfit:
    """What a person wears.

    Attributes:
        palette: [M, 3] float32 colours 0..1 of `MATERIALS`, RGB.
        sleeve: length in upper arms; above 1 it reaches down the forearm.
        leg: length of trouser legs in thighs; above 1 they reach down the shank.
        skirt: length in thighs, 0 for none.
        looseness: how far clothes stand off, as a factor.
        stripe_period: of the top, in statures, or None.
        hair: "short", "long", "tail", "bun" or "bald".
        hat: "none", "cap" or "beanie".
        has_print: whether the chest has a print on its front.
        bag: "none", "backpack" or a side that carries a bag.
    """

    palette: np.ndarray
    sleeve: float
    leg: float
    skirt: float
    looseness: float
    stripe_period: float | None
    hair: str
    hat: str
    has_print: bool
    bag: str


def random_color(
    rng: np.random.Generator, saturation: tuple[float, float] = (0.1, 0.85), value: tuple[float, float] = (0.15, 0.95)
) -> tuple[float, float, float]:
    """A random RGB colour, 0..1."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def _vary(rng, tones):
    return np.clip(np.array(tones[rng.integers(len(tones))]) / 255 * rng.normal(1, 0.04, 3), 0, 1)


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """A random `Outfit`."""
    skin = _vary(rng, SKIN_TONES)
    top, bottom = random_color(rng), random_color(rng, (0.05, 0.6), (0.12, 0.85))
    stripe = random_color(rng)
    skirt = float(rng.uniform(0.6, 1.4)) if rng.random() < 0.15 else 0.0
    if skirt and rng.random() < 0.5:
        bottom = top
    colors = {
        "skin": skin,
        "hair": _vary(rng, HAIR_TONES),
        "top": top,
        "top_stripe": stripe,
        "print": random_color(rng),
        "bottom": bottom,
        "bottom_stripe": bottom,
        "shoe": random_color(rng, (0.0, 0.7), (0.1, 0.95)),
        "sole": (0.9, 0.9, 0.88) if rng.random() < 0.5 else (0.16, 0.15, 0.15),
        "eye_white": (1.0, 1.0, 1.0),
        "iris": (0.07, 0.06, 0.06),
        "lips": skin * (0.78, 0.5, 0.5),
        "belt": random_color(rng, (0.1, 0.6), (0.1, 0.4)),
        "hat": random_color(rng),
        "object": random_color(rng, (0.1, 0.7), (0.25, 0.8)),
        "object_dark": random_color(rng, (0.1, 0.5), (0.1, 0.4)),
    }
    return Outfit(
        palette=np.array([colors[name] for name in MATERIALS], np.float32),
        sleeve=float(rng.choice((0.0, 0.55, 0.75, 0.75, 0.75, 1.5, 1.93))),
        leg=0.0 if skirt else float(rng.choice((0.45, 0.7, 0.9, 1.5, 1.93, 1.93, 1.93, 1.93))),
        skirt=skirt,
        looseness=float(rng.uniform(0.6, 2.4)),
        stripe_period=float(rng.uniform(0.025, 0.07)) if rng.random() < 0.25 else None,
        hair=str(rng.choice(("short", "short", "short", "long", "long", "tail", "bun", "bald"))),
        hat=str(rng.choice(("none", "cap", "beanie"), p=(0.8, 0.12, 0.08))),
        has_print=bool(rng.random() < 0.35),
        bag=str(rng.choice(("none", "backpack", "left", "right"), p=(0.8, 0.1, 0.05, 0.05))),
    )


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a figure stands in the image: pixels per stature and the pelvis (x, y, depth)."""

    scale: float
    pelvis: np.ndarray

    def project(self, point: np.ndarray) -> tuple[np.ndarray, float]:
        """World point [3] to the image frame: [3] and pixels per stature there."""
        scale = self.scale / (1.0 - point[2] / CAMERA_DISTANCE)
        return self.pelvis + np.array([point[0], -point[1], point[2]]) * (scale, scale, self.scale), scale


class _Dresser:
    """Collects the solids of one figure."""

    def __init__(self, figure, body, outfit, placement):
        self.points, self.frames = figure.points, figure.frames
        self.body, self.outfit, self.placement = body, outfit, placement
        self.cones = []

    def add(self, start, end, radii, material, part, frame=None, axes=None, striped=False, open_end=False):
        """Adds a tapered capsule between two world points; radii in statures.

        With a frame, the solid is stretched by `axes` along the frame's x, y and z.
        """
        start, scale = self.placement.project(start)
        end, end_scale = self.placement.project(end)
        shape = None
        if frame is not None:
            in_image = np.array([[1], [-1], [1]]) * frame
            shape = in_image @ np.diag(1 / np.array(axes)) @ in_image.T
        stripes = None
        if striped and self.outfit.stripe_period:
            stripes = MATERIALS.index(f"{material}_stripe"), self.outfit.stripe_period * scale
        radii = (max(radii[0] * scale, 0.4), max(radii[1] * end_scale, 0.4))
        self.cones.append(Cone(start, end, radii, MATERIALS.index(material), part, shape, open_end, stripes))

    def ball(self, center, axes, material, part, frame):
        """Adds an ellipsoid with the given half axes in statures."""
        size = max(axes)
        self.add(center, center, (size, size), material, part, frame, np.array(axes) / size)

    def on_head(self, *offset):
        """A world point given in the head's frame, in head sizes from the middle of the skull."""
        return self.points["skull"] + self.body.head * (self.frames["head"] @ offset)


def dress(figure: Figure, body: Body, outfit: Outfit, placement: Placement, seated: bool) -> list[Cone]:
    """The solids of a posed figure.

    Args:
        figure: a `Figure`.
        body: its `Body`.
        outfit: an `Outfit`.
        placement: a `Placement`.
        seated: whether to add a seat.

    Returns:
        A list of `Cone`s whose materials index `outfit.palette` and whose parts are `Part`s.
    """
    dresser = _Dresser(figure, body, outfit, placement)
    _trunk(dresser)
    hanging = outfit.skirt and _skirt(dresser)
    for side in SIDES:
        _arm(dresser, side)
        # A skirt that does not hang lies on the thighs.
        _leg(dresser, side, outfit.leg if hanging or not outfit.skirt else min(outfit.skirt, 0.95))
    _head(dresser)
    _hair(dresser)
    if seated:
        _seat(dresser)
    _bag(dresser)
    return dresser.cones


def _trunk(d):
    p, f, girth = d.points, d.frames, d.body.girth
    flat = (1, 1, TRUNK_FLATNESS)
    loose = CLOTH * d.outfit.looseness
    hips = (d.body.hip + 0.033) * (0.5 + 0.5 * girth)
    waist, chest = 0.074 * girth + loose, (d.body.shoulder - 0.012) * (0.6 + 0.4 * girth) + loose
    low = p["pelvis"] + f["pelvis"] @ (0, -0.015, 0)
    d.add(low, p["waist"], (hips, waist - loose), "bottom", Part.TRUNK, f["pelvis"], flat)
    hem = p["pelvis"] + f["pelvis"] @ (0, 0.03, 0)
    d.add(p["waist"], hem, (waist, hips + loose), "top", Part.TRUNK, f["waist"], flat, striped=True, open_end=True)
    d.add(p["waist"], p["chest"], (waist, chest), "top", Part.TRUNK, f["waist"], flat, striped=True)
    upper = p["chest"] + f["chest"] @ (0, 0.12 * d.body.trunk, 0)
    d.add(p["chest"], upper, (chest, chest * 0.9), "top", Part.TRUNK, f["chest"], flat, striped=True)
    neck_end = p["throat"] + f["neck"] @ (0, 0.05, 0.006)
    d.add(p["throat"], neck_end, (0.031, 0.029), "skin", Part.TRUNK)
    for side in SIDES:
        yoke = p["throat"] + f["chest"] @ (0, -0.018, 0)
        d.add(yoke, p[f"{side}_shoulder"], (0.036, 0.034 * d.body.limb_girth), "top", Part.TRUNK)
    collar = p["throat"] + f["chest"] @ (0, -0.016, 0.026)
    d.ball(collar, (0.026, 0.034, 0.022), "skin", Part.TRUNK, f["chest"])
    if d.outfit.has_print:
        front = p["chest"] + f["chest"] @ (0, 0.01, chest * TRUNK_FLATNESS - 0.002)
        d.ball(front, (0.045, 0.032, 0.008), "print", Part.TRUNK, f["chest"])


def _limb(d, side, names, parts, radii, cover, material):
    """Skin of a two-part limb and the cloth over the first `cover` of its parts."""
    upper, middle, lower = (d.points[f"{side}_{name}"] for name in names)
    parts = [Part[f"{side}_{name}".upper()] for name in parts]
    radii = np.array(radii) * d.body.limb_girth
    for i, (start, end) in enumerate(((upper, middle), (middle, lower))):
        first, second = radii[2 * i], radii[2 * i + 1]
        covered = np.clip(cover - i, 0, 1)
        if covered < 1:
            d.add(start, end, (first, second), "skin", parts[i])
        if covered > 0:
            hem = start + covered * (end - start)
            loose = CLOTH * d.outfit.looseness * np.array([0.6 + 0.4 * i, 1.0])
            ends = (first + loose[0], first + covered * (second - first) + loose[1])
            d.add(start, hem, ends, material, parts[i], striped=material == "top", open_end=covered < 1)


def _arm(d, side):
    radii = (0.034, 0.028, 0.027, 0.019)
    _limb(d, side, ("shoulder", "elbow", "wrist"), ("upper_arm", "forearm"), radii, d.outfit.sleeve, "top")
    part = Part[f"{side}_FOREARM".upper()]
    wrist, fingers = d.points[f"{side}_wrist"], d.points[f"{side}_fingers"]
    palm = wrist + 0.5 * (fingers - wrist)
    d.add(wrist, palm, (0.017, 0.022), "skin", part)
    d.add(palm, fingers, (0.021, 0.013), "skin", part)


def _leg(d, side, cover):
    radii = (0.060, 0.042, 0.042, 0.026)
    cover = max(cover, 0.3)
    _limb(d, side, ("hip", "knee", "ankle"), ("thigh", "shank"), radii, cover, "bottom")
    part = Part[f"{side}_SHANK".upper()]
    knee, ankle, heel, toe = (d.points[f"{side}_{name}"] for name in ("knee", "ankle", "heel", "toe"))
    if cover < 2:
        calf = knee + 0.3 * (ankle - knee) + 0.3 * (heel - ankle)
        d.add(calf, ankle, (0.040 * d.body.limb_girth, 0.026), "skin" if cover < 1.2 else "bottom", part)
    d.add(heel, toe, (0.026, 0.021), "shoe", part)
    d.add(ankle, heel + 0.5 * (toe - heel), (0.028, 0.026), "shoe", part)
    drop = 0.5 * (heel - ankle)
    d.add(heel + 0.3 * drop, toe + 0.3 * drop, (0.0255, 0.0205), "sole", part)


def _head(d):
    frame, size = d.frames["head"], d.body.head
    d.ball(d.on_head(0, 0.010, -0.003), size * np.array((0.045, 0.054, 0.054)), "skin", Part.HEAD, frame)
    d.ball(d.on_head(0, -0.026, 0.011), size * np.array((0.035, 0.037, 0.038)), "skin", Part.HEAD, frame)
    d.add(d.on_head(0, 0.006, 0.050), d.on_head(0, -0.012, 0.055), size * np.array((0.005, 0.0095)), "skin", Part.HEAD)
    lips = d.on_head(-0.011, -0.036, 0.044), d.on_head(0.011, -0.036, 0.044)
    d.add(*lips, size * np.array((0.0045, 0.0045)), "lips", Part.HEAD)
    for sign in SIDES.values():
        d.ball(
            d.on_head(sign * 0.019, 0.008, 0.044),
            size * np.array((0.0095, 0.0065, 0.006)),
            "eye_white",
            Part.HEAD,
            frame,
        )
        d.ball(
            d.on_head(sign * 0.019, 0.008, 0.048), size * np.array((0.0048, 0.0055, 0.004)), "iris", Part.HEAD, frame
        )
        brow = d.on_head(sign * 0.010, 0.021, 0.050), d.on_head(sign * 0.029, 0.021, 0.044)
        d.add(*brow, size * np.array((0.003, 0.003)), "hair", Part.HEAD)
        d.ball(
            d.on_head(sign * 0.046, -0.002, -0.004), size * np.array((0.007, 0.016, 0.011)), "skin", Part.HEAD, frame
        )


def _hair(d):
    frame, size = d.frames["head"], d.body.head
    style = d.outfit.hair
    if style != "bald":
        d.ball(d.on_head(0, 0.020, -0.012), size * np.array((0.049, 0.054, 0.054)), "hair", Part.HEAD, frame)
        d.ball(d.on_head(0, -0.012, -0.022), size * np.array((0.044, 0.040, 0.038)), "hair", Part.HEAD, frame)
    if style == "long":
        end = d.points["throat"] + d.frames["neck"] @ (0, -0.035, -0.052)
        radii = size * np.array((0.045, 0.036))
        d.add(d.on_head(0, 0.0, -0.022), end, radii, "hair", Part.HEAD, frame, (1, 1, 0.6))
    if style == "tail":
        d.add(
            d.on_head(0, 0.01, -0.064), d.on_head(0, -0.085, -0.075), size * np.array((0.018, 0.010)), "hair", Part.HEAD
        )
    if style == "bun":
        d.ball(d.on_head(0, 0.045, -0.055), size * np.array((0.024, 0.024, 0.022)), "hair", Part.HEAD, frame)
    if d.outfit.hat != "none":
        d.ball(d.on_head(0, 0.034, -0.006), size * np.array((0.054, 0.044, 0.060)), "hat", Part.HEAD, frame)
    if d.outfit.hat == "cap":
        d.ball(d.on_head(0, 0.036, 0.052), size * np.array((0.040, 0.006, 0.040)), "hat", Part.HEAD, frame)


def _skirt(d):
    """Adds a skirt if the legs let it hang; says whether they do."""
    p = d.points
    knees = 0.5 * (p["left_knee"] + p["right_knee"]) - p["pelvis"]
    if -knees @ d.frames["pelvis"][:, 1] < 0.85 * d.body.leg:
        return False
    spread = 0.5 * np.linalg.norm(p["left_knee"] - p["right_knee"])
    hem = p["pelvis"] + d.outfit.skirt * knees
    radii = (0.086 * d.body.girth, 0.075 * d.body.limb_girth + spread * min(d.outfit.skirt, 1.0) + 0.015)
    d.add(p["pelvis"], hem, radii, "bottom", Part.TRUNK, d.frames["pelvis"], (1, 1, 0.8), open_end=True)
    return True


def _seat(d):
    """A stool under the pelvis, with its legs on the ground below the feet."""
    p = d.points
    down = d.frames["pelvis"] @ (0, -1, 0)
    top = p["pelvis"] + 0.085 * down + d.frames["pelvis"] @ (0, 0, 0.03)
    ground = min(p[f"{side}_{end}"][1] for side in SIDES for end in ("heel", "toe")) - 0.02
    frame = np.eye(3)
    d.ball(top, (0.13, 0.028, 0.12), "object", Part.OBJECT, frame)
    for x, z in ((-0.09, -0.07), (0.09, -0.07), (-0.09, 0.07), (0.09, 0.07)):
        start = top + np.array([x, 0, z])
        d.add(start, np.array([start[0] * 1.05, ground, start[2]]), (0.012, 0.010), "object_dark", Part.OBJECT)


def _bag(d):
    p, f = d.points, d.frames
    if d.outfit.bag == "backpack":
        back = 0.10 * TRUNK_FLATNESS * d.body.girth + 0.035
        low, high = p["chest"] + f["chest"] @ (0, -0.07, -back), p["chest"] + f["chest"] @ (0, 0.04, -back)
        d.add(low, high, (0.075, 0.065), "object", Part.OBJECT, f["chest"], (1, 1, 0.75))
    elif d.outfit.bag in SIDES:
        hand = p[f"{d.outfit.bag}_fingers"]
        d.add(hand, hand - (0, 0.06, 0), (0.008, 0.008), "object_dark", Part.OBJECT)
        d.ball(hand - (0, 0.10, 0), (0.055, 0.05, 0.03), "object", Part.OBJECT, f["pelvis"])
