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


def nhwc(array):
    """PyTorch's [B,C,h,w] as [B,h,w,C]."""
    return np.moveaxis(np.asarray(array, np.float32), 1, -1)
