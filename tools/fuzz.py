"""Starts the fuzzer, `tools/fuzz/`; `python tools/fuzz.py --help` tells more."""

if __name__ == "__main__":  # the processes that it starts do without its flags
    from fuzz.main import start

    start()
