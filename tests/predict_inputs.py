"""What tests of prediction start from: images, folders, videos, detections, and a network, small and untrained."""

import csv
import json

import cv2
import keras
import numpy as np

from hrnet_tf import visualize
from hrnet_tf.prediction import sources, video_writer

BOX_A, BOX_B = [10, 10, 60, 90], [70, 20, 60, 60]


def noise(seed=0, size=(120, 160)):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 3)


def detection(image_id, box, score=0.9, **more):
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": score, **more}


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def write_video(path, num_frames=5):
    with video_writer.video_writer(path) as write:
        for i in range(num_frames):
            write(noise(i), i / 12.5)
    return path


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def save_network(path):
    """Saves a network of 17 keypoints, small and untrained."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(17, 5, strides=4, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, x).save(path)
    return path


def write_photos(folder):
    """A folder with the images 7, 8 and 9, a truncated one, a text file, a hidden file and a folder."""
    (folder / "more").mkdir(parents=True)
    for number in (7, 8, 9):
        visualize.write_image(folder / f"{number:012}.jpg", noise(number))
    whole = (folder / "000000000009.jpg").read_bytes()
    (folder / "000000000010.jpg").write_bytes(whole[:300])
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").write_text("")
    return folder


def found_in(photos, ids=None):
    """The images of a folder with their numbers, and what is said of those that are left out."""
    bad = []
    return sources.find_images(photos, bad.append, ids), [str(error) for error in bad]
