"""The speed benchmark, which `python tools/benchmark.py` starts."""
