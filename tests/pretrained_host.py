"""A server of networks with a list of them, and files as programs write them."""

import hashlib

import numpy as np
import seeded
import weight_files
from file_server import Served
from test_hrnetv2 import as_mmpose
from test_pose_resnet import SHALLOW, draw, shallow_shapes

from hrnet_tf.pretrained import download

SMALL = "hrnet_w18_small_v1"


def prefixed(state, prefix):
    return {prefix + name: array for name, array in state.items()}


# How programs write the names of weights, and what they put them into.
DIALECTS = {
    "official": lambda state: state,
    "dataparallel": lambda state: prefixed(state, "module."),
    "training": lambda state: {"epoch": 1, "state_dict": prefixed(state, "module."), "perf": 0.5, "optimizer": {}},
    "mmpose 1.x": lambda state: {"meta": {"epoch": 210}, "state_dict": as_mmpose(state, "head")},
    "mmpose 0.x": lambda state: {"meta": {"epoch": 210}, "state_dict": as_mmpose_0(state)},
}


def as_mmpose_0(state):
    if "conv_layers.0.weight" in state:
        return as_mmpose(state, "keypoint_head")
    return {("keypoint_head." if "final" in name else "backbone.") + name: array for name, array in state.items()}


def state_of(network, num_keypoints):
    """Seeded weights of a small network."""
    if network in SHALLOW:
        return draw(shallow_shapes(SHALLOW[network], num_keypoints))
    if network == SMALL:
        return weight_files.small_pose(num_keypoints)
    state = seeded.state_dict("mmpose_hrnetv2_w18", 0)
    rng = np.random.default_rng(num_keypoints)
    head = rng.normal(0, 0.1, (num_keypoints, 270, 1, 1)), rng.normal(0, 0.1, num_keypoints)
    return state | dict(zip(("final_layer.weight", "final_layer.bias"), (h.astype("f4") for h in head), strict=True))


class Host:
    """A server of networks, and the list of them."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.rows = []

    def add(self, name, network, size, keypoint_set, content, legacy=False, codec="msra", sha256=None):
        """Adds the file of an object, and its row; returns the file."""
        path = self.folder / f"{name}.pth"
        weight_files.save(path, content, legacy=legacy)
        self.server.files[f"/{name}.pth"] = Served(path.read_bytes())
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if sha256 is None else sha256
        self.rows.append((name, network, size, keypoint_set, codec, sha256, f"{self.server.url}/{name}.pth"))
        columns = "name", "network", "input_size", "keypoint_set", "codec", "sha256", "urls"
        text = "\n".join("\t".join(row) for row in (columns, *self.rows))
        (self.folder / "list.tsv").write_text(text, encoding="utf-8")
        return path


def use(host, cache, monkeypatch):
    """Makes `cache` the folder that is downloaded to, with the list of `host` and nothing of what was asked before."""
    monkeypatch.setenv("HRNET_TF_HOME", str(cache))
    monkeypatch.setenv("HRNET_TF_PRETRAINED", str(host.folder / "list.tsv"))
    monkeypatch.delenv("HRNET_TF_MIRROR", raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    host.server.asked.clear()
    return cache
