"""What a run tells: a progress bar, metrics.jsonl and TensorBoard."""

import json
import os

import numpy as np
import tensorflow as tf

from hrnet_tf import progress
from hrnet_tf.files import PathLike, replacing


class Progress:
    """A bar with a step's scalars, samples a second and the time left."""

    def __init__(self, first_step: int, last_step: int, epoch_steps: int, batch_size: int):
        self._num_epochs, self._epoch_steps, self._batch_size = -(-last_step // epoch_steps), epoch_steps, batch_size
        self._bar = progress.bar("training", last_step * batch_size, "samples", first_step * batch_size)

    def update(self, step: int, means: dict[str, float]) -> None:
        """Shows the state after `step` steps: the means {name: number} over the latest ones."""
        epoch = (step - 1) // self._epoch_steps + 1
        self._bar.set_description_str(f"epoch {epoch} of {self._num_epochs}", refresh=False)
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in means.items()}, refresh=False)
        self._bar.update(step * self._batch_size - self._bar.n)

    def message(self, text: str) -> None:
        """Prints a line of its own."""
        self._bar.clear()
        print(text, flush=True)

    def leave_out(self, seconds: float, steps: int = 0) -> None:
        """Takes `seconds` spent on something else, or on so many steps unlike the rest, out of the rate."""
        self._bar.start_t += seconds
        self._bar.last_print_t += seconds
        self._bar.initial += steps * self._batch_size
        self._bar.last_print_n += steps * self._batch_size

    def close(self) -> None:
        self._bar.close()


class MetricsLog:
    """Metrics by step: one JSON object a line in `metrics.jsonl`, and TensorBoard.

    A resumed run drops from `metrics.jsonl` what was logged after the state that it goes on from.
    """

    def __init__(self, work_dir: PathLike, step: int, evaluated_step: int):
        path = os.path.join(work_dir, "metrics.jsonl")
        kept = []
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                kept = [line for line in file if _is_before(line, step, evaluated_step)]
        with replacing(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (kept open for the run)
        self._writer = tf.summary.create_file_writer(os.path.join(work_dir, "tensorboard"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Logs {name: number} at a step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Shows an image [H,W,3] uint8 in TensorBoard."""
        with self._writer.as_default(step=step):
            tf.summary.image(name, image[None])
        self._writer.flush()

    def close(self) -> None:
        self._file.close()
        self._writer.close()


class NoLog:
    """Of a worker that is not the first."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """The first one logs them."""

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """The first one shows it."""

    def close(self) -> None:
        """Nothing to close."""


def _is_before(line, step, evaluated_step):
    """Whether a line of the log is from up to `step`, and from up to `evaluated_step` if of an evaluation."""
    try:
        entry = json.loads(line)
        is_of_steps = not entry.keys().isdisjoint(("learning_rate", "save_seconds"))
        return entry["step"] <= (step if is_of_steps else evaluated_step)
    except (ValueError, KeyError, TypeError, AttributeError):  # the last line of a run that was killed, or damage
        return False
