"""Starts the speed benchmark, `tools/benchmark/`; `python tools/benchmark.py --help` tells more."""

from hrnet_tf.cli.quiet import start_tensorflow

start_tensorflow()

from benchmark.main import start  # noqa: E402

if __name__ == "__main__":
    start()
