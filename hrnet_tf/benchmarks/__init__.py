"""The benchmarks: of each its people, its measure and its published results, a file each.

Another one is another file in this folder, with a class that is a `Benchmark` named `BENCHMARK`. Nothing is imported
before it is asked for, so that command lines can list the names without TensorFlow.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from hrnet_tf.errors import InputError, shown
from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hrnet_tf.benchmarks._common import Benchmark, load_people, pck_by_keypoint
    from hrnet_tf.benchmarks._sets import coco_like, evaluate

__all__ = [
    "NAMES",
    "Benchmark",
    "benchmark_class",
    "coco_like",
    "evaluate",
    "load_people",
    "open_benchmark",
    "pck_by_keypoint",
]
NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))
_HOMES = {"_common": ("Benchmark", "load_people", "pck_by_keypoint"), "_sets": ("coco_like", "evaluate")}
__getattr__ = lazy_attributes(__name__, _HOMES)


def benchmark_class(name: str) -> "type[Benchmark]":
    """The class of a benchmark in `NAMES`.

    Raises:
        InputError: there is none of the name.
    """
    if name not in NAMES:
        raise InputError(f"benchmark must be one of {', '.join(NAMES)}. Received: {shown(name)}")
    benchmark: type[Benchmark] = importlib.import_module(f"{__name__}.{name}").BENCHMARK
    return benchmark


def open_benchmark(
    name: str, data_dir: str | None, files: "Mapping[str, tuple[str | None, str | None]] | None" = None
) -> "Benchmark":
    """The benchmark of a name in `NAMES`, with its data in the folder `data_dir`.

    Args:
        name: of `NAMES`.
        data_dir: the folder; may be None where all splits are in `files`.
        files: {split: (annotation file or None, folder of images or None)} of splits that are somewhere else; not of
            MPII.

    Raises:
        InputError: there is no benchmark of the name.
    """
    benchmark: Callable[..., Benchmark] = benchmark_class(name)
    return benchmark(data_dir, files) if files else benchmark(data_dir)
