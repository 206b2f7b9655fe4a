"""The camera of rendered people: where it is, and what it makes of the light."""

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class View:
    """The camera of a scene: image size, horizon (y), its height in statures, tilt in degrees, light [3]."""

    size: tuple[int, int]
    horizon: float
    height: float
    pitch: float
    light: np.ndarray


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How a camera records light.

    Attributes:
        brightness: factor.
        tint: [3] factors of red, green and blue, float32.
        contrast: factor about the middle grey.
        slope: what the light gains from the middle to the right and to the lower border, float32.
        falloff: share of the light that is missing in the middle of each border.
        blur: deviation in pixels, 0 for none.
    """

    brightness: float
    tint: np.ndarray
    contrast: float
    slope: np.ndarray
    falloff: float
    blur: float


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """A random `Exposure`."""
    return Exposure(
        brightness=rng.uniform(0.85, 1.25),
        tint=np.clip(rng.normal(1, 0.06, 3), 0.85, 1.15).astype(np.float32),
        contrast=rng.uniform(0.8, 1.25),
        slope=rng.normal(0, 0.1, 2).astype(np.float32),
        falloff=rng.uniform(0, 0.15),
        blur=rng.uniform(0.3, 0.8) if rng.random() < 0.3 else 0.0,
    )


def photograph(image: np.ndarray, exposure: Exposure, noise: np.ndarray) -> np.ndarray:
    """Gives a scene the light, the blur and the noise of a camera.

    Args:
        image: [h, w, 3] float32 0..1.
        exposure: an `Exposure`.
        noise: [h, w] float32, what is added to all colours.

    Returns:
        [h, w, 3] uint8.
    """
    height, width = image.shape[:2]
    image = image * np.float32(exposure.brightness) * exposure.tint
    image = (image - 0.5) * np.float32(exposure.contrast) + 0.5
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    dx, dy = exposure.slope
    image = image * (1 + dx * x + dy * y - np.float32(exposure.falloff) * (x * x + y * y))[..., None]
    if exposure.blur:
        image = cv2.GaussianBlur(image, (0, 0), exposure.blur)
    return (np.clip(image + noise[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)
