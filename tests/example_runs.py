"""Runs the examples of exported files as where this package is not installed, and says what they are to print."""

import importlib.util
import pathlib
import subprocess
import sys

import cv2
import numpy as np
from tiny_network import SIZE, blurred_crops

from hrnet_tf import geometry
from hrnet_tf.heatmaps import decode

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
# Runs a script as where the package and TensorFlow are not installed.
RUN_WITHOUT = """
import runpy, sys
for name in ("hrnet_tf", "tensorflow", "keras"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(name, model_path, image, box, folder):
    """[K,2] what an example prints of a person in an image, and the keypoints' names."""
    path = folder / "image.ppm"
    path.write_bytes(b"P6\n# a comment\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes())
    arguments = [EXAMPLES, EXAMPLES / name, model_path, path, *box]
    result = subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT, *map(str, arguments)], capture_output=True, text=True, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    return np.array([line[1:] for line in lines], np.float64), tuple(line[0] for line in lines)


def example_frame(box, codec):
    """A `Frame` of the examples."""
    spec = importlib.util.spec_from_file_location("crops", EXAMPLES / "crops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Frame(box, SIZE, codec)


def example_image():
    """[H,W,3] uint8 and a box that reaches beyond its border."""
    image = cv2.GaussianBlur(cv2.resize(blurred_crops(1, seed=3)[0], (200, 150)), (9, 9), 3)
    return image, (14.5, -30.0, 60.0, 111.0)


def expected_keypoints(model, image, box, codec, refine):
    """[K,3] of a person in an image, from the example's crop, which rounds otherwise than OpenCV's."""
    keypoints = decode(model(example_frame(box, codec).cut(image)[None]), refine).numpy()[0]
    center, size = geometry.box_to_center_size([box], SIZE[1] / SIZE[0])
    heatmap_size = (SIZE[0] // 4, SIZE[1] // 4)
    back = geometry.affine_matrix(center, size, 0, heatmap_size, inverse=True, align_corners=codec == "udp")
    keypoints[:, :2] = geometry.transform_points(keypoints[None, :, :2], back)[0]
    return keypoints
