"""The fuzzer: what it counts as proper, what it tells of, and that readers which end their process do not end it."""

import os
import pathlib
import subprocess
import sys

import pytest
from fuzz import mutate
from fuzz.reader import Reader
from fuzz.worker import run_case

from hrnet_tf import InputError

ROOT = pathlib.Path(__file__).parents[1]


def raising(error):
    def read(path):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda path: path.read_bytes(), "read"),
        (raising(InputError("one line")), "refused"),
        (raising(KeyError("x")), "traceback"),
        (raising(SystemExit(1)), "traceback"),
    ],
)
def test_outcomes(read, outcome, tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    reader = Reader("anything", "a", lambda folder: [b"x"], mutate.of_bytes, read)
    assert run_case(reader, tmp_path / "a", 0).outcome == outcome


def test_memory_of_a_case_is_what_it_adds(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    reader = Reader("anything", "a", lambda folder: [b"x"], mutate.of_bytes, lambda path: bytearray(64 << 20))
    for _ in range(2):  # also where as much was in use before
        assert 60 << 20 < run_case(reader, tmp_path / "a", 0).added < 80 << 20


SCRIPT = """
import os, signal, time
from pathlib import Path
from fuzz import main, readers, reader, worker

def read(path):
    number = int(path.read_text())
    if number == 2:
        os.write(1, b"said")
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4:
        time.sleep(60)
    if number == 5:
        Path("escaped").touch()

class Numbers:
    count = -1
    def __call__(self, files, rng):
        self.count += 1
        return str(FIRST + self.count).encode()

def work(name, folder, first, last, seed, pipe):
    global FIRST
    FIRST = first
    worker.READERS["numbers"] = reader.Reader("", "n.txt", lambda folder: [b"0"], Numbers(), read)
    worker.work("numbers", folder, first, last, seed, pipe)

if __name__ == "__main__":
    main.READERS["numbers"] = reader.Reader("", "n.txt", lambda folder: [b"0"], Numbers(), read)
    main.work, main._ENDLESS = work, 2
    main.FLAGS(["fuzz", "--cases=8", f"--out={os.environ['OUT']}"])
    main.FLAGS["reader"].value = "numbers"
    print("code", main.main())
"""


def test_what_ends_its_process_is_kept_and_the_next_case_goes_on(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}", "OUT": str(tmp_path / "out")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, env=environment, timeout=300
    )
    assert "read 5" in done.stdout and "code 1" in done.stdout, done.stdout + done.stderr
    for said in ("case 2: ended by SIGSEGV", "case 4: endless", "case 5: wrote a file: escaped"):
        assert said in done.stdout
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "case-2.txt": "2",
        "case-2-output.txt": "said",
        "case-4.txt": "4",
        "case-5.txt": "5",
    }


def test_the_same_seed_damages_alike():
    command = [sys.executable, "tools/fuzz.py", "--reader=networks", "--cases=40", "--first=100", "--seed=7"]
    done = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300) for _ in range(2)]
    counts = [run.stdout.partition("longest")[0].partition(" s: ")[2] for run in done]
    assert done[0].returncode == 0 and "refused" in counts[0] and counts[0] == counts[1], done[0].stdout
