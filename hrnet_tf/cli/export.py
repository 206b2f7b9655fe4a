"""`hrnet-tf export`: a trained network in other formats, each checked and, if asked for, evaluated."""

from absl import flags

from hrnet_tf.benchmarks import load_people
from hrnet_tf.cli import shared
from hrnet_tf.cli.tasks import task_of
from hrnet_tf.errors import InputError
from hrnet_tf.export import ExportOptions, export_all
from hrnet_tf.prediction.network import load_network

FLAGS = flags.FLAGS


def main() -> None:
    strategy = shared.make_strategy(FLAGS.batch_size)
    with strategy.scope():
        trained = shared.load_trained(shared.model_file())
    task = task_of(trained.network.kind)
    _, people = task.load_validation(measured=FLAGS.evaluate)
    if FLAGS.evaluate and not shared.dataset().is_annotated(shared.val_split()):
        raise InputError(f"--val_split {shared.val_split()} is not annotated, so --evaluate cannot measure on it")
    card = trained.card_for(people.skeleton)
    if FLAGS.served_flip_test:
        card.skeleton.check_mirroring("leave out --served_flip_test")
    bad_images = shared.BadImages()
    crops = task.examples(people, card, bad_images)
    calibration_crops = None
    if FLAGS.int8:
        split = FLAGS.annotations or FLAGS.calibration_split
        calibration_people, _ = load_people(shared.dataset(), split)
        if split != shared.val_split():
            shared.print_omissions(calibration_people.omissions)
        calibration_crops = task.examples(calibration_people, card, bad_images, FLAGS.calibration_people)
    bad_images.report()
    options = ExportOptions(
        FLAGS.served_flip_test, FLAGS.precision, FLAGS.fold, FLAGS.onnx_layout, FLAGS.int8_symmetric
    )
    model = trained.model
    paths, differences = export_all(model, FLAGS.out_dir, crops, card, FLAGS.formats, options, calibration_crops)
    shared.print_exports(paths, differences)
    if FLAGS.evaluate:
        _evaluate(task, strategy, model, paths, card, people, bad_images)


def _evaluate(task, strategy, model, paths, card, people, bad_images):
    """Prints the size and the main figure of the model and of every file, and the difference."""
    metric = shared.dataset().main_metric

    def measure(heatmaps):
        with shared.memory_advice():
            metrics, _, _ = task.make_evaluate(strategy, heatmaps, card, people, bad_images)()
        return metrics[metric]

    of_model = measure(model)
    print(f"{'':24}{'MB':>8}{metric:>9}{'difference':>12}   {task.in_words(people)}")
    print(f"{'weights in float32':24}{4 * model.count_params() / 1e6:8.1f}{of_model:9.4f}", flush=True)
    for path in paths:
        if path.name == "keypoints.onnx":
            continue  # gives no heatmaps
        with strategy.scope():
            network, _ = load_network(path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size, found = sum(file.stat().st_size for file in files) / 1e6, measure(network.heatmaps)
        print(f"{path.relative_to(FLAGS.out_dir)!s:24}{size:8.1f}{found:9.4f}{found - of_model:+12.4f}", flush=True)
