"""Serves a SavedModel with NVIDIA's Triton Inference Server (`pip install nvidia-pytriton tensorflow`).

python examples/triton_server.py export/saved_model/1 --http_port=8000 --grpc_port=8001

The model is called "pose" and has the inputs and outputs of the SavedModel's signature of that name, but that "image",
the bytes of a JPEG or PNG file, is of shape [1]. What cannot be read is refused with its cause.
"""

import argparse

import numpy as np
import tensorflow as tf
from pytriton.exceptions import PyTritonInvalidOperationError
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="SavedModel folder")
    parser.add_argument("--http_port", type=int, default=8000)
    parser.add_argument("--grpc_port", type=int, default=8001)
    arguments = parser.parse_args()
    model = tf.saved_model.load(arguments.model)

    def pose(requests):
        (request,) = requests  # without batching, one at a time
        image, boxes = tf.constant(request["image"].item()), tf.constant(request["boxes"])
        try:
            outputs = model.signatures["pose"](image=image, boxes=boxes)
        except tf.errors.InvalidArgumentError as error:
            raise PyTritonInvalidOperationError(error.message) from error
        return [{name: value.numpy() for name, value in outputs.items()}]

    config = TritonConfig(http_port=arguments.http_port, grpc_port=arguments.grpc_port, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="pose",
            infer_func=pose,
            inputs=[
                Tensor(name="image", dtype=bytes, shape=(1,)),
                Tensor(name="boxes", dtype=np.float32, shape=(-1, 4)),
            ],
            outputs=[
                Tensor(name="keypoints", dtype=np.float32, shape=(-1, -1, 3)),
                Tensor(name="scores", dtype=np.float32, shape=(-1,)),
            ],
            config=ModelConfig(batching=False),
        )
        triton.serve()


if __name__ == "__main__":
    main()
