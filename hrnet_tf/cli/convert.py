"""`hrnet-tf convert`: PyTorch weights to a .keras file."""

from absl import flags

from hrnet_tf.cli import shared
from hrnet_tf.errors import InputError
from hrnet_tf.export import export_keras
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.build import build_model
from hrnet_tf.skeletons import COCO, MPII
from hrnet_tf.weights import load_pytorch_weights, read_checkpoint

FLAGS = flags.FLAGS


# By number of keypoints; of other sets the file does not say which they are.
_SKELETONS = {skeleton.num_keypoints: skeleton for skeleton in (COCO, MPII)}


def main() -> None:
    checkpoint = read_checkpoint(FLAGS.weights)
    if checkpoint.num_keypoints is None:
        raise InputError(
            f"--weights {FLAGS.weights} has no head of a pose network (final_layer.weight); weights of an ImageNet "
            "classifier can only initialise training"
        )
    channel_order = FLAGS.channel_order
    if channel_order == "auto":
        channel_order = "bgr" if checkpoint.is_bgr else "rgb"
    model = build_model(FLAGS.model, shared.input_size(), checkpoint.num_keypoints, channel_order=channel_order)
    print(load_pytorch_weights(model, FLAGS.weights))
    skeleton = _SKELETONS.get(checkpoint.num_keypoints)
    card = ModelCard(FLAGS.model, shared.input_size(), skeleton) if skeleton else None
    export_keras(model, FLAGS.out, card)
    print(
        f"wrote {FLAGS.out}: {FLAGS.model} {FLAGS.input_size}, {checkpoint.num_keypoints} keypoints, "
        f"trained on {channel_order.upper()}, takes RGB"
    )
