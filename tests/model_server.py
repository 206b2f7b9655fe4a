"""A stand-in for TensorFlow Serving: its two interfaces, with its own messages, in front of a SavedModel."""

import base64
import contextlib
import http.server
import json
import threading
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, signatures):
        self.signatures = signatures

    def Predict(self, request, context):
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        try:
            outputs = self.signatures[request.model_spec.signature_name](**inputs)
        except tf.errors.OpError as error:
            context.abort(STATUS_CODES[error.error_code], error.message)
        return predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(value.numpy()) for name, value in outputs.items()}
        )


@contextlib.contextmanager
def serve_grpc(path, num_threads=8):
    """Yields the address of a server of the SavedModel `path`."""
    server = grpc.server(futures.ThreadPoolExecutor(num_threads))
    signatures = tf.saved_model.load(str(path)).signatures
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(signatures), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def serve_rest(path, name):
    """Yields the address of a server of the SavedModel `path`, of its signature "pose" alone."""
    pose = tf.saved_model.load(str(path)).signatures["pose"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert (self.path, request["signature_name"]) == (f"/v1/models/{name}:predict", "pose")
            image = base64.b64decode(request["inputs"]["image"]["b64"])
            try:
                outputs = pose(image=tf.constant(image), boxes=tf.constant(request["inputs"]["boxes"], tf.float32))
                status, answer = 200, {"outputs": {key: value.numpy().tolist() for key, value in outputs.items()}}
            except tf.errors.InvalidArgumentError as error:
                status, answer = 400, {"error": error.message}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
