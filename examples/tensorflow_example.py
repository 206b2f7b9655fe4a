"""Keypoints of people in a photograph with TensorFlow alone (`pip install tensorflow`), from an exported SavedModel.

python examples/tensorflow_example.py export/saved_model/1 photo.jpg X Y WIDTH HEIGHT

X, Y, WIDTH and HEIGHT are the person's box in pixels. Prints the name, x, y and score of every keypoint. The picture
is taken as stored, so a photograph that its EXIF data turn has to be turned first.
"""

import json
import pathlib
import sys

import tensorflow as tf


def main(model_path, image_path, *box):
    card = json.loads(pathlib.Path(model_path, "model_card.json").read_text())
    model = tf.saved_model.load(model_path)
    image = tf.constant(pathlib.Path(image_path).read_bytes())
    boxes = tf.constant([[float(number) for number in box]])  # [N,4]
    keypoints = model.signatures["pose"](image=image, boxes=boxes)["keypoints"].numpy()  # [N,K,3]
    for name, (x, y, score) in zip(card["skeleton"]["names"], keypoints[0], strict=True):
        print(f"{name} {x:.2f} {y:.2f} {score:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
