"""`hrnet-tf convert`: PyTorch weights to a .keras file."""

from absl import flags

from hrnet_tf.cli import shared
from hrnet_tf.errors import InputError
from hrnet_tf.export import export_keras
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.build import build_model
from hrnet_tf.models.variants import kind_of, size_to_build
from hrnet_tf.skeletons import COCO, MPII
from hrnet_tf.weights import load_pytorch_weights, read_checkpoint

FLAGS = flags.FLAGS
# By number of keypoints; of other sets the file does not say which they are.
_SKELETONS = {skeleton.num_keypoints: skeleton for skeleton in (COCO, MPII)}
# Channels of published heads that give x and y offsets beside heatmaps: COCO, MPII and whole bodies.
_WITH_OFFSETS = (3 * 17, 3 * 16, 3 * 133)


def main() -> None:
    checkpoint = read_checkpoint(FLAGS.weights, FLAGS.state_dict)
    if checkpoint.num_keypoints is None:
        raise InputError(
            f"--weights {FLAGS.weights} has no head of a pose network (final_layer.weight); weights of an ImageNet "
            "classifier can only initialise training"
        )
    if checkpoint.num_keypoints in _WITH_OFFSETS:
        raise InputError(
            f"--weights {FLAGS.weights} has a head of {checkpoint.num_keypoints} channels, as UDP with offsets has for "
            f"{checkpoint.num_keypoints // 3} keypoints: a heatmap and two offsets each, which is not supported. Take "
            "weights of a head with heatmaps alone; if there are so many keypoints, use hrnet_tf.load_pytorch_weights"
        )
    channel_order = FLAGS.channel_order
    if channel_order == "auto":
        channel_order = checkpoint.channel_order
    size, kind = shared.input_size(), kind_of(FLAGS.model)
    model_size = size_to_build(FLAGS.model, size)
    model = build_model(FLAGS.model, model_size, checkpoint.num_keypoints, channel_order=channel_order)
    print(load_pytorch_weights(model, FLAGS.weights, state_dict=FLAGS.state_dict))
    skeleton = _SKELETONS.get(checkpoint.num_keypoints)
    card = ModelCard(FLAGS.model, size, skeleton, kind=kind) if skeleton else None
    export_keras(model, FLAGS.out, card)
    trained_on = "RGB as pytorch-cpn has it" if channel_order == "cpn" else channel_order.upper()
    print(
        f"wrote {FLAGS.out}: {FLAGS.model} {FLAGS.input_size}, {checkpoint.num_keypoints} keypoints, "
        f"trained on {trained_on}, takes RGB"
    )
