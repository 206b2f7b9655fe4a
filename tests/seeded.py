"""Weights and images that the golden outputs were computed with: values follow from a seed and a name alone."""

import gzip
import json
import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"


def load(name):
    """The arrays of tests/golden/<name>.npz."""
    return np.load(GOLDEN / f"{name}.npz")


def state_dict(name, seed, init="seeded"):
    """PyTorch state dict, {parameter name: array}.

    init "seeded" makes every tensor random and of a useful size; "normal_0.001" is how the
    reference starts training.
    """
    draw = _draw_seeded if init == "seeded" else _draw_initial
    return {
        key: np.asarray(draw(np.random.default_rng([seed, zlib.crc32(key.encode())]), key, tuple(shape)), np.float32)
        for key, shape in state_shapes(name).items()
    }


def state_shapes(name):
    """{parameter name: shape} of a PyTorch state dict."""
    with gzip.open(GOLDEN / "state_dicts.json.gz", "rt") as file:
        return json.load(file)[name]


def _draw_initial(rng, key, shape):
    if len(shape) == 4:
        return rng.standard_normal(shape) * 0.001
    return np.zeros(shape) if key.endswith(("running_mean", "bias", "num_batches_tracked")) else np.ones(shape)


def _draw_seeded(rng, key, shape):
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if key.endswith("running_mean"):
        return rng.normal(0, 0.1, shape)
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 4:
        return rng.standard_normal(shape) * np.sqrt(1.0 / np.prod(shape[1:]))
    if key.endswith("weight") and len(shape) == 1:
        return rng.uniform(0.5, 1.0, shape)
    return rng.normal(0, 0.1, shape)


def images(seed, n, height, width):
    """[n,height,width,3] uint8 RGB: coarse squares and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, height // 16, width // 16, 3)).astype(np.float32)
    coarse = np.repeat(np.repeat(coarse, 16, 1), 16, 2)
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def grouping_scene(seed, num_people, height, width, noise, dropped, tag_gap):
    """Heatmaps [17, height, width] and tags [17, height, width, 2] float32 of people to be grouped by their tags.

    noise: amplitude of the heatmaps between people; dropped: share of keypoints that a person lacks;
    tag_gap: distance between the tags of one person and the next.
    """
    rng = np.random.default_rng(seed)
    heatmaps = rng.uniform(0, noise, (17, height, width))
    tags = rng.normal(0, 0.15, (17, height, width, 2))
    rows, columns = np.mgrid[:height, :width]
    for person in range(num_people):
        middle_x, middle_y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.8) * height
        for k in range(17):
            x = np.clip(middle_x + rng.normal(0, 0.08 * width), 1, width - 2)
            y = np.clip(middle_y + rng.normal(0, 0.12 * height), 1, height - 2)
            peak, offset, lacks = rng.uniform(0.4, 1.0), rng.normal(0, 0.1), rng.random() < dropped
            if lacks:
                continue
            distance = (columns - x) ** 2 + (rows - y) ** 2
            heatmaps[k] = np.maximum(heatmaps[k], peak * np.exp(-distance / 8))
            near = distance < 36
            tags[k][near] = person * tag_gap + offset + rng.normal(0, 0.05, (near.sum(), 2))
    return heatmaps.astype(np.float32), tags.astype(np.float32)


def nhwc(array):
    """PyTorch's [B,C,h,w] as [B,h,w,C]."""
    return np.moveaxis(np.asarray(array, np.float32), 1, -1)
