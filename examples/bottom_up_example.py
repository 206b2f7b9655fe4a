"""People of a photograph from `model.onnx` of a network of whole images, with numpy and scipy beside ONNX Runtime.

    pip install onnxruntime opencv-python-headless scipy
    python bottom_up_example.py model.onnx photo.jpg 512

TensorFlow is not needed: of hrnet_tf the example has `hrnet_tf.grouping`, which is numpy and scipy alone. What a server
sends is grouped likewise. The last argument is the size that images' shorter sides have: `model_card.json` has it as
input_size.
"""

import sys

import cv2
import numpy as np
import onnxruntime

from hrnet_tf.grouping import group, least_score

MULTIPLE = 64  # of the longer side


def resized(image, side):
    """An image [H,W,3] with a shorter side of `side` pixels, black beyond it, and the matrix back to its own pixels."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    long = int((scale * max(height, width) + MULTIPLE - 1) // MULTIPLE * MULTIPLE)
    size = (side, long) if width < height else (long, side)  # width, height
    center = int(width / 2 + 0.5), int(height / 2 + 0.5)
    offset = [half / 2 - scale * middle for half, middle in zip(size, center, strict=True)]
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    return cv2.warpAffine(image, matrix, size), cv2.invertAffineTransform(matrix)


def maps(session, image):
    """Heatmaps [h,w,K] and tags [h,w,K,1] of an image [h,w,3] RGB."""
    low, high = session.run(["heatmaps_tags", "heatmaps"], {"images": image[None].astype(np.float32)})
    num_keypoints = high.shape[-1]

    def enlarged(found, size):
        return np.stack([cv2.resize(found[..., k], size) for k in range(found.shape[-1])], axis=-1)

    low = enlarged(low[0], high.shape[2:0:-1])
    heatmaps, tags = (low[..., :num_keypoints] + high[0]) / 2, low[..., num_keypoints:]
    size = image.shape[1::-1]
    return enlarged(heatmaps, size), enlarged(tags, size)[..., None]


def main(model, photo, side):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image, back = resized(cv2.imread(photo)[..., ::-1], int(side))
    people, scores = group(*maps(session, image))
    for keypoints, score in zip(people, scores, strict=True):
        if score < least_score(len(keypoints)):
            continue
        points = np.round(keypoints[:, :2] @ back[:, :2].T + back[:, 2], 1)
        there = keypoints[:, 2] > 0.1
        print(f"{score:.3f}", *(f"{k}:{x:g},{y:g}" for k, (x, y) in enumerate(points) if there[k]))


if __name__ == "__main__":
    main(*sys.argv[1:])
