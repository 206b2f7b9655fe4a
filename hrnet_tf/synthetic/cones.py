"""Draws tapered capsules with depth, shading and antialiasing, for the synthetic dataset.

The image frame has x to the right, y down and z towards the viewer, in pixels; rays are parallel
to z, so a solid's outline and depth have a closed form and need no mesh.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

# Solids are drawn this much larger than they appear, then averaged down.
SUPERSAMPLING = 2
# Part number of a pixel that no solid covers.
EMPTY = 0
# Light that reaches every surface, the rest being directed.
AMBIENT = 0.5
# Below this squared sine of the angle to the ray, a capsule looks like its nearer end.
_END_ON = 1e-3
# Below this squared length, a solid is a ball.
_POINTLIKE = 1e-6
_MISS = np.float32(np.inf)


@dataclasses.dataclass(frozen=True)
class Cone:
    """A tapered capsule, or after a linear map of space an ellipsoid or a flattened capsule.

    Attributes:
        start: [3] centre of the first end.
        end: [3] centre of the second end.
        radii: radius of either end, in pixels (in mapped space where `shape` is given).
        material: index of its colour.
        part: number to record where it is seen, above 0.
        shape: [3, 3] map under which the solid becomes a tapered capsule, or None.
        open_end: whether the second end is cut off, as the hem of a sleeve is.
        stripes: index of a second colour and period in pixels along the solid, or None.
    """

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    material: int
    part: int
    shape: np.ndarray | None = None
    open_end: bool = False
    stripes: tuple[int, float] | None = None


@dataclasses.dataclass(frozen=True)
class Layer:
    """Drawn solids, over the part of the image that they may cover.

    Attributes:
        top_left: (x, y) of the layer in the image, integers.
        color: [h, w, 3] float32 0..1, multiplied by alpha.
        alpha: [h, w, 1] float32 0..1.
        parts: [h, w] uint8, `EMPTY` or the part number seen.
        depth: [h, w] float32, pixels towards the viewer.
    """

    top_left: tuple[int, int]
    color: np.ndarray
    alpha: np.ndarray
    parts: np.ndarray
    depth: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """The slices of the image that the layer covers."""
        (x, y), (height, width) = self.top_left, self.parts.shape
        return slice(y, y + height), slice(x, x + width)


class _Buffers:
    """What is seen at every pixel so far, `SUPERSAMPLING` times enlarged; [h, w] each."""

    def __init__(self, height, width, light):
        self.depth = np.full((height, width), -np.inf, np.float32)
        self.light = np.zeros((height, width), np.float32)
        self.material = np.zeros((height, width), np.uint8)
        self.part = np.full((height, width), EMPTY, np.uint8)
        self.light_direction = light


def draw_cones(
    cones: Sequence[Cone], palette: np.ndarray, light: np.ndarray, image_size: tuple[int, int]
) -> Layer | None:
    """Draws solids where they fall into an image.

    Args:
        cones: `Cone`s.
        palette: [M, 3] float32 colours 0..1, RGB.
        light: [3] unit vector towards the light.
        image_size: (height, width) in pixels.

    Returns:
        A `Layer`, or None where nothing falls into the image.
    """
    bounds = np.array([_bounds(cone) for cone in cones])
    height, width = image_size
    left, top = np.maximum(np.floor(bounds[:, :2].min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(bounds[:, 2:].max(axis=0)).astype(int) + 1, (width, height))
    if right - left < 2 or bottom - top < 2:
        return None
    buffers = _Buffers((bottom - top) * SUPERSAMPLING, (right - left) * SUPERSAMPLING, light.astype(np.float32))
    for cone, box in zip(cones, bounds, strict=True):
        _draw_cone(buffers, cone, box, (left, top))
    return _finish(buffers, palette, (int(left), int(top)))


def _bounds(cone):
    """The box (left, top, right, bottom) of a solid, in image pixels."""
    if cone.shape is None:
        reach = np.array([[cone.radii[0]], [cone.radii[1]]])
    else:
        # A ball of mapped space reaches as far as the rows of the inverse map are long.
        rows = np.linalg.norm(np.linalg.inv(cone.shape)[:2], axis=1)
        reach = np.outer(cone.radii, rows)
    ends = np.stack([cone.start[:2], cone.end[:2]])
    return np.concatenate([(ends - reach).min(axis=0), (ends + reach).max(axis=0)])


def _draw_cone(buffers, cone, box, origin):
    """Casts one ray per pixel of the box against a solid and keeps what is nearest."""
    rows, columns = buffers.depth.shape
    low = np.maximum(np.floor((box[:2] - origin) * SUPERSAMPLING).astype(int), 0)
    high = np.minimum(np.ceil((box[2:] - origin) * SUPERSAMPLING).astype(int), (columns, rows))
    if (high <= low).any():
        return
    x = ((np.arange(low[0], high[0]) + 0.5) / SUPERSAMPLING + origin[0] - cone.start[0]).astype(np.float32)
    y = ((np.arange(low[1], high[1]) + 0.5) / SUPERSAMPLING + origin[1] - cone.start[1]).astype(np.float32)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    depth, along, normal_at = _cast(cone, x[None, :], y[:, None])
    seen = depth > buffers.depth[window]
    if not seen.any():
        return
    normal = normal_at(seen)
    facing = np.maximum(buffers.light_direction @ normal / np.linalg.norm(normal, axis=0), 0.0)
    buffers.depth[window][seen] = depth[seen]
    buffers.light[window][seen] = AMBIENT + (1.0 - AMBIENT) * facing
    buffers.material[window][seen] = _materials(cone, along[seen])
    buffers.part[window][seen] = cone.part


def _materials(cone, along):
    if cone.stripes is None:
        return cone.material
    other, period = cone.stripes
    position = along * np.linalg.norm(cone.end - cone.start) / period
    return np.where(position % 1.0 < 0.5, cone.material, other).astype(np.uint8)


def _cast(cone, x, y):
    """Intersects the rays through pixels with a solid.

    Works in mapped space, with u and v across the ray and w along it, w = 0 beside the start of
    the solid. Lengths are in units of the solid's own, which keeps the squares of squares below
    within the precision of float32.

    Args:
        cone: the `Cone`.
        x: [1, w] pixels right of its start.
        y: [h, 1] pixels below its start.

    Returns:
        `depth`, [h, w], -inf where the ray misses; `along`, [h, w], 0..1 from start to end; and a
        function that gives the normals [3, n] at the n pixels of a mask.
    """
    shape, stretch, basis = _ray_basis(cone.shape)
    axis = basis @ shape @ (cone.end - cone.start)
    slant = axis @ axis - (cone.radii[0] - cone.radii[1]) ** 2
    unit = np.sqrt(slant) if slant > _POINTLIKE else max(cone.radii)
    to_unit = (basis @ shape / unit).astype(np.float32)
    axis = (axis / unit).astype(np.float32)
    first, second = (np.float32(radius / unit) for radius in cone.radii)

    u, v = (row[0] * x + row[1] * y for row in to_unit[:2])
    across = u * u + v * v
    projected = axis[0] * u + axis[1] * v
    with np.errstate(invalid="ignore"):
        hit = np.fmin(-np.sqrt(first * first - across), _MISS)
        along = np.zeros_like(hit)
        if slant > _POINTLIKE and not cone.open_end:
            end_across = across - 2.0 * projected + axis[:2] @ axis[:2]
            end_hit = axis[2] - np.sqrt(second * second - end_across)
            along[end_hit < hit] = 1.0
            hit = np.fmin(hit, end_hit)
        if slant > _POINTLIKE and 1.0 - axis[2] ** 2 > _END_ON:
            _cast_side(hit, along, across, projected, axis, (first, second))
    depth = (to_unit[2, 0] * x + to_unit[2, 1] * y - hit) * np.float32(unit / stretch) + np.float32(cone.start[2])

    def normal_at(mask):
        s = along[mask]
        return to_unit.T @ np.stack([u[mask] - axis[0] * s, v[mask] - axis[1] * s, hit[mask] - axis[2] * s])

    return depth, along, normal_at


def _ray_basis(shape):
    """The map (identity for None), the length of a mapped ray of length 1, and rows u, v, w of mapped space."""
    if shape is None:
        return np.eye(3), 1.0, np.diag([1.0, 1.0, -1.0])
    ray = -shape[:, 2]
    stretch = np.linalg.norm(ray)
    # The complete QR decomposition of one column gives two directions across it.
    across = np.linalg.qr(ray[:, None], mode="complete")[0][:, 1:]
    return shape, stretch, np.stack([across[:, 0], across[:, 1], ray / stretch])


def _cast_side(hit, along, across, projected, axis, radii):
    """Puts hits of the conical side between the two ends into `hit` and `along`, in place."""
    taper, offset = radii[0] - radii[1], (radii[0] - radii[1]) * radii[0]
    k2 = 1.0 - axis[2] ** 2
    k1 = axis[2] * (offset - projected)
    k0 = across - projected * (projected - 2.0 * offset) - (1.0 + taper**2) * radii[0] ** 2
    side_hit = (-np.sqrt(k1 * k1 - k0 * k2) - k1) / k2
    position = projected - offset + side_hit * axis[2]
    on_side = (position > 0.0) & (position < 1.0)
    hit[on_side] = side_hit[on_side]
    along[on_side] = position[on_side]


def _finish(buffers, palette, top_left):
    """Colours the buffers and averages them down into a `Layer`."""
    covered = buffers.part != EMPTY
    light = buffers.light * _crevices(buffers.depth, covered)
    color = palette.take(buffers.material, axis=0) * (light * covered)[..., None]
    size = (covered.shape[1] // SUPERSAMPLING, covered.shape[0] // SUPERSAMPLING)
    middle = slice(SUPERSAMPLING // 2, None, SUPERSAMPLING)
    return Layer(
        top_left=top_left,
        color=cv2.resize(color, size, interpolation=cv2.INTER_AREA),
        alpha=cv2.resize(covered.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None],
        parts=buffers.part[middle, middle].copy(),
        depth=buffers.depth[middle, middle].copy(),
    )


def _crevices(depth, covered):
    """[h, w] factors that darken what lies behind its surroundings, as a limb's shadow does."""
    weight = covered.astype(np.float32)
    known = np.where(covered, depth, np.float32(0.0))
    size = max(3, covered.shape[0] // 24 | 1)
    near = cv2.blur(known, (size, size)) / np.maximum(cv2.blur(weight, (size, size)), 1e-3)
    return 1.0 - 0.45 * np.clip((near - known) / (0.7 * size), 0.0, 1.0)
