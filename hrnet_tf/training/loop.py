"""The training loop: steps, evaluations and checkpoints in the order in which they happen."""

import contextlib
import dataclasses
import math
import os
import signal
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from hrnet_tf import progress
from hrnet_tf.data.pipeline import input_error
from hrnet_tf.devices import memory_advice
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike
from hrnet_tf.training.average import MovingAverage
from hrnet_tf.training.report import MetricsLog, NoLog, Progress
from hrnet_tf.training.run_state import Checkpoint
from hrnet_tf.training.step import make_average_statistics, over_replicas
from hrnet_tf.workers import distributed, of_all, share_of

# Losses stay on the device and are looked at this often, in seconds; reading each one would stall a GPU.
_LOOK_INTERVAL = 1.0
# What clusters send before they take a machine away is a request like that of a terminal, with a code of its own.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
if hasattr(signal, "SIGUSR1"):  # Windows has none
    _EXIT_CODES[signal.SIGUSR1] = 143
_ANOTHER_WORKERS = 143  # what ends a run of which another worker has been asked to stop
_LESS_MEMORY = (
    "lower --batch_size, or take each batch in parts with --accumulate; --precision=mixed_bfloat16 needs about half"
)
# Steps between entries in the metrics log.
_LOG_STEPS = 50
# Steps in a row that may be skipped; dynamic loss scaling begins at 2^15, and halves with each.
DEFAULT_MAX_BAD_STEPS = 20
# Steps between those at which workers on several machines agree on what one of them wishes; each waits for all there.
_AGREE_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a run is.

    Attributes:
        epochs: passes over the people.
        epoch_steps: steps of one.
        eval_every: epochs between evaluations; the last epoch is always followed by one.
        batch_size: people in a step, on all replicas together.
    """

    epochs: int
    epoch_steps: int
    eval_every: int
    batch_size: int

    @property
    def last_step(self) -> int:
        return self.epochs * self.epoch_steps

    def next_evaluation(self, step: int) -> int:
        """The first step after `step` that is followed by an evaluation."""
        interval = self.eval_every * self.epoch_steps
        return min(self.last_step, (step // interval + 1) * interval)


class Trainer:
    """Trains a model by a plan, from wherever its checkpoint is.

    Args:
        strategy: the tf.distribute.Strategy that model, optimizer and step were built under.
        model: the model in training.
        optimizer: its optimizer, whose learning rate is logged.
        train_step: of `make_train_step`.
        make_dataset: (first_step, last_step) -> tf.data.Dataset of global batches.
        evaluate: () -> ({name: number} and an image [H,W,3] uint8 of predictions).
        main_metric: the one of these names, higher is better, that tells which state is best.
        save_best: (metrics) -> None, called with these when it has risen.
        plan: a `Plan`.
        checkpoint: a `Checkpoint`, restored if there is something to resume.
        work_dir: folder of the metrics.
        save_interval: seconds; the state is saved at every evaluation, and at least this often.
        average: what follows `model`, if anything does.
        max_bad_steps: the run ends after so many steps in a row whose loss or gradients are not finite. Each of
            them is skipped: weights, average and moments stay as they were.
    """

    def __init__(
        self,
        *,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        train_step: Callable,
        make_dataset: Callable[[int, int], tf.data.Dataset],
        evaluate: Callable[[], tuple[dict[str, float], np.ndarray]],
        main_metric: str,
        save_best: Callable[[dict[str, float]], None],
        plan: Plan,
        checkpoint: Checkpoint,
        work_dir: PathLike,
        save_interval: float = 600,
        average: MovingAverage | None = None,
        max_bad_steps: int = DEFAULT_MAX_BAD_STEPS,
    ):
        self._strategy, self._train_step, self._is_built = strategy, train_step, False
        self._average_statistics = make_average_statistics(strategy, model, *([average.model] if average else []))
        self._max_bad_steps = max_bad_steps
        self._optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        self._evaluate, self._main_metric, self._save_best = evaluate, main_metric, save_best
        self._plan, self._checkpoint, self._save_interval = plan, checkpoint, save_interval
        self._is_first = share_of(strategy).index == 0
        self._log = MetricsLog(work_dir, checkpoint.step, checkpoint.evaluated_step) if self._is_first else NoLog()
        self._progress = Progress(checkpoint.step, plan.last_step, plan.epoch_steps, plan.batch_size)
        dataset = make_dataset(checkpoint.step, plan.last_step)
        self._batches = iter(distributed(strategy, dataset))
        self._saved_at, self._is_stopping = time.monotonic(), False

    def run(self) -> int:
        """Trains to the end of the plan.

        Ctrl-C, SIGTERM or SIGUSR1 ends the run after the current step, with its state saved; in an
        evaluation, or the second time, at once.

        Returns:
            0 if the plan was completed; else the exit code for what interrupted it, 130 for Ctrl-C and 143 for
            the others, also where they came to another worker.

        Raises:
            InputError: too many steps in a row whose loss or gradients are not finite (naming the last one and
                the state before), an image that cannot be read, a disk that is full.
        """
        checkpoint, plan = self._checkpoint, self._plan
        with contextlib.closing(self._log), contextlib.closing(self._progress), _Interruption() as interruption:
            self._evaluate_if_due(interruption)  # where a run was interrupted in its evaluation
            while checkpoint.step < plan.last_step and not self._is_stopping:
                self._train_until(plan.next_evaluation(checkpoint.step), interruption)
                self._save()
                self._evaluate_if_due(interruption)
        return 0 if checkpoint.evaluated_step == plan.last_step else interruption.exit_code or _ANOTHER_WORKERS

    def _train_until(self, last_step, interruption):
        """Runs steps up to `last_step`, or until interrupted."""
        checkpoint, looked_at, pending = self._checkpoint, time.monotonic(), []
        while checkpoint.step < last_step and not self._is_stopping:
            pending.append(self._take_step(self._next_batch()))
            checkpoint.step += 1
            now = time.monotonic()
            self._is_stopping, is_to_save = self._agreed(
                interruption.requested, now - self._saved_at > self._save_interval, checkpoint.step == last_step
            )
            if is_to_save or now - looked_at > _LOOK_INTERVAL:
                self._look(pending)
                looked_at, pending = now, []
            if is_to_save:
                self._save()
        self._look(pending)

    def _agreed(self, is_stopping, is_to_save, is_last):
        """What this worker wishes, or on several machines what any does, now and then: all must do the same."""
        if share_of(self._strategy).count == 1:
            return is_stopping, is_to_save
        if self._checkpoint.step % _AGREE_STEPS and not is_last:
            return self._is_stopping, False
        return of_all(self._strategy, [is_stopping, is_to_save]).any(axis=0)

    def _take_step(self, batch):
        """The scalars of a step; the first, in which it is traced and compiled, does not count in the rate."""
        with memory_advice(_LESS_MEMORY):
            if self._is_built:
                return self._train_step(*batch)
            progress.note("building the training step; compiling it takes minutes for large networks")
            start = time.monotonic()
            result = self._train_step(*batch)
            over_replicas(self._strategy, result["loss"])
            self._is_built = True
            self._progress.leave_out(time.monotonic() - start, steps=1)
            return result

    def _next_batch(self):
        try:
            return next(self._batches)
        except tf.errors.OpError as error:
            raise input_error(error) or error from error

    def _look(self, pending):
        """Reads the scalars of the latest steps off the device; reports them and stops at too many bad ones."""
        checkpoint = self._checkpoint
        first_step = checkpoint.step - len(pending)
        for step, scalars in enumerate(pending, first_step + 1):
            with memory_advice(_LESS_MEMORY):
                values = {name: over_replicas(self._strategy, value) for name, value in scalars.items()}
            checkpoint.bad_steps = 0 if math.isfinite(values["gradient_norm"]) else checkpoint.bad_steps + 1
            if checkpoint.bad_steps >= self._max_bad_steps:
                epoch = (step - 1) // self._plan.epoch_steps + 1
                raise InputError(
                    f"{checkpoint.bad_steps} steps in a row, up to step {step} (epoch {epoch}), had a loss or "
                    f"gradients that are not finite; the last loss is {values['loss']}. Lower --learning_rate, or give "
                    f"--clip_norm or --precision=float32. The last good state is {checkpoint.saved}"
                )
            checkpoint.since_log.append(values)
            if step % _LOG_STEPS == 0 or step == self._plan.next_evaluation(step - 1):
                self._log_training(step)
        if checkpoint.since_log:
            self._progress.update(checkpoint.step, _means(checkpoint.since_log))

    def _log_training(self, step):
        logged, self._checkpoint.since_log = self._checkpoint.since_log, []
        means = _means(logged)
        self._progress.update(step, means)
        skipped = sum(not math.isfinite(values["gradient_norm"]) for values in logged)
        rate = float(self._optimizer.learning_rate)
        self._log.scalars(step, {**means, "skipped_steps": skipped, "learning_rate": rate})

    def _save(self):
        self._average_statistics()
        if self._is_first:
            self._log.scalars(self._checkpoint.step, self._checkpoint.save())
        self._saved_at = time.monotonic()

    def _evaluate_if_due(self, interruption):
        """Evaluates the model where the plan says so and it has not been done."""
        checkpoint = self._checkpoint
        due = checkpoint.step > 0 and checkpoint.step == self._plan.next_evaluation(checkpoint.step - 1)
        if not due or checkpoint.step == checkpoint.evaluated_step or self._is_stopping:
            return
        start = time.monotonic()
        try:
            with interruption.at_once():
                metrics, image = self._evaluate()
        except KeyboardInterrupt:
            self._is_stopping = True
            return  # the state was saved before; a resumed run evaluates it first
        self._log.scalars(checkpoint.step, metrics)
        self._log.image(checkpoint.step, "predictions", image)
        self._progress.message(f"step {checkpoint.step}: " + "  ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
        if metrics[self._main_metric] > checkpoint.best_metric:
            if self._is_first:
                self._save_best(metrics)
            checkpoint.best_metric = metrics[self._main_metric]
        checkpoint.evaluated_step = checkpoint.step
        if self._is_first:
            checkpoint.save()
        self._progress.leave_out(time.monotonic() - start)


def _means(steps):
    """{name: mean} of the scalars of steps; those that are not finite, of skipped steps, do not count."""
    finite = {name: [of[name] for of in steps if math.isfinite(of[name])] for name in steps[0]}
    return {name: sum(values) / len(values) for name, values in finite.items() if values}


class _Interruption:
    """Turns the first Ctrl-C, SIGTERM or SIGUSR1 into a request, so that the step under way is completed."""

    def __init__(self):
        self.requested = False
        self.exit_code = 0
        self._immediate = False

    def __enter__(self):
        self._previous = {number: signal.signal(number, self._handle) for number in _EXIT_CODES}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number, _):
        self.exit_code = _EXIT_CODES[number]
        if self.requested or self._immediate:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
        # print() could be under way itself when the signal comes
        os.write(1, b"\nstopping after this step; once more to stop at once\n")

    @contextlib.contextmanager
    def at_once(self):
        """Within it, the first signal already raises KeyboardInterrupt."""
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False
