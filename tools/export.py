"""Writes a trained network as .keras, SavedModel, ONNX and LiteRT, and checks each on real crops.

    python tools/export.py --model=work/w32/best.keras --out_dir=export --data_dir=data/coco
    python tools/export.py --model=work/w32/best.keras --out_dir=export --data_dir=data/coco \\
        --formats=saved_model,onnx,litert --int8 --evaluate

--int8 adds 8-bit files of ONNX and LiteRT, calibrated on crops of --calibration_split. --evaluate
prints AP of every file beside the model's, on --val_split.
"""

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf.benchmarks import load_people
from hrnet_tf.errors import InputError
from hrnet_tf.export import DEFAULT_FORMATS, FILE_NAMES, ExportOptions, export_all
from hrnet_tf.export.onnx import LAYOUTS
from hrnet_tf.models.clones import PRECISIONS
from hrnet_tf.prediction.network import load_network

FLAGS = flags.FLAGS

cli.define_data_flags()
cli.define_prediction_flags()
flags.DEFINE_string(
    "model", None, "Model: a .keras file, or the work directory of a training run for its last checkpoint."
)
flags.DEFINE_string("out_dir", None, "Folder for the files; created.")
flags.DEFINE_list("formats", list(DEFAULT_FORMATS), f"What to write, of {', '.join(FILE_NAMES)}.")
flags.DEFINE_bool("served_flip_test", False, "SavedModel: keypoints from the crop and its mirror image.")
flags.DEFINE_enum("precision", "float32", PRECISIONS, "SavedModel: what it computes in.")
flags.DEFINE_bool("fold", True, "SavedModel: fold batch normalisation into the convolutions.")
flags.DEFINE_enum("onnx_layout", "nhwc", LAYOUTS, "ONNX: axes of images and heatmaps.")
flags.DEFINE_bool("int8", False, "Write 8-bit files of ONNX and LiteRT too.")
flags.DEFINE_string("calibration_split", "train2017", "Split of the people that 8-bit files are calibrated on.")
flags.DEFINE_integer("calibration_people", 200, "How many of them.", 1)
flags.DEFINE_bool("evaluate", False, "Evaluate every file that gives heatmaps, and the model.")
flags.mark_flags_as_required(["model", "out_dir"])
flags.register_validator(
    "formats", lambda formats: set(formats) <= set(FILE_NAMES), f"must be of {','.join(FILE_NAMES)}"
)


def main():
    _, people = cli.load_people()
    if FLAGS.evaluate and not cli.dataset().is_annotated(FLAGS.val_split):
        raise InputError(f"--val_split {FLAGS.val_split} is not annotated, so --evaluate cannot measure on it")
    strategy = cli.make_strategy(FLAGS.batch_size)
    with strategy.scope():
        model, card = cli.load_model(FLAGS.model, people.skeleton)
    bad_images = cli.BadImages()
    crops = cli.some_crops(people, card, bad_images)
    calibration_crops = None
    if FLAGS.int8:
        calibration_people, _ = load_people(cli.dataset(), FLAGS.calibration_split)
        calibration_crops = cli.some_crops(calibration_people, card, bad_images, FLAGS.calibration_people)
    bad_images.report()
    options = ExportOptions(FLAGS.served_flip_test, FLAGS.precision, FLAGS.fold, FLAGS.onnx_layout)
    paths, differences = export_all(model, FLAGS.out_dir, crops, card, FLAGS.formats, options, calibration_crops)
    cli.print_exports(paths, differences)
    if FLAGS.evaluate:
        _evaluate(strategy, model, paths, card, people, bad_images)


def _evaluate(strategy, model, paths, card, people, bad_images):
    """Prints the size and the main figure of the model and of every file, and the difference."""
    metric = cli.dataset().main_metric

    def measure(heatmaps):
        metrics, _, _ = cli.make_evaluate(strategy, heatmaps, card, people, bad_images)()
        return metrics[metric]

    of_model = measure(model)
    print(f"{'':24}{'MB':>8}{metric:>9}{'difference':>12}   {len(people)} people in {cli.boxes_in_words()}")
    print(f"{'weights in float32':24}{4 * model.count_params() / 1e6:8.1f}{of_model:9.4f}", flush=True)
    for path in paths:
        if path.name == "keypoints.onnx":
            continue  # gives no heatmaps
        with strategy.scope():
            network, _ = load_network(path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size, found = sum(file.stat().st_size for file in files) / 1e6, measure(network.heatmaps)
        print(f"{path.relative_to(FLAGS.out_dir)!s:24}{size:8.1f}{found:9.4f}{found - of_model:+12.4f}", flush=True)


if __name__ == "__main__":
    cli.run(main)
