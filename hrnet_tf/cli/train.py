"""`hrnet-tf train`: data, network, loop and exports, as its flags say."""

import contextlib
import dataclasses
import functools
import os
import sys

import keras
from absl import flags

from hrnet_tf import devices, progress
from hrnet_tf.cli import shared
from hrnet_tf.cli.commands import defined_flags
from hrnet_tf.cli.course import course
from hrnet_tf.cli.tasks import task_of
from hrnet_tf.data.pipeline import steps_per_epoch
from hrnet_tf.errors import InputError
from hrnet_tf.export import export_all, export_keras
from hrnet_tf.files import replacing
from hrnet_tf.models.build import build_model
from hrnet_tf.models.variants import kind_of, size_to_build
from hrnet_tf.prediction.keypoints import prediction_sheet
from hrnet_tf.pretrained import weights_file
from hrnet_tf.skeletons import match_in_words
from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.freezing import freeze
from hrnet_tf.training.fused import with_fused_batch_norm
from hrnet_tf.training.loop import Plan, Trainer
from hrnet_tf.training.optimizer import make_optimizer
from hrnet_tf.training.run_state import Checkpoint, claimed, fingerprint
from hrnet_tf.training.schedules import WarmupCosineDecay, WarmupStepDecay
from hrnet_tf.training.step import make_train_step
from hrnet_tf.weights.load import initialize_from
from hrnet_tf.workers import LostWorkerError, check_alike, find_cluster, of_all, share_of, spread, told_of_loss

FLAGS = flags.FLAGS
_LOST_WORKER = 75  # the exit code of what may be tried again, EX_TEMPFAIL


def main() -> int:
    cluster = find_cluster(FLAGS.workers, FLAGS.worker)
    try:
        return _as_worker(cluster)
    except LostWorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return _LOST_WORKER


def _as_worker(cluster):
    """Trains as one of the workers of a cluster if there is one, of which the first tells and writes."""
    with contextlib.ExitStack() as quiet, told_of_loss():
        if cluster is not None and cluster.task_id > 0:  # the first tells
            nowhere = quiet.enter_context(open(os.devnull, "w"))
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
            quiet.enter_context(progress.told_to(_nobody))
        return _run(cluster)


def _nobody(*_):
    """Hears of how far a worker has come that is not the first."""


def _run(cluster):
    """Reads the data, builds the network and trains."""
    task = task_of(kind_of(FLAGS.model))
    start = weights_file(FLAGS.pretrained, FLAGS.allow_unverified) if FLAGS.pretrained else None
    task.check_flags()
    annotated, val_people = task.load_validation()
    records = task.load_training()
    shared.print_omissions(line for line in records.omissions if line not in val_people.omissions)
    if shared.train_split() == shared.val_split() and FLAGS.annotations:
        print("assumed: evaluation on the people that are trained on, as --val_annotations is not given")
    _check_keypoints(records.skeleton, annotated.skeleton)
    num_keypoints = records.skeleton.num_keypoints
    use_xla = _use_xla()
    precision = FLAGS.precision if FLAGS.precision != "auto" else devices.training_precision()
    if use_xla and precision == "float32":
        devices.convolve_channels_last()
    strategy = shared.make_strategy(FLAGS.batch_size, FLAGS.accumulate, cluster)
    is_first = share_of(strategy).index == 0
    run = {"model": FLAGS.model, "input_size": FLAGS.input_size, "num_keypoints": num_keypoints}
    run |= {f"num_{task.unit}": len(records), "batch_size": FLAGS.batch_size, "seed": FLAGS.seed}
    run |= {"channel_order": FLAGS.channel_order, "codec": FLAGS.codec or "msra", "precision": precision}
    run |= {"keypoints": ",".join(records.skeleton.names), "people": fingerprint(records)}
    run |= {"freeze": ",".join(sorted(FLAGS.freeze)), "averaged": FLAGS.ema_decay > 0}

    check_alike(strategy, run)

    keras.utils.set_random_seed(FLAGS.seed)
    if FLAGS.deterministic:
        devices.compute_deterministically()
    with strategy.scope():
        size = size_to_build(FLAGS.model, shared.input_size())
        plain = build_model(FLAGS.model, size, num_keypoints, precision, FLAGS.channel_order)
        if start:
            report = initialize_from(plain, start)
            print(report)
            freeze(plain, FLAGS.freeze, report.kept_fresh)
        model = with_fused_batch_norm(plain, FLAGS.sync_batch_norm)
    words = (
        f"{FLAGS.model} {FLAGS.input_size}, {len(records)} {task.unit} to train on, evaluation on "
        f"{task.in_words(val_people)}, "
        f"{strategy.num_replicas_in_sync} replica(s), XLA {'on' if use_xla else 'off'}, {precision}"
    )
    there = course(strategy.num_replicas_in_sync)
    with claimed(FLAGS.work_dir, run, FLAGS.resume, there) if is_first else contextlib.nullcontext():
        return _train(task, strategy, model, precision, records, val_people, words)


def _train(task, strategy, model, precision, records, val_people, words):
    """Trains in the work directory, to the exports. Returns the exit code."""
    is_first = share_of(strategy).index == 0
    if is_first:
        _write_flags()
    with strategy.scope():
        optimizer = _make_optimizer(len(records), precision)
        optimizer.build(model.trainable_variables)
        average = MovingAverage(model, FLAGS.ema_decay) if FLAGS.ema_decay else None
        checkpoint = Checkpoint(FLAGS.work_dir, model, optimizer, average)
    if FLAGS.resume and _restored(strategy, checkpoint, is_first):
        print(f"resuming after step {checkpoint.step}")
        if checkpoint.step > FLAGS.epochs * steps_per_epoch(len(records), FLAGS.batch_size):
            raise InputError(f"--epochs={FLAGS.epochs} end before step {checkpoint.step}, which the run has reached")
    print(words)
    bad_images = shared.BadImages()
    exit_code = _make_trainer(
        task, strategy, model, optimizer, average, checkpoint, records, val_people, bad_images
    ).run()
    bad_images.report()
    if exit_code:
        of_all(strategy, [0])
        print(f"stopped after step {checkpoint.step}; the same command with --resume goes on from there")
        return exit_code
    if is_first:
        _export(task, val_people, bad_images)
    of_all(strategy, [0])  # workers that end are missed, so that all wait for the first
    print(f"best {shared.dataset().main_metric} {checkpoint.best_metric:.3f}")
    return 0


def _restored(strategy, checkpoint, is_first):
    """Whether there was a state to go on from; the first worker's becomes everybody's."""
    was_there = is_first and checkpoint.restore()
    reached = [checkpoint.step, checkpoint.evaluated_step, checkpoint.bad_steps, checkpoint.best_metric, was_there]
    *numbers, checkpoint.best_metric, was_there = of_all(strategy, reached)[0].tolist()
    checkpoint.step, checkpoint.evaluated_step, checkpoint.bad_steps = map(int, numbers)
    if was_there:
        spread(strategy, checkpoint.variables)
    return bool(was_there)


def _use_xla():
    """What --xla means for the training step."""
    if FLAGS.sync_batch_norm and FLAGS.xla == "on":
        raise InputError("--sync_batch_norm cannot be compiled: give --xla=off or leave it out. Received: --xla=on")
    return shared.use_xla() and not FLAGS.sync_batch_norm


def _check_keypoints(skeleton, validation):
    """Refuses keypoints that cannot be trained as the flags say, or evaluated on those of the validation split."""
    if set(skeleton.names) != set(validation.names):
        raise InputError(
            f"--train_split {shared.train_split()} and --val_split {shared.val_split()} differ in keypoint names"
        )
    if FLAGS.flip_probability or FLAGS.flip_test:
        skeleton.check_mirroring("give --flip_probability=0 --noflip_test")
    print(skeleton.pairs_in_words())
    if line := match_in_words(skeleton, validation):
        print(f"--val_split {shared.val_split()}: {line}")


def _make_optimizer(num_samples, precision):
    epoch_steps = steps_per_epoch(num_samples, FLAGS.batch_size)
    if FLAGS.schedule == "cosine":
        schedule = WarmupCosineDecay(FLAGS.learning_rate, FLAGS.epochs * epoch_steps, FLAGS.warmup_steps)
    else:
        drops = [int(epoch) * epoch_steps for epoch in FLAGS.learning_rate_drops]
        schedule = WarmupStepDecay(FLAGS.learning_rate, drops, warmup_steps=FLAGS.warmup_steps)
    return make_optimizer(schedule, precision, weight_decay=FLAGS.weight_decay, clip_norm=FLAGS.clip_norm)


def _make_trainer(task, strategy, model, optimizer, average, checkpoint, records, val_people, bad_images):
    evaluated = average.model if average else model
    card = shared.make_card(FLAGS.model, shared.input_size(), records.skeleton)
    evaluate = task.make_evaluate(strategy, evaluated, card, val_people, bad_images)
    train_step = make_train_step(
        strategy, model, optimizer, task.objective(card), _use_xla(), FLAGS.accumulate, FLAGS.sync_batch_norm, average
    )

    def evaluate_with_picture():
        metrics, keypoints, people = evaluate()
        return metrics, prediction_sheet(keypoints, people)

    def save_best(metrics):
        export_keras(evaluated, os.path.join(FLAGS.work_dir, "best.keras"), dataclasses.replace(card, metrics=metrics))

    epoch_steps = steps_per_epoch(len(records), FLAGS.batch_size)
    return Trainer(
        strategy=strategy,
        model=model,
        optimizer=optimizer,
        train_step=train_step,
        make_dataset=functools.partial(task.batches, records, card, bad_images, share_of(strategy)),
        evaluate=evaluate_with_picture,
        main_metric=shared.dataset().main_metric,
        save_best=save_best,
        plan=Plan(FLAGS.epochs, epoch_steps, FLAGS.eval_every, FLAGS.batch_size),
        checkpoint=checkpoint,
        work_dir=FLAGS.work_dir,
        save_interval=60 * FLAGS.save_minutes,
        average=average,
        max_bad_steps=FLAGS.max_bad_steps,
    )


def _export(task, people, bad_images):
    """Writes best.keras in every format and checks them on images of the validation split."""
    path = os.path.join(FLAGS.work_dir, "best.keras")
    trained = shared.load_trained(path)
    card = trained.card_for(people.skeleton)
    crops = task.examples(people, card, bad_images)
    shared.print_exports(*export_all(trained.model, os.path.join(FLAGS.work_dir, "export"), crops, card))


def _write_flags():
    """Writes the resolved flags of this command; the file can be given to --flagfile."""
    with replacing(os.path.join(FLAGS.work_dir, "flags.txt")) as path, open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{flag.serialize()}\n" for flag in defined_flags() if flag.value is not None)
