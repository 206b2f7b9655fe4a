"""How people walk: ways over the ground, and the pose at every moment of a step.

The ground is measured in statures: across, to the right of the image, and the distance from the camera.
"""

import dataclasses

import numpy as np
from scipy.interpolate import CubicSpline

from hrnet_tf.synthetic.people import SIDES, Pose

# Ways are followed in steps of so many seconds, whatever the frame rate.
TIME_STEP = 0.01
# Statures a second that people walk, and that a step with either leg takes them forwards.
SPEEDS = (0.65, 0.95)
STRIDE = 0.69
# Those who turn go at this share of their speed, turn by so many degrees a second, and step at this share of the rate.
TURNING_SPEED, TURN_RATE, TURNING_STEPS = 0.15, 220.0, 0.4
# Seconds in which a speed is reached.
ACCELERATION_TIME = 0.2
# How far people walk to either side, as shares of half of what is seen at their distance, and how far they stray.
REACHES = (0.4, 0.9)
STRAYING = 0.08

# Angles of hip and knee in degrees by shares of the cycle from heel strike to heel strike of the same leg: the usual
# curves of level walking, as in Perry and Burnfield, Gait Analysis (2010).
_SHARES = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_HIP = (29, 26, 18, 8, -2, -9, -4, 12, 26, 32, 29)
_KNEE = (5, 16, 18, 11, 6, 11, 36, 60, 50, 16, 5)
HIP = CubicSpline(_SHARES, _HIP, bc_type="periodic")
KNEE = CubicSpline(_SHARES, _KNEE, bc_type="periodic")
# Of those who stand: hip and knee.
STANDING = (4.0, 5.0)


@dataclasses.dataclass(frozen=True)
class Way:
    """Where somebody is at T times.

    Attributes:
        across: [T] statures to the right of the middle.
        distance: [T] statures from the camera.
        yaw: [T] degrees, as of `people.Pose`.
        cycle: [T] cycles of two steps since the beginning.
        swing: [T] 0..1, how far limbs swing.
    """

    across: np.ndarray
    distance: np.ndarray
    yaw: np.ndarray
    cycle: np.ndarray
    swing: np.ndarray


def sample_way(rng: np.random.Generator, times: np.ndarray, distance: float, half_width: float) -> Way:
    """A random way from side to side at about one distance.

    Args:
        rng: a `numpy.random.Generator`.
        times: [T] seconds from 0, ascending.
        distance: statures from the camera.
        half_width: statures that are seen there on either side of the middle.

    Returns:
        a `Way` that depends on nothing else: at another frame rate it is the same.
    """
    speed, side = rng.uniform(*SPEEDS), float(rng.choice((-1, 1)))
    x, z, v = half_width * rng.uniform(-0.9, 0.9), distance, speed
    target, turn = _next_target(rng, side, distance, half_width)
    yaw, cycle = np.rad2deg(np.arctan2(target[0] - x, z - target[1])), rng.random()
    steps = np.arange(0, times[-1] + 2 * TIME_STEP, TIME_STEP)
    states = np.empty((len(steps), 5))
    for i in range(len(steps)):
        states[i] = x, z, yaw, cycle, np.clip(v / speed, 0.25, 1)
        if side * (x - target[0]) > 0:
            side = -side
            target, turn = _next_target(rng, side, distance, half_width)
        error = (np.rad2deg(np.arctan2(target[0] - x, z - target[1])) - yaw + 180) % 360 - 180
        if abs(error) > 90:  # turns round on the side that was chosen
            error = turn * (error % 360 if turn > 0 else -error % 360)
        yaw += np.clip(8 * error, -TURN_RATE, TURN_RATE) * TIME_STEP
        wanted = speed * max(TURNING_SPEED, np.cos(np.deg2rad(np.clip(error, -90, 90))))
        v += (wanted - v) * TIME_STEP / ACCELERATION_TIME
        x += v * np.sin(np.deg2rad(yaw)) * TIME_STEP
        z -= v * np.cos(np.deg2rad(yaw)) * TIME_STEP
        cycle += max(v, TURNING_STEPS * speed) / STRIDE * TIME_STEP
    return Way(*(np.interp(times, steps, column) for column in states.T))


def _next_target(rng, side, distance, half_width):
    """A point at a side, and the direction in which the one who comes there turns round."""
    target = side * half_width * rng.uniform(*REACHES), distance + rng.uniform(-STRAYING, STRAYING)
    return target, float(rng.choice((-1, 1)))


@dataclasses.dataclass(frozen=True)
class Manner:
    """What is somebody's own in walking, in degrees; the hanging arms' angles by side as in `people.ARMS`."""

    lean: float
    tilt: float
    nod: float
    arm_swing: float
    arms: dict[str, np.ndarray]
    looking: tuple[float, float]


def sample_manner(rng: np.random.Generator) -> Manner:
    """A random `Manner`."""
    return Manner(
        lean=rng.normal(3, 1.5),
        tilt=rng.normal(0, 1),
        nod=rng.normal(4, 4),
        arm_swing=rng.uniform(14, 26),
        arms={side: rng.normal((0, 8, -18, 18), (4, 2, 6, 5)) for side in SIDES},
        looking=(rng.uniform(0, 1), rng.uniform(0.06, 0.2)),
    )


def walking_pose(manner: Manner, way: Way, i: int, time: float) -> Pose:
    """The pose of moment `i` of a way, which is at `time` seconds."""
    cycle, swing = way.cycle[i], way.swing[i]
    legs, forward = {}, {}
    for side, offset in (("left", 0.0), ("right", 0.5)):
        share = (cycle + offset) % 1
        hip, knee = (
            rest + swing * (float(curve(share)) - rest) for curve, rest in zip((HIP, KNEE), STANDING, strict=True)
        )
        legs[side] = np.array([hip, 2.0, 5.0, max(knee, 0.0)])
        forward[side] = swing * np.cos(2 * np.pi * (share - 0.9))  # 1 where the leg is farthest forwards
    arms = {}
    for side, other in (("left", "right"), ("right", "left")):
        flexion, abduction, twist, elbow = manner.arms[side]
        reach = manner.arm_swing * forward[other]
        arms[side] = np.array([flexion + reach, abduction, twist, max(elbow + 0.6 * reach, 2.0)])
    phase, rate = manner.looking
    return Pose(
        yaw=float(way.yaw[i]),
        lean=manner.lean,
        tilt=manner.tilt + 1.5 * forward["left"] * 0.5,
        bend=manner.lean,
        spine_tilt=0.0,
        spine_twist=5.0 * forward["left"],
        head=(manner.nod, 12 * np.sin(2 * np.pi * (phase + rate * time)), 0.0),
        arms=arms,
        legs=legs,
        seated=False,
    )
