"""Starting the command-line tools as users do, in processes of their own."""

import pathlib
import re
import subprocess
import sys

from hrnet_tf.errors import MAX_LINE

# What libraries say of themselves; no command shows it.
NOISE = re.compile(r"^[IWEF]\d{4} |^WARNING|Warning\b|\.cc:\d+|^INFO|^To enable|^Instructions", re.MULTILINE)
ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 120  # a process that waits for ever is ended then


def command(tool, **flags):
    return [sys.executable, f"tools/{tool}.py", *(f"--{name}={value}" for name, value in flags.items())]


def training(root, **flags):
    """The flags of a run that takes seconds, on the folder `root`/data."""
    return {
        "model": "hrnet_w18_small_v1",
        "input_size": "64x64",
        "data_dir": root / "data",
        "train_split": "tiny",
        "val_split": "tiny",
        "work_dir": root / "work",
        "batch_size": 4,
        "epochs": 2,
        "eval_every": 1,
        **flags,
    }


def run(tool, **flags):
    options = {"cwd": ROOT, "capture_output": True, "text": True}
    result = subprocess.run(command(tool, **flags), **options)
    assert not NOISE.search(result.stdout + result.stderr), result.stderr
    return result


def complaint(result):
    """The one line that a tool ended with, which must be its only one on bad input, and short."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert len(errors[0]) <= MAX_LINE, result.stderr
    return result.stderr


def hrnet_tf_command(*arguments, **options):
    """Runs `hrnet-tf` with arguments in a process of its own."""
    line = [sys.executable, "-m", "hrnet_tf.cli", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, **options)
