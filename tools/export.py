"""Writes a trained model as .keras, SavedModel and ONNX, and checks each on real crops.

python tools/export.py --model=work/w32/best.keras --out_dir=export --data_dir=data/coco
"""

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf.export import export_all

FLAGS = flags.FLAGS

cli.define_data_flags()
cli.define_codec_flags()
flags.DEFINE_string("model", None, "Model file (.keras).")
flags.DEFINE_string("out_dir", None, "Folder for model.keras, saved_model/ and model.onnx; created.")
flags.mark_flags_as_required(["model", "out_dir"])


def main():
    model = cli.load_model(FLAGS.model)
    _, people = cli.load_people()
    bad_images = cli.BadImages()
    crops = cli.some_crops(people, model.input_shape[1:3], bad_images)
    bad_images.report()
    cli.print_exports(*export_all(model, FLAGS.out_dir, crops, FLAGS.codec, FLAGS.refine))


if __name__ == "__main__":
    cli.run(main)
