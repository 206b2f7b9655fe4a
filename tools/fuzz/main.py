"""Reads thousands of damaged files and tells what became of them: each is to be read, or refused in one line.

    python tools/fuzz.py --reader=images --cases=10000 --seed=0
    python tools/fuzz.py --reader=mat --cases=1 --first=4711       # one case again, the same for the same --seed
    python tools/fuzz.py                                           # lists the readers

Files are read in a process of their own, which begins anew where a library ends it, in an empty folder under --out.
What is not as it should be is said, once for each place in the code, and its file is kept there: a traceback, a process
that ended, with what it printed, a file that was written, what took more than --slow_seconds or --large_mb.
The exit code is then 1. Seconds of a case are the processor's.
"""

import collections
import dataclasses
import multiprocessing
import shutil
import signal
import tempfile
import time
from pathlib import Path

from absl import app, flags

from fuzz.readers import READERS
from fuzz.worker import OUTPUT, Case, work

FLAGS = flags.FLAGS

flags.DEFINE_enum("reader", None, list(READERS), "What reads.")
flags.DEFINE_integer("cases", 10000, "How many files.", 1)
flags.DEFINE_integer("first", 0, "Number of the first one.", 0)
flags.DEFINE_integer("seed", 0, "Of the damage.")
flags.DEFINE_string("out", None, "Folder to keep files in; a new one by default.")
flags.DEFINE_float("slow_seconds", 10, "What takes longer is told.", 0)
flags.DEFINE_integer("large_mb", 2048, "What takes more memory is told.", 1)

_ENDLESS = 300  # seconds until a process is ended, on a machine that does other things too
_TO_START = 1800
_CASES_OF_A_PROCESS = 2000  # what libraries do not give back would add up otherwise
_SIGNALS = {-number: number.name for number in signal.Signals}


class Findings:
    """What was not as it should be, and a file of each kind of it."""

    def __init__(self, folder: Path, room: Path):
        """
        Args:
            folder: to keep files in.
            room: where cases are read.
        """
        self._folder, self._room = folder, room
        self.counts: collections.Counter[str] = collections.Counter()

    def add(self, case: Case) -> None:
        """Notes a case that was not as it should be."""
        what = f"{case.outcome}: {case.detail}" if case.detail else case.outcome
        what = what if case.outcome not in ("slow", "large") else case.outcome
        self.counts[what] += 1
        if self.counts[what] > 1:
            return
        file = self._room / READERS[FLAGS.reader].file
        kept = self._folder / f"case-{case.number}{file.suffix}"
        shutil.copyfile(file, kept)
        if case.outcome.startswith("ended"):
            shutil.copyfile(self._room / OUTPUT, kept.with_name(f"{kept.stem}-output.txt"))
        print(f"case {case.number}: {what} ({case.seconds:.1f} s, {case.added >> 20} MB): {kept}", flush=True)


def main() -> int:
    if FLAGS.reader is None:
        print("\n".join(f"{name:14}{reader.what}" for name, reader in READERS.items()))
        return 1
    folder = Path(FLAGS.out or tempfile.mkdtemp(prefix=f"fuzz-{FLAGS.reader}-")).absolute()
    room = folder / "room"
    room.mkdir(parents=True, exist_ok=True)
    findings = Findings(folder, room)
    outcomes: collections.Counter[str] = collections.Counter()
    begin, highest, added, longest = time.perf_counter(), 0, 0, 0.0
    next_case, last = FLAGS.first, FLAGS.first + FLAGS.cases
    while next_case < last:
        for case in _cases(room, next_case, min(last, next_case + _CASES_OF_A_PROCESS)):
            next_case = case.number + 1
            outcomes[case.outcome] += 1
            highest, added, longest = max(highest, case.highest), max(added, case.added), max(longest, case.seconds)
            if case.outcome not in ("read", "refused"):
                findings.add(case)
            if case.seconds > FLAGS.slow_seconds:
                findings.add(dataclasses.replace(case, outcome="slow"))
            if case.added > FLAGS.large_mb << 20:
                findings.add(dataclasses.replace(case, outcome="large"))
    shutil.rmtree(room)
    for what, count in findings.counts.most_common():
        print(f"{count} times {what}")
    print(
        f"{FLAGS.reader}: {FLAGS.cases} cases in {time.perf_counter() - begin:.0f} s: "
        f"{', '.join(f'{name} {count}' for name, count in outcomes.most_common())}; longest {longest:.2f} s; "
        f"memory at most {highest >> 20} MB, of a case {added >> 20} MB"
    )
    return 1 if findings.counts else 0


def _cases(room: Path, first: int, last: int):
    """Yields the `Case`s of a process: all, or as many as it comes to."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(FLAGS.reader, str(room), first, last, FLAGS.seed, theirs)
    )
    process.start()
    theirs.close()
    running = None
    try:
        while True:
            begin = time.perf_counter()
            if not ours.poll(_TO_START if running is None else _ENDLESS):
                process.kill()
                outcome = "endless"
                break
            message = ours.recv()
            if isinstance(message, Case):
                yield message
                ours.send("go on")
                if message.number == last - 1:
                    return
            else:
                running = message
    except EOFError:
        process.join()
        outcome = f"ended by {_SIGNALS.get(process.exitcode, process.exitcode)}"
    finally:
        process.join()
        ours.close()
    if running is None:
        raise RuntimeError(f"reading undamaged files: {outcome}; see {room / OUTPUT}")
    yield Case(running, outcome, seconds=time.perf_counter() - begin)


def start() -> None:
    app.run(lambda _: main(), flags_parser=lambda arguments: FLAGS(arguments))
