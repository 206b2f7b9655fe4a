"""Measures speed, side by side in one run: network, training step, input, decoding, prediction, evaluation.

    python tools/benchmark.py
    python tools/benchmark.py --cases=forward --batch_sizes=1,8,64 --json=new.json --compare=old.json
    python tools/benchmark.py --reference=../deep-high-resolution-net.pytorch --data_dir=data/coco --split=val2017

Every case of a group is run once in turn, A B C A B C, until --seconds are over; the table has the median rate,
the time for each image or person, the latency of a call (half and 99 % of them were faster), what the first call took
(it traces and compiles) and by how many MB it raised the memory in use, the rate relative to the group's first case,
and for networks the share of this machine's matrix-multiply peak in that precision, measured in the same turns.
Machines drift: of two runs only relative figures can be compared. Each group has a process of its own, in which those
that only predict keep their weights (--frozen_weights).
--reference adds the published PyTorch implementation, a checkout of which it names, as the first case; it needs
PyTorch.
"""

import ctypes
import dataclasses
import json
import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmark import networks, people, whole_images
from hrnet_tf.cli import flag_groups, shared
from hrnet_tf.errors import InputError
from hrnet_tf.files import read_json, replacing
from hrnet_tf.models.variants import TOP_DOWN_NAMES

FLAGS = flags.FLAGS

GROUPS = {
    "forward": networks.forward,
    "train": networks.train,
    "input": people.input_pipeline,
    "postprocess": people.postprocess,
    "predict": people.predict,
    "whole_images": whole_images.predict,
    "evaluation": people.evaluation,
}

flags.DEFINE_list("cases", list(GROUPS), f"Groups to measure, of {', '.join(GROUPS)}.")
flags.DEFINE_enum("model", "hrnet_w32", TOP_DOWN_NAMES, "Network.")
flag_groups.define_input_size_flag()
flags.DEFINE_list("batch_sizes", ["1", "8"], "Crops in a call of the network; the last one counts for training.")
flags.DEFINE_list("people", ["1", "5", "20"], "People in an image, for prediction.")
flags.DEFINE_list("evaluated", ["6352"], "People to compute COCO's figures of; val2017 has 6,352.")
flags.DEFINE_string("data_dir", None, "COCO-format folder for the input pipeline; rendered people by default.")
flags.DEFINE_string("split", "val2017", "Its split.")
flags.DEFINE_integer("copies", 1, "Every image of it is taken so many times, under other names.", 1)
flags.DEFINE_integer("replicas", 1, "Training: replicas with a batch each, on GPUs or on parts of the CPU.", 1)
flags.DEFINE_bool("frozen_weights", True, "Networks that only predict keep their weights, as `hrnet-tf evaluate`.")
flags.DEFINE_float("seconds", 30, "How long a group's cases are repeated.", 0)
flags.DEFINE_string("reference", None, "A checkout of the published PyTorch implementation to run beside.")
flags.DEFINE_string("json", None, "File to write the figures to.")
flags.DEFINE_string("compare", None, "File of an earlier run, to print the ratios to.")
flags.register_validator("cases", lambda names: set(names) <= set(GROUPS), f"must be of {','.join(GROUPS)}")
for name in ("batch_sizes", "people", "evaluated"):
    flags.register_validator(name, lambda sizes: all(n.isdigit() and int(n) for n in sizes), "must be like 1,8")

_MIN_ROUNDS = 3
_COLUMNS = {"": 48, "per second": 12, "µs each": 10, "ms half": 10, "ms 99 %": 10}
_COLUMNS |= {"s first": 9, "MB": 7, "ratio": 8, "peak": 7, "older": 8}


def main():
    older = read_json(FLAGS.compare)["cases"] if FLAGS.compare else {}
    settings = networks.Settings(
        FLAGS.model,
        shared.input_size(),
        [int(size) for size in FLAGS.batch_sizes],
        [int(count) for count in FLAGS.people],
        [int(count) for count in FLAGS.evaluated],
        FLAGS.data_dir,
        FLAGS.split,
        FLAGS.copies,
        FLAGS.replicas,
        bool(tf.config.list_physical_devices("GPU")),
    )
    figures = {}
    for group in FLAGS.cases:
        frozen_weights = FLAGS.frozen_weights and group != "train"
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            arguments = (group, settings, frozen_weights, FLAGS.reference, FLAGS.seconds, older)
            figures |= process.submit(_group_figures, *arguments).result()
    if FLAGS.json:
        content = {"machine": _machine(), "settings": dataclasses.asdict(settings), "cases": figures}
        with replacing(FLAGS.json) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)


def _group_figures(group, settings, frozen_weights, reference, seconds, older):
    """Measures a group of cases in a process that has done nothing else: {name: figures}."""
    if frozen_weights:
        shared.assume_frozen_weights()
    if settings.replicas > 1:  # has to be said before TensorFlow looks at its devices
        parts = [tf.config.LogicalDeviceConfiguration()] * settings.replicas
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    figures = {}
    for cases in GROUPS[group](settings, _load_reference(reference)):
        figures |= _measured(cases, seconds, older, settings.has_gpu)
    return figures


def _load_reference(path):
    """The module of the reference's cases, or None if it is not asked for."""
    if not path:
        return None
    try:
        from benchmark import reference
    except ImportError as error:
        raise InputError(f"--reference needs PyTorch: {error}") from error
    return reference.Reference(path)


def _measured(cases, run_for, older, has_gpu):
    """Runs the cases of a table for so many seconds, prints it and returns {name: figures}."""
    peaks = {case.precision for case in cases if case.flops}
    timed = cases + [networks.matmul_peak(precision, has_gpu) for precision in sorted(peaks)]
    memory, first_call = {}, {}
    for case in timed:
        case.prepare()
        start = time.perf_counter()
        with _PeakMemory() as memory[case.name]:
            case.run()  # compiled, warm
        first_call[case.name] = time.perf_counter() - start
    seconds = {case.name: [] for case in timed}
    deadline = time.monotonic() + run_for
    while time.monotonic() < deadline or len(seconds[timed[0].name]) < _MIN_ROUNDS:
        for case in timed:
            case.prepare()
            start = time.perf_counter()
            case.run()
            seconds[case.name].append(time.perf_counter() - start)
    peak = {case.precision: case.flops / np.median(seconds[case.name]) for case in timed[len(cases) :]}
    figures = {}
    first = cases[0].items / np.median(seconds[cases[0].name])
    print("".join(f"{head:>{length}}" for head, length in _COLUMNS.items()))
    for case in cases:
        half, most = np.percentile(seconds[case.name], [50, 99])
        rate = case.items / half
        of_peak = case.flops / half / peak[case.precision] if case.flops else None
        figures[case.name] = {"per_second": rate, "p50": half, "p99": most, "ratio": rate / first, "of_peak": of_peak}
        compared = rate / older[case.name]["per_second"] if case.name in older else None
        megabytes = memory[case.name].megabytes
        figures[case.name] |= {"first_call": first_call[case.name], "megabytes": megabytes}
        columns = [(megabytes, "7.0f"), (rate / first, "8.2f"), (of_peak, "7.2f"), (compared, "8.2f")]
        text = "".join(" " * int(form[0]) if value is None else f"{value:{form}}" for value, form in columns)
        times = f"{rate:12.1f}{1e6 / rate:10.1f}{1e3 * half:10.1f}{1e3 * most:10.1f}{first_call[case.name]:9.1f}"
        print(f"{case.name:48}{times}{text}", flush=True)
    return figures


class _PeakMemory:
    """Within it, by how much the process's memory, or the first GPU's, rose at most: `megabytes`, None if unknown."""

    _CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # of Linux

    def __enter__(self):
        self.megabytes, self._gpu = None, bool(tf.config.list_physical_devices("GPU"))
        if self._gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        elif self._CLEAR.exists():
            ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier cases have freed
            self._CLEAR.write_text("5")  # the peak is counted anew
        self._before = self._now("current", "VmRSS")
        return self

    def __exit__(self, *_):
        peak = self._now("peak", "VmHWM")
        self.megabytes = None if peak is None else peak - self._before

    def _now(self, gpu_key, process_key):
        if self._gpu:
            return tf.config.experimental.get_memory_info("GPU:0")[gpu_key] / 2**20
        if not self._CLEAR.exists():
            return None
        line = next(line for line in self._STATUS.read_text().splitlines() if line.startswith(process_key))
        return int(line.split()[1]) / 2**10


def _machine():
    devices = [device.name for device in tf.config.list_physical_devices()]
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "python": platform.python_version()}
    return {"processor": _processor(), "devices": devices, **versions}


def _processor():
    """The name of the CPU, where the system tells it."""
    described = Path("/proc/cpuinfo")  # of Linux
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def start():
    """Reads the flags and measures; bad input is one line."""
    app.run(_guarded)


def _guarded(_):
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
