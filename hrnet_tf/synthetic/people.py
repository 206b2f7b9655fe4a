"""Posable, dressed people for the synthetic dataset.

A person's own frame has x to the person's left, y up and z forward; the world has x to the right
of the image, y up and z towards the viewer. So a person turned by yaw 0 faces the viewer and has
the left side at the right of the image. Lengths are in statures until they are projected into
the image frame of `cones`. All left/right choices are symmetric: only the front and the
back of a person tell the two sides apart.
"""

import dataclasses
import enum

import numpy as np

SIDES = {"left": 1.0, "right": -1.0}


class Part(enum.IntEnum):
    """What a pixel of a figure shows. OBJECT is what is not the person: a seat, a bag."""

    OBJECT = 1
    HEAD = 2
    TRUNK = 3
    LEFT_UPPER_ARM = 4
    RIGHT_UPPER_ARM = 5
    LEFT_FOREARM = 6
    RIGHT_FOREARM = 7
    LEFT_THIGH = 8
    RIGHT_THIGH = 9
    LEFT_SHANK = 10
    RIGHT_SHANK = 11


# Poses in degrees, as (mean, deviation). Arms: flexion (forward), abduction (sideways), twist
# (positive turns a bent forearm outwards and up), elbow. Legs: the same with the knee.
ARMS = {
    "hanging": ((2, 8), (9, 5), (-25, 15), (14, 10)),
    "swung_forward": ((32, 12), (9, 4), (-20, 10), (40, 25)),
    "swung_back": ((-28, 8), (11, 4), (-10, 10), (25, 18)),
    "pumping_forward": ((35, 12), (11, 4), (-30, 10), (95, 15)),
    "pumping_back": ((-40, 8), (14, 5), (-15, 10), (85, 15)),
    "raised": ((10, 12), (155, 14), (40, 25), (25, 20)),
    "waving": ((10, 12), (85, 18), (85, 15), (75, 30)),
    "sideways": ((5, 12), (85, 14), (0, 25), (14, 12)),
    "reaching": ((85, 18), (10, 8), (0, 25), (20, 16)),
    "on_hip": ((-18, 8), (46, 7), (-75, 10), (92, 10)),
    "folded": ((32, 8), (8, 5), (-58, 8), (98, 10)),
    "to_head": ((62, 14), (38, 12), (10, 15), (132, 8)),
    "holding": ((18, 10), (10, 6), (-18, 12), (82, 16)),
    "pointing_up": ((150, 16), (14, 8), (0, 20), (14, 12)),
}
ARM_WEIGHTS = (8, 1, 1, 1, 1, 4, 4, 4, 0.5, 1, 0.3, 0.3, 1, 1)
# What part of the deviations above and below is used: less makes the people easier to learn.
POSE_VARIATION = 0.5
ARM_LIMITS = ((-50, 175), (0, 170), (-90, 100), (0, 145))
LEGS = {
    "straight": ((0, 5), (4, 3), (8, 8), (4, 4)),
    "relaxed": ((16, 6), (9, 4), (14, 8), (24, 8)),
    "stepping_forward": ((24, 6), (2, 2), (4, 5), (8, 6)),
    "stepping_back": ((-18, 6), (2, 2), (4, 5), (24, 12)),
    "running_forward": ((58, 14), (3, 3), (2, 5), (70, 20)),
    "running_back": ((-22, 8), (3, 3), (2, 5), (62, 28)),
    "sitting": ((86, 7), (10, 7), (4, 6), (84, 14)),
    "squatting": ((92, 14), (22, 9), (10, 6), (112, 14)),
    "lunging_forward": ((70, 10), (7, 4), (4, 5), (78, 12)),
    "lunging_back": ((-24, 7), (5, 3), (4, 5), (38, 16)),
    "wide": ((4, 6), (22, 8), (12, 8), (10, 9)),
    "kicking": ((62, 18), (10, 7), (2, 6), (18, 14)),
    "kneeling": ((-2, 5), (6, 4), (2, 4), (92, 7)),
}
LEG_LIMITS = ((-45, 120), (0, 60), (-30, 45), (0, 140))


@dataclasses.dataclass(frozen=True)
class Stance:
    """Legs of either side, the arms that swing with them if any, and how the trunk bends, in degrees."""

    weight: float
    legs: tuple[str, str]
    arms: tuple[str, str] | None
    bend: tuple[float, float]
    seated: bool = False


STANCES = (
    Stance(26, ("straight", "straight"), None, (2, 4)),
    Stance(20, ("straight", "relaxed"), None, (2, 4)),
    Stance(20, ("stepping_forward", "stepping_back"), ("swung_back", "swung_forward"), (5, 4)),
    Stance(8, ("running_forward", "running_back"), ("pumping_back", "pumping_forward"), (14, 6)),
    Stance(5, ("sitting", "sitting"), None, (4, 8), seated=True),
    Stance(1, ("squatting", "squatting"), None, (32, 10)),
    Stance(4, ("lunging_forward", "lunging_back"), None, (8, 8)),
    Stance(10, ("wide", "wide"), None, (4, 8)),
    Stance(3, ("kicking", "straight"), None, (-4, 6)),
    Stance(1, ("lunging_forward", "kneeling"), None, (6, 8)),
    Stance(1, ("straight", "relaxed"), None, (62, 14)),
)
# Chance that the arms swing with the legs where the stance has arms that do.
SWINGING_ARMS = 0.6
# Chance that both arms do the same where they do not swing.
SYMMETRIC_ARMS = 0.5


@dataclasses.dataclass(frozen=True)
class Pose:
    """Joint angles in degrees; arms and legs by side, as in `ARMS` and `LEGS`."""

    yaw: float
    lean: float
    tilt: float
    bend: float
    spine_tilt: float
    spine_twist: float
    head: tuple[float, float, float]
    arms: dict[str, np.ndarray]
    legs: dict[str, np.ndarray]
    seated: bool


def sample_pose(rng: np.random.Generator, yaw: float) -> Pose:
    """A random pose of a person who is turned by `yaw` degrees."""
    weights = np.array([stance.weight for stance in STANCES])
    stance = STANCES[rng.choice(len(STANCES), p=weights / weights.sum())]
    first, second = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    arms: tuple[str, str] | np.ndarray | None = stance.arms
    if arms is None or rng.random() > SWINGING_ARMS:
        weights = np.array(ARM_WEIGHTS)
        arms = rng.choice(list(ARMS), size=2, p=weights / weights.sum())
        if rng.random() < SYMMETRIC_ARMS:
            arms[1] = arms[0]
    bend = rng.normal(*stance.bend)
    return Pose(
        yaw=yaw,
        lean=bend * 0.4,
        tilt=rng.normal(0, 3),
        bend=bend * 0.6,
        spine_tilt=rng.normal(0, 5),
        spine_twist=rng.normal(0, 8),
        head=(float(np.clip(rng.normal(6, 10) - 0.4 * bend, -35, 35)), rng.normal(0, 12), rng.normal(0, 5)),
        arms={
            side: _sample_limb(rng, ARMS[name], ARM_LIMITS) for side, name in zip((first, second), arms, strict=True)
        },
        legs={
            side: _sample_limb(rng, LEGS[name], LEG_LIMITS)
            for side, name in zip((first, second), stance.legs, strict=True)
        },
        seated=stance.seated,
    )


def _sample_limb(rng, angles, limits):
    mean, deviation = np.array(angles, float).T
    return np.clip(rng.normal(mean, POSE_VARIATION * deviation), *np.array(limits, float).T)


@dataclasses.dataclass(frozen=True)
class Body:
    """Stature as a factor, lengths in statures, radii of the trunk and the limbs as factors."""

    stature: float
    trunk: float
    shoulder: float
    hip: float
    arm: float
    leg: float
    head: float
    girth: float
    limb_girth: float


def sample_body(rng: np.random.Generator) -> Body:
    """Random proportions; one in ten people is a child."""
    child = rng.random() < 0.1
    girth = float(np.clip(rng.normal(1.08, 0.13), 0.85, 1.4))
    return Body(
        stature=rng.uniform(0.68, 0.88) if child else rng.normal(1.0, 0.05),
        trunk=rng.normal(0.30, 0.008),
        shoulder=rng.normal(0.098 if child else 0.108, 0.007),
        hip=rng.normal(0.055, 0.004),
        arm=rng.normal(0.155, 0.006),
        leg=rng.normal(0.225 if child else 0.24, 0.007),
        head=rng.normal(1.6 if child else 1.45, 0.05),
        girth=girth,
        limb_girth=float(np.clip(rng.normal(1.0, 0.1) * girth**0.6, 0.75, 1.35)),
    )


def _turn(axis, degrees):
    """[3, 3] rotation about x, y or z (0, 1, 2): y to z, z to x and x to y for positive angles."""
    angle = np.deg2rad(degrees)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i] = np.sin(angle)
    matrix[i, j] = -np.sin(angle)
    return matrix


@dataclasses.dataclass(frozen=True)
class Figure:
    """A posed body: named points, [3] each, and frames, [3, 3] each, in the world frame."""

    points: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]


def pose_figure(body: Body, pose: Pose, camera_pitch: float) -> Figure:
    """Puts a body into a pose.

    Args:
        body: a `Body`.
        pose: a `Pose`.
        camera_pitch: degrees by which the camera looks down.

    Returns:
        A `Figure` with the pelvis at the origin.
    """
    upright = _turn(0, camera_pitch) @ _turn(1, pose.yaw) @ _turn(2, pose.tilt)
    pelvis = upright @ _turn(0, pose.lean)
    half_spine = _turn(1, pose.spine_twist / 2) @ _turn(2, pose.spine_tilt / 2) @ _turn(0, pose.bend / 2)
    waist = pelvis @ half_spine
    chest = waist @ half_spine
    neck = chest @ _turn(0, pose.head[0] / 2)
    head = neck @ _turn(1, pose.head[1]) @ _turn(2, pose.head[2]) @ _turn(0, pose.head[0] / 2)
    frames = {"upright": upright, "pelvis": pelvis, "waist": waist, "chest": chest, "neck": neck, "head": head}
    points = {"pelvis": np.zeros(3)}
    points["waist"] = pelvis @ (0, 0.35 * body.trunk, 0)
    points["chest"] = points["waist"] + waist @ (0, 0.4 * body.trunk, 0)
    points["throat"] = points["chest"] + chest @ (0, 0.27 * body.trunk, 0)
    points["skull"] = points["throat"] + neck @ (0, 0.05, 0.008) + head @ (0, 0.055 * body.head, 0.012)
    for side, sign in SIDES.items():
        _pose_arm(points, frames, side, sign, body, pose.arms[side])
        _pose_leg(points, frames, side, sign, body, pose.legs[side])
    _pose_face(points, head, body.head)
    return Figure(points, frames)


def _pose_arm(points, frames, side, sign, body, angles):
    flexion, abduction, twist, elbow = angles
    raised = np.clip(np.maximum(abduction, flexion) / 90 - 1, 0, 1)
    shoulder = (sign * body.shoulder * (1 - 0.12 * raised), 0.235 * body.trunk + 0.03 * raised, 0)
    points[f"{side}_shoulder"] = points["chest"] + frames["chest"] @ shoulder
    upper = frames["chest"] @ _turn(2, sign * abduction) @ _turn(0, -flexion) @ _turn(1, sign * twist)
    lower = upper @ _turn(0, -elbow)
    points[f"{side}_elbow"] = points[f"{side}_shoulder"] + upper @ (0, -1.08 * body.arm, 0)
    points[f"{side}_wrist"] = points[f"{side}_elbow"] + lower @ (0, -0.95 * body.arm, 0)
    points[f"{side}_fingers"] = points[f"{side}_wrist"] + lower @ (0, -0.06, 0.008)


def _pose_leg(points, frames, side, sign, body, angles):
    flexion, abduction, twist, knee = angles
    points[f"{side}_hip"] = frames["pelvis"] @ (sign * body.hip, -0.01, 0)
    # Legs are posed against the vertical: a trunk bent forwards leaves them standing.
    upper = frames["upright"] @ _turn(2, sign * abduction) @ _turn(0, -flexion) @ _turn(1, sign * twist)
    lower = upper @ _turn(0, knee)
    points[f"{side}_knee"] = points[f"{side}_hip"] + upper @ (0, -body.leg, 0)
    points[f"{side}_ankle"] = points[f"{side}_knee"] + lower @ (0, -0.97 * body.leg, 0)
    points[f"{side}_heel"] = points[f"{side}_ankle"] + lower @ (0, -0.024, -0.014)
    points[f"{side}_toe"] = points[f"{side}_ankle"] + lower @ (sign * 0.012, -0.031, 0.092)


def _pose_face(points, head, size):
    for name, offset in (("nose", (0, -0.011, 0.059)), ("brow", (0, 0.012, 0.050)), ("mouth", (0, -0.036, 0.043))):
        points[name] = points["skull"] + size * (head @ offset)
    for side, sign in SIDES.items():
        points[f"{side}_eye"] = points["skull"] + size * (head @ (sign * 0.019, 0.008, 0.045))
        points[f"{side}_ear"] = points["skull"] + size * (head @ (sign * 0.045, -0.002, -0.004))
