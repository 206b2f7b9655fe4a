"""What a run tells: a progress line, metrics.jsonl and TensorBoard."""

import json
import os
import sys
import time

import tensorflow as tf

from hrnet_tf.files import replacing

# Seconds between progress lines where the output is a file and not a terminal.
_LOG_INTERVAL = 30
_BAR_WIDTH = 20


class Progress:
    """A line with a bar, loss, PCK, samples/s and the time left, redrawn on a terminal."""

    def __init__(self, first_step, last_step, epoch_steps, batch_size):
        self._last_step, self._epoch_steps, self._batch_size = last_step, epoch_steps, batch_size
        self._start, self._first_step = time.monotonic(), first_step
        self._shown, self._interactive = float("-inf"), sys.stdout.isatty()
        self._open = False

    def update(self, step, loss, pck):
        """Shows the state after `step` steps; loss and PCK are means over the latest ones."""
        now = time.monotonic()
        if not self._interactive and now - self._shown < _LOG_INTERVAL and step < self._last_step:
            return
        self._shown = now
        seconds = (now - self._start) / max(1, step - self._first_step)
        epoch, in_epoch = divmod(step - 1, self._epoch_steps)
        filled = _BAR_WIDTH * (in_epoch + 1) // self._epoch_steps
        line = (
            f"epoch {epoch + 1}/{-(-self._last_step // self._epoch_steps)} "
            f"[{'=' * filled}{'.' * (_BAR_WIDTH - filled)}] {in_epoch + 1}/{self._epoch_steps}  "
            f"loss {loss:.3g}  PCK {pck:.3f}  {self._batch_size / seconds:.1f} samples/s  "
            f"ETA {format_seconds((self._last_step - step) * seconds)}"
        )
        print(f"\r{line}\x1b[K" if self._interactive else line, end="" if self._interactive else "\n", flush=True)
        self._open = self._interactive

    def message(self, text):
        """Prints a line of its own."""
        print(f"\n{text}" if self._open else text, flush=True)
        self._open = False

    def pause(self, seconds):
        """Takes `seconds` spent on something else out of the rate."""
        self._start += seconds


def format_seconds(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class MetricsLog:
    """Metrics by step: one JSON object a line in `metrics.jsonl`, and TensorBoard.

    A resumed run drops from `metrics.jsonl` what was logged after the state that it goes on from.
    """

    def __init__(self, work_dir, step, evaluated_step):
        path = os.path.join(work_dir, "metrics.jsonl")
        kept = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if _is_before(line, step, evaluated_step)]
        with replacing(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (kept open for the run)
        self._writer = tf.summary.create_file_writer(os.path.join(work_dir, "tensorboard"))

    def scalars(self, step, values):
        """Logs {name: number} at a step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def image(self, step, name, image):
        """Shows an image [H,W,3] uint8 in TensorBoard."""
        with self._writer.as_default(step=step):
            tf.summary.image(name, image[None])
        self._writer.flush()

    def close(self):
        self._file.close()
        self._writer.close()


def _is_before(line, step, evaluated_step):
    """Whether a line of the log is from up to `step`, and from up to `evaluated_step` if of an evaluation."""
    try:
        entry = json.loads(line)
        return entry["step"] <= (step if "loss" in entry else evaluated_step)
    except (ValueError, KeyError, TypeError):  # the last line of a run that was killed
        return False
