"""`tools/kill_run.py` on a few kills; docs/reliability.md has what it gave on many."""

import subprocess
import sys

import pytest
from tool_runs import ROOT


@pytest.mark.slow
def test_a_training_that_is_killed_and_damaged_again_and_again_loses_nothing():
    command = [sys.executable, "tools/kill_run.py", "--kills=6", "--flipped_bits=2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    kills, flips = (line for line in result.stdout.splitlines() if line.startswith(("kills: ", "flipped_bits: ")))
    assert "'states lost': 0, 'failures': 0" in kills and "'states lost': 0, 'failures': 0" in flips
    assert "'bits flipped': 2" in flips
