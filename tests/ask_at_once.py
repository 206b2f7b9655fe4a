"""Asks one network from eight threads at once; run by test_threads.py in a process of its own, which may crash.

ask_at_once.py FORM PATH SECONDS

FORM is "predictor" or "predictor_bfloat16", a `PosePredictor`; "keras", what an application does with a `.keras` file
without this package; or the signature of a SavedModel that TensorFlow alone has loaded. Prints as JSON how many calls
there were and the largest difference from what one thread got.
"""

import json
import os
import sys
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

NUM_THREADS, NUM_INPUTS = 8, 24
IMAGE_SIZE = (140, 180)


def network(form, path):
    """A function of a seed to an array, which only depends on it."""
    if form.startswith("predictor"):
        from hrnet_tf import PosePredictor

        predictor = PosePredictor(path, precision="bfloat16" if form.endswith("bfloat16") else "float32")
        return lambda seed: predictor(*image_and_boxes(seed))
    if form == "keras":
        import keras

        model = keras.models.load_model(path)
        compiled = tf.function(model)
        return lambda seed: compiled(tf.constant(crops(seed, model.input_shape[1:3])), training=False).numpy()
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures[form]
    size = loaded.signatures["heatmaps"].structured_input_signature[1]["images"].shape[1:3]
    output = "heatmaps" if form == "heatmaps" else "keypoints"

    def run(seed):
        image, boxes = image_and_boxes(seed)
        if form == "pose":
            answer = signature(image=tf.io.encode_png(image), boxes=tf.constant(boxes))
        else:
            answer = signature(images=tf.constant(crops(seed, size)))
        return answer[output].numpy()

    run.loaded = loaded  # a signature does not keep the variables alive
    return run


def image_and_boxes(seed):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(20, 60, (1 + seed % 3, 4)).astype(np.float32)
    return rng.integers(0, 256, (*IMAGE_SIZE, 3), np.uint8), boxes


def crops(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (1 + seed % 3, *size, 3), np.uint8)


def main(form, path, seconds):
    run = network(form, path)
    expected = [run(seed) for seed in range(NUM_INPUTS)]
    largest, calls = [0.0] * NUM_THREADS, [0] * NUM_THREADS
    end = time.monotonic() + seconds

    def ask(thread):
        rng = np.random.default_rng(thread)
        while time.monotonic() < end:
            seed = int(rng.integers(NUM_INPUTS))
            difference = np.abs(run(seed) - expected[seed]).max()
            largest[thread] = max(largest[thread], float(np.nan_to_num(difference, nan=np.inf)))
            calls[thread] += 1

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(NUM_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"calls": sum(calls), "largest_difference": max(largest)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
