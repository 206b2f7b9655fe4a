"""Asks a Triton server for many poses at once; run by test_triton.py with the Python that has tritonclient.

triton_load.py GRPC_PORT FOLDER REQUESTS THREADS

FOLDER has images `0.jpg`, `1.jpg` ..., `boxes.npy` and `expected.npy`, the keypoints in each image. Every fourth
request is malformed. Prints as JSON what came of them and how long the good ones took.
"""

import json
import pathlib
import sys
import time
from concurrent import futures

import numpy as np
import tritonclient.grpc as triton


def main(port, folder, num_requests, num_threads):
    folder = pathlib.Path(folder)
    boxes, expected = np.load(folder / "boxes.npy"), np.load(folder / "expected.npy")
    images = [(folder / f"{i}.jpg").read_bytes() for i in range(len(expected))]
    client = triton.InferenceServerClient(f"localhost:{port}")
    deadline = time.monotonic() + 120
    while not ready(client):
        if time.monotonic() > deadline:
            raise SystemExit("the server does not start")
        time.sleep(0.5)

    def request(number):
        kind = number % len(images)
        image, good = images[kind], number % 4 != 0
        sent = boxes if good or number % 8 else -boxes
        if not good and number % 8:
            image = image[:500]
        start = time.monotonic()
        try:
            found = infer(client, image, sent)
        except triton.InferenceServerException as error:
            cause = str(error)
            known = "boxes must be" in cause or "decode" in cause or "JPEG" in cause
            return "refused" if known and not good else f"failed: {cause}", None
        if not good:
            return "answered though malformed", None
        right = np.allclose(found, expected[kind], atol=1e-3)
        return "right" if right else "wrong", time.monotonic() - start

    start = time.monotonic()
    with futures.ThreadPoolExecutor(num_threads) as threads:
        answers = list(threads.map(request, range(num_requests)))
    seconds = time.monotonic() - start
    names = [name for name, _ in answers]
    times = [taken for _, taken in answers if taken is not None]
    counts = {name: names.count(name) for name in sorted(set(names))}
    latency = np.percentile(times, [50, 99]).round(4).tolist()
    print(json.dumps({"counts": counts, "seconds": seconds, "latency_p50_p99": latency}))


def ready(client):
    try:
        return client.is_model_ready("pose")
    except triton.InferenceServerException:
        return False


def infer(client, image, boxes):
    inputs = [triton.InferInput("image", [1], "BYTES"), triton.InferInput("boxes", list(boxes.shape), "FP32")]
    inputs[0].set_data_from_numpy(np.array([image], object))
    inputs[1].set_data_from_numpy(boxes)
    return client.infer("pose", inputs, client_timeout=300).as_numpy("keypoints")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
