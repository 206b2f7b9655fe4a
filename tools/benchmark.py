"""Measures speed, side by side in one run: network, training step, input, decoding, prediction, evaluation.

    python tools/benchmark.py
    python tools/benchmark.py --cases=forward --batch_sizes=1,8,64 --json=new.json --compare=old.json
    python tools/benchmark.py --reference=../deep-high-resolution-net.pytorch --data_dir=data/coco --split=val2017

Every case of a group is run once in turn, A B C A B C, until --seconds are over; the table has the median rate,
the latency of a call (half and 99 % of them were faster), the rate relative to the group's first case, and for
networks the share of this machine's matrix-multiply peak in that precision, measured in the same turns. Machines
drift: of two runs only relative figures can be compared. --reference adds the published PyTorch implementation, a
checkout of which it names, as the first case; it needs PyTorch.
"""

import dataclasses
import json
import platform
import resource
import time

import benchmark_cases
import cli  # first: it quiets TensorFlow
import keras
import numpy as np
import tensorflow as tf
from absl import flags

from hrnet_tf.errors import InputError
from hrnet_tf.files import read_json, replacing
from hrnet_tf.models.build import MODEL_NAMES

FLAGS = flags.FLAGS

GROUPS = {
    "forward": benchmark_cases.forward,
    "train": benchmark_cases.train,
    "input": benchmark_cases.input_pipeline,
    "postprocess": benchmark_cases.postprocess,
    "predict": benchmark_cases.predict,
    "evaluation": benchmark_cases.evaluation,
}

flags.DEFINE_list("cases", list(GROUPS), f"Groups to measure, of {', '.join(GROUPS)}.")
flags.DEFINE_enum("model", "hrnet_w32", MODEL_NAMES, "Network.")
cli.define_input_size_flag()
flags.DEFINE_list("batch_sizes", ["1", "8"], "Crops in a call of the network; the last one counts for training.")
flags.DEFINE_list("people", ["1", "5", "20"], "People in an image, for prediction.")
flags.DEFINE_list("evaluated", ["6352"], "People to compute COCO's figures of; val2017 has 6,352.")
flags.DEFINE_string("data_dir", None, "COCO-format folder for the input pipeline; rendered people by default.")
flags.DEFINE_string("split", "val2017", "Its split.")
flags.DEFINE_integer("copies", 1, "Every image of it is taken so many times, under other names.", 1)
flags.DEFINE_float("seconds", 30, "How long a group's cases are repeated.", 0)
flags.DEFINE_string("reference", None, "A checkout of the published PyTorch implementation to run beside.")
flags.DEFINE_string("json", None, "File to write the figures to.")
flags.DEFINE_string("compare", None, "File of an earlier run, to print the ratios to.")
flags.register_validator("cases", lambda names: set(names) <= set(GROUPS), f"must be of {','.join(GROUPS)}")
for name in ("batch_sizes", "people", "evaluated"):
    flags.register_validator(name, lambda sizes: all(n.isdigit() and int(n) for n in sizes), "must be like 1,8")

_MIN_ROUNDS = 3


def main():
    older = read_json(FLAGS.compare)["cases"] if FLAGS.compare else {}
    settings = benchmark_cases.Settings(
        FLAGS.model,
        cli.input_size(),
        [int(size) for size in FLAGS.batch_sizes],
        [int(count) for count in FLAGS.people],
        [int(count) for count in FLAGS.evaluated],
        FLAGS.data_dir,
        FLAGS.split,
        FLAGS.copies,
        bool(tf.config.list_physical_devices("GPU")),
    )
    reference = _load_reference()
    figures = {}
    for group in FLAGS.cases:
        for cases in GROUPS[group](settings, reference):
            figures |= _measured(cases, older)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the whole run: {memory:.0f} MB")
    if FLAGS.json:
        content = {"machine": _machine(), "settings": dataclasses.asdict(settings), "cases": figures}
        with replacing(FLAGS.json) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)


def _load_reference():
    """The module of the reference's cases, or None if it is not asked for."""
    if not FLAGS.reference:
        return None
    try:
        import benchmark_reference
    except ImportError as error:
        raise InputError(f"--reference needs PyTorch: {error}") from error
    return benchmark_reference.Reference(FLAGS.reference)


def _measured(cases, older):
    """Runs the cases of a table, prints it and returns {name: figures}."""
    peaks = {case.precision for case in cases if case.flops}
    timed = cases + [benchmark_cases.matmul_peak(precision) for precision in sorted(peaks)]
    for case in timed:
        case.prepare()
        case.run()  # compiled, warm
    seconds = {case.name: [] for case in timed}
    deadline = time.monotonic() + FLAGS.seconds
    while time.monotonic() < deadline or len(seconds[timed[0].name]) < _MIN_ROUNDS:
        for case in timed:
            case.prepare()
            start = time.perf_counter()
            case.run()
            seconds[case.name].append(time.perf_counter() - start)
    peak = {case.precision: case.flops / np.median(seconds[case.name]) for case in timed[len(cases) :]}
    figures = {}
    first = cases[0].items / np.median(seconds[cases[0].name])
    print(f"{'':44}{'per second':>12}{'ms half':>10}{'ms 99 %':>10}{'ratio':>8}{'peak':>7}{'older':>8}")
    for case in cases:
        half, most = np.percentile(seconds[case.name], [50, 99])
        rate = case.items / half
        of_peak = case.flops / half / peak[case.precision] if case.flops else None
        figures[case.name] = {"per_second": rate, "p50": half, "p99": most, "ratio": rate / first, "of_peak": of_peak}
        compared = rate / older[case.name]["per_second"] if case.name in older else None
        columns = [f"{value:{width}.2f}" if value else " " * width for value, width in ((of_peak, 7), (compared, 8))]
        print(
            f"{case.name:44}{rate:12.1f}{1e3 * half:10.1f}{1e3 * most:10.1f}{rate / first:8.2f}{''.join(columns)}",
            flush=True,
        )
    return figures


def _machine():
    devices = [device.name for device in tf.config.list_physical_devices()]
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "python": platform.python_version()}
    return {"processor": platform.machine(), "devices": devices, **versions}


if __name__ == "__main__":
    cli.run(main)
