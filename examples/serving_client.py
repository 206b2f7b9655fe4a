"""Asks a TensorFlow Serving server for the keypoints of people in a photograph.

python examples/serving_client.py photo.jpg 120,80,200,400 --rest=http://localhost:8501 --model=pose
python examples/serving_client.py photo.jpg 120,80,200,400 --grpc=localhost:8500 --model=pose

Needs numpy and opencv-python-headless, and for gRPC tensorflow-serving-api.
"""

import argparse
import base64
import json
import urllib.error
import urllib.request

import cv2
import numpy as np


def upright_image(path):
    """Bytes of the image as it is to be seen; boxes and keypoints are in pixels of that.

    The server takes pixels as stored. An image that is stored turned, as most phones' are, is turned here and
    encoded anew; any other is sent as it is.
    """
    with open(path, "rb") as file:
        data = file.read()
    encoded = np.frombuffer(data, np.uint8)
    seen = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if data else None
    if seen is None:
        raise SystemExit(f"error: {path} is not an image")
    stored = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return data if np.array_equal(seen, stored) else cv2.imencode(".png", seen)[1].tobytes()


def predict_rest(server, model, image, boxes):
    """Keypoints [N][K][3] (x, y, score) and scores [N] of boxes [N][4] (x, y, width, height), by REST."""
    inputs = {"image": {"b64": base64.b64encode(image).decode()}, "boxes": boxes}
    body = json.dumps({"signature_name": "pose", "inputs": inputs}).encode()
    try:
        with urllib.request.urlopen(f"{server}/v1/models/{model}:predict", body) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"error: the server refuses: {error.read().decode()}") from error
    return outputs["keypoints"], outputs["scores"]


def predict_grpc(server, model, image, boxes):
    """The same by gRPC, as arrays."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "pose"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
    request.inputs["boxes"].CopyFrom(tf.make_tensor_proto(np.array(boxes, np.float32).reshape(-1, 4)))
    with grpc.insecure_channel(server) as channel:
        try:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        except grpc.RpcError as error:
            raise SystemExit(f"error: the server refuses: {error.code().name} {error.details()}") from error
    return tuple(tf.make_ndarray(response.outputs[name]) for name in ("keypoints", "scores"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("boxes", nargs="+", help="x,y,width,height of each person, in pixels")
    parser.add_argument("--model", default="pose", help="name of the model on the server")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--rest", help="address of the server's REST interface")
    server.add_argument("--grpc", help="address of the server's gRPC interface")
    arguments = parser.parse_args()
    boxes = [[float(number) for number in box.split(",")] for box in arguments.boxes]
    predict, server = (predict_rest, arguments.rest) if arguments.rest else (predict_grpc, arguments.grpc)
    for keypoints, score in zip(*predict(server, arguments.model, upright_image(arguments.image), boxes), strict=True):
        print(f"person, score {score:.3f}:")
        for x, y, keypoint_score in keypoints:
            print(f"  {x:8.2f} {y:8.2f}  {keypoint_score:.3f}")


if __name__ == "__main__":
    main()
