"""The benchmarks: of each its people, its measure and its published results, a file each.

Another one is another file in this folder, with a class that is a `Benchmark` named `BENCHMARK`. Nothing is imported
before it is asked for, so that command lines can list the names without TensorFlow.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hrnet_tf.benchmarks._common import Benchmark, load_people, pck_by_keypoint

__all__ = ["NAMES", "Benchmark", "load_people", "open_benchmark", "pck_by_keypoint"]
NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))
__getattr__ = lazy_attributes(__name__, {"_common": ("Benchmark", "load_people", "pck_by_keypoint")})


def open_benchmark(
    name: str, data_dir: str | None, files: "Mapping[str, tuple[str | None, str | None]] | None" = None
) -> "Benchmark":
    """The benchmark of a name in `NAMES`, with its data in the folder `data_dir`.

    Args:
        name: of `NAMES`.
        data_dir: the folder; may be None where all splits are in `files`.
        files: of benchmark "coco", {split: (annotation file or None, folder of images or None)} of splits that are
            somewhere else.
    """
    benchmark = importlib.import_module(f"{__name__}.{name}").BENCHMARK
    return benchmark(data_dir, files) if files else benchmark(data_dir)
