"""Keypoints of a person with ONNX Runtime alone (`pip install onnxruntime`), from a file of crops to keypoints.

python examples/onnx_example.py keypoints.onnx photo.ppm X Y WIDTH HEIGHT

X, Y, WIDTH and HEIGHT are the person's box in pixels. Prints the name, x, y and score of every keypoint.
"""

import json
import sys

import onnxruntime
from crops import Frame, read_ppm


def main(model_path, image_path, *box):
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    if "model_card" not in metadata:
        raise SystemExit(f"error: {model_path} has no model card to say what its keypoints are")
    card = json.loads(metadata["model_card"])
    frame = Frame([float(number) for number in box], card["input_size"], card["codec"])
    crop = frame.cut(read_ppm(image_path))
    # [B,H,W,3] uint8 -> [B,K,3]: x and y in crop pixels, score
    keypoints = session.run(["keypoints"], {"images": crop[None]})[0][0]
    for name, point, score in zip(
        card["skeleton"]["names"], frame.to_image(keypoints[:, :2]), keypoints[:, 2], strict=True
    ):
        print(f"{name} {point[0]:.2f} {point[1]:.2f} {score:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
