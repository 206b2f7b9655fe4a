"""Converts PyTorch weights of a pose network to a .keras file, which loads without this package.

    python tools/convert_weights.py --model=hrnet_w32 --input_size=256x192 --weights=pose_hrnet_w32_256x192.pth \\
        --out=w32.keras

Reads .pth and .safetensors files of the reference implementation, SimpleBaselines and MMPose; which it is,
and the number of keypoints, is told from the file. PyTorch need not be installed.
"""

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf.errors import InputError
from hrnet_tf.export import export_keras
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.build import MODEL_NAMES, build_model
from hrnet_tf.models.preprocess import CHANNEL_ORDERS
from hrnet_tf.skeletons import COCO, MPII
from hrnet_tf.weights import load_pytorch_weights, read_checkpoint

FLAGS = flags.FLAGS

flags.DEFINE_enum("model", None, MODEL_NAMES, "Network that the weights are of.")
cli.define_input_size_flag()
flags.DEFINE_string("weights", None, "File to convert.")
flags.DEFINE_string("out", None, "File to write, ending in .keras.")
flags.DEFINE_enum(
    "channel_order",
    "auto",
    ["auto", *CHANNEL_ORDERS],
    "What the network was trained on; auto: BGR for pose_resnets under their official names, else RGB. "
    "The converted network takes RGB either way.",
)
flags.mark_flags_as_required(["model", "weights", "out"])
flags.register_validator("out", lambda path: path.endswith(".keras"), "must end in .keras")


# By number of keypoints; of other sets the file does not say which they are.
_SKELETONS = {skeleton.num_keypoints: skeleton for skeleton in (COCO, MPII)}


def main():
    checkpoint = read_checkpoint(FLAGS.weights)
    if checkpoint.num_keypoints is None:
        raise InputError(
            f"--weights {FLAGS.weights} has no head of a pose network (final_layer.weight); weights of an ImageNet "
            "classifier can only initialise training"
        )
    channel_order = FLAGS.channel_order
    if channel_order == "auto":
        channel_order = "bgr" if checkpoint.is_bgr else "rgb"
    model = build_model(FLAGS.model, cli.input_size(), checkpoint.num_keypoints, channel_order=channel_order)
    print(load_pytorch_weights(model, FLAGS.weights))
    skeleton = _SKELETONS.get(checkpoint.num_keypoints)
    export_keras(model, FLAGS.out, skeleton and ModelCard(FLAGS.model, cli.input_size(), skeleton))
    print(
        f"wrote {FLAGS.out}: {FLAGS.model} {FLAGS.input_size}, {checkpoint.num_keypoints} keypoints, "
        f"trained on {channel_order.upper()}, takes RGB"
    )


if __name__ == "__main__":
    cli.run(main)
