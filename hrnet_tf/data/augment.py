"""Random crops for training: half body, scale, rotation and flip, in the reference's order."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hrnet_tf import geometry

# Half-body crops are made of people with more annotated keypoints than this.
_HALF_BODY_MIN_KEYPOINTS = 8
_HALF_BODY_PADDING = 1.5
# randn() < 0.5, as the reference draws it (not rand()): probability 0.69
_UPPER_BODY_THRESHOLD = 0.5
_ROTATION_PROBABILITY = 0.6


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How strongly crops vary; the defaults are those of HRNet on COCO.

    Attributes:
        scale: standard deviation of the crop's relative size, cut at one deviation.
        rotation: standard deviation in degrees, cut at two; six crops in ten are turned.
        flip_probability: of mirroring.
        half_body_probability: of showing the upper or the lower half of a well annotated person.
    """

    scale: float = 0.35
    rotation: float = 45.0
    flip_probability: float = 0.5
    half_body_probability: float = 0.3


def half_body(
    rng: np.random.Generator,
    keypoints: np.ndarray,
    visible: np.ndarray,
    upper_body: Sequence[int],
    aspect_ratio: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre and size of a crop of half a person.

    Args:
        rng: numpy Generator.
        keypoints: [K,2] in image pixels.
        visible: [K].
        upper_body: indices of the upper half's keypoints.
        aspect_ratio: width / height of the crop.

    Returns:
        centre [2] and size [2] (width, height), or None where no half has enough keypoints.
    """
    is_upper = np.isin(np.arange(len(visible)), upper_body)
    upper, lower = keypoints[(visible > 0) & is_upper], keypoints[(visible > 0) & ~is_upper]
    if rng.standard_normal() < _UPPER_BODY_THRESHOLD and len(upper) > 2:
        chosen = upper
    else:
        chosen = lower if len(lower) > 2 else upper
    if len(chosen) < 2:
        return None
    corner, extent = chosen.min(0), np.ptp(chosen, axis=0)
    if not extent.any():
        return None
    _, size = geometry.box_to_center_size([[*corner, *extent]], aspect_ratio, _HALF_BODY_PADDING)
    return chosen.mean(0), size[0]  # the centre of mass, not of the box


def sample_crop(
    rng: np.random.Generator,
    center: np.ndarray,
    size: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    upper_body: Sequence[int],
    augmentation: Augmentation,
) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Draws the crop of one training sample.

    Args:
        rng: numpy Generator.
        center: [2] (x, y) of the person's crop in image pixels.
        size: [2] (width, height).
        keypoints: [K,2] in image pixels.
        visible: [K].
        upper_body: indices of the upper half's keypoints.
        augmentation: an `Augmentation`.

    Returns:
        centre [2], size [2], rotation in degrees, and whether the image is to be mirrored (the
        centre is that before mirroring).
    """
    if visible.sum() > _HALF_BODY_MIN_KEYPOINTS and rng.random() < augmentation.half_body_probability:
        half = half_body(rng, keypoints, visible, upper_body, size[0] / size[1])
        if half is not None:
            center, size = half
    scale, rotation = augmentation.scale, augmentation.rotation
    size = size * np.clip(1 + scale * rng.standard_normal(), 1 - scale, 1 + scale)
    turned = rng.random() < _ROTATION_PROBABILITY
    angle = np.clip(rotation * rng.standard_normal(), -2 * rotation, 2 * rotation) if turned else 0.0
    return center, size, angle, rng.random() < augmentation.flip_probability
