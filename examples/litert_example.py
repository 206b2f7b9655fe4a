"""Keypoints of a person with LiteRT alone (`pip install ai-edge-litert`), from crops to heatmaps.

python examples/litert_example.py model_float32.tflite photo.ppm X Y WIDTH HEIGHT

X, Y, WIDTH and HEIGHT are the person's box in pixels. Prints the name, x, y and score of every keypoint. Any
precision will do; its model card, a `.json` file, lies beside it.
"""

import json
import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from crops import Frame, read_ppm


def main(model_path, image_path, *box):
    interpreter = Interpreter(model_path)
    interpreter.allocate_tensors()
    (images,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    card_path = pathlib.Path(model_path).with_suffix(".json")
    if not card_path.is_file():
        raise SystemExit(f"error: {card_path}, the model card that says what the keypoints are, is absent")
    card = json.loads(card_path.read_text())
    frame = Frame([float(number) for number in box], card["input_size"], card["codec"])
    crop = frame.cut(read_ppm(image_path))
    interpreter.set_tensor(images["index"], crop[None].astype(images["dtype"]))  # [1,H,W,3] float32 or uint8
    interpreter.invoke()
    heatmaps = interpreter.get_tensor(output["index"])[0]  # [h,w,K]
    # With corners aligned, there is a step less than there are pixels.
    aligned = 1 if card["codec"] == "udp" else 0
    stride = [(crop.shape[axis] - aligned) / (heatmaps.shape[axis] - aligned) for axis in (1, 0)]
    for name, heatmap in zip(card["skeleton"]["names"], np.moveaxis(heatmaps, -1, 0), strict=True):
        point, score = decode(heatmap)
        x, y = frame.to_image(point * stride)
        print(f"{name} {x:.2f} {y:.2f} {score:.3f}")


def decode(heatmap):
    """(x, y) in pixels of `heatmap` [h,w], its maximum moved by a quarter to the larger neighbours, and the score."""
    height, width = heatmap.shape
    y, x = np.unravel_index(np.argmax(heatmap), heatmap.shape)
    score = heatmap[y, x]
    if score <= 0:
        return np.zeros(2), score
    point = np.array([x, y], np.float64)
    if 1 < x < width - 1 and 1 < y < height - 1:
        slope = [heatmap[y, x + 1] - heatmap[y, x - 1], heatmap[y + 1, x] - heatmap[y - 1, x]]
        point += 0.25 * np.sign(slope)
    return point, score


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
