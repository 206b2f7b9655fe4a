"""Random crops for training, as the references draw them: of people (half body, scale, rotation, flip), of images."""

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


def half_bodies(
    prefers_upper: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    upper_body: Sequence[int],
    aspect_ratio: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and sizes of crops of half a person: of the preferred half, or the other if that has enough more.

    Args:
        prefers_upper: [n] bool.
        keypoints: [n,K,2] in image pixels.
        visible: [n,K].
        upper_body: indices of the upper half's keypoints.
        aspect_ratio: width / height of the crop.

    Returns:
        centre [n,2] and size [n,2] (width, height), and whether there is such a crop [n]: a half of two keypoints in
        two places at least.
    """
    is_upper = np.isin(np.arange(visible.shape[1]), upper_body)
    upper, lower = (visible > 0) & is_upper, (visible > 0) & ~is_upper
    takes_upper = (prefers_upper & (upper.sum(1) > 2)) | (lower.sum(1) <= 2)
    chosen = np.where(takes_upper[:, None], upper, lower)[..., None]
    corner = np.min(keypoints, axis=1, where=chosen, initial=np.inf)
    extent = np.max(keypoints, axis=1, where=chosen, initial=-np.inf) - corner
    exists = (extent > 0).any(1)
    boxes = np.where(exists[:, None], np.concatenate([corner, extent], 1), 1)
    _, size = geometry.box_to_center_size(boxes, aspect_ratio, _HALF_BODY_PADDING)
    # The centre of mass, not of the box.
    center = np.sum(keypoints, axis=1, where=chosen, dtype=np.float64) / np.maximum(chosen.sum(1), 1)
    return center, size, exists


def sample_crops(
    rng: np.random.Generator,
    center: np.ndarray,
    size: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    upper_body: Sequence[int],
    augmentation: Augmentation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws the crops of n training samples.

    Args:
        rng: numpy Generator.
        center: [n,2] (x, y) of the people's crops in image pixels.
        size: [n,2] (width, height), all of one aspect ratio.
        keypoints: [n,K,2] in image pixels.
        visible: [n,K].
        upper_body: indices of the upper half's keypoints.
        augmentation: an `Augmentation`.

    Returns:
        centre [n,2], size [n,2], rotation [n] in degrees, and whether the image is to be mirrored [n] (the
        centre is that before mirroring).
    """
    is_halved, is_turned, is_flipped = rng.random((3, len(center))) < np.array(
        [[augmentation.half_body_probability], [_ROTATION_PROBABILITY], [augmentation.flip_probability]]
    )
    upper_deviate, scale_deviate, rotation_deviate = rng.standard_normal((3, len(center)))
    rows = np.flatnonzero(is_halved & (visible.sum(1) > _HALF_BODY_MIN_KEYPOINTS))
    if len(rows):
        prefers_upper = upper_deviate[rows] < _UPPER_BODY_THRESHOLD
        aspect_ratio = size[0, 0] / size[0, 1]
        *half, exists = half_bodies(prefers_upper, keypoints[rows], visible[rows], upper_body, aspect_ratio)
        center, size = center.copy(), size.copy()
        center[rows[exists]], size[rows[exists]] = (part[exists] for part in half)
    scale, rotation = augmentation.scale, augmentation.rotation
    size = size * np.clip(1 + scale * scale_deviate, 1 - scale, 1 + scale)[:, None]
    angle = np.where(is_turned, np.clip(rotation * rotation_deviate, -2 * rotation, 2 * rotation), 0.0)
    return center, size, angle, is_flipped


@dataclasses.dataclass(frozen=True)
class ImageAugmentation:
    """How strongly crops of whole images vary; the defaults are those of HigherHRNet on COCO.

    Attributes:
        scales: least and largest side of the square crop, in the shorter sides of the image.
        rotation: up to so many degrees to either side.
        shift: of the crop's middle from that of the image, up to so much of the crop's side in x and y each.
        flip_probability: of mirroring.
    """

    scales: tuple[float, float] = (0.75, 1.5)
    rotation: float = 30.0
    shift: float = 0.2
    flip_probability: float = 0.5


def sample_image_crops(
    rng: np.random.Generator, sizes: np.ndarray, augmentation: ImageAugmentation
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws the square crops of n whole images.

    Args:
        rng: numpy Generator.
        sizes: [n,2] (width, height) of the images.
        augmentation: an `ImageAugmentation`.

    Returns:
        as `sample_crops`.

    Source: HRNet/HigherHRNet-Human-Pose-Estimation, lib/dataset/transforms/transforms.py, RandomAffineTransform with
    scale_type "short"; shifts are whole pixels there
    """
    count = len(sizes)
    side = rng.uniform(*augmentation.scales, count) * sizes.min(axis=1)
    rotation = rng.uniform(-augmentation.rotation, augmentation.rotation, count)
    shift = rng.uniform(-augmentation.shift, augmentation.shift, (count, 2)) * side[:, None]
    is_flipped = rng.random(count) < augmentation.flip_probability
    return sizes / 2 + shift, np.repeat(side[:, None], 2, axis=1), rotation, is_flipped
