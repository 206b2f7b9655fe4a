"""The process that reads damaged files, one after the other, and says of each what became of it."""

import dataclasses
import os
import random
import resource
import sys
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz.readers import READERS, Reader
from hrnet_tf.errors import InputError

# What a reader may take besides what it has when it starts: so that the machine does not run out of memory.
_MAX_ADDED = 8 << 30
# What the process prints.
OUTPUT = "output.txt"


@dataclasses.dataclass(frozen=True)
class Case:
    """What became of reading a file.

    Attributes:
        number: of the case.
        outcome: "read", "refused", "traceback" or "wrote a file"; of what ended the process "ended by" its signal or
            code, of what went on for too long "endless".
        detail: where a traceback is from, or what was said.
        seconds: of the processor, that it took.
        added: bytes of memory that it took beyond those in use before, at its highest.
        highest: bytes of memory in use, at its highest.
    """

    number: int
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    added: int = 0
    highest: int = 0


def work(name: str, folder: str, first: int, last: int, seed: int, pipe: Connection) -> None:
    """Reads the cases `first` to `last` - 1 of a reader in `folder`; before each its number goes into `pipe`, then
    its `Case`. The file of a case stays there until the next one.
    """
    os.chdir(folder)
    with open(OUTPUT, "ab") as output:  # what libraries say in C
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", category=RuntimeWarning, module=r"hrnet_tf\.")
    reader = READERS[name]
    path = Path(folder, reader.file)
    files = reader.prepare(Path(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(files):  # what libraries load at first does not count as the first case's
        path.write_bytes(data)
        case = run_case(reader, path, number)
        if case.outcome != "read":
            raise RuntimeError(f"undamaged file {number} is not read: {case.outcome} {case.detail}")
    _limit_memory()
    there = _names(folder)
    for number in range(first, last):
        pipe.send(number)
        path.write_bytes(reader.mutate(files, random.Random(f"{seed} {number}")))
        case = run_case(reader, path, number)
        if new := _names(folder) - there:
            there |= new
            case = dataclasses.replace(case, outcome="wrote a file", detail=", ".join(sorted(new)))
        pipe.send(case)
        pipe.recv()  # it may be replaced by the next one


def run_case(reader: Reader, path: Path, number: int) -> Case:
    """Reads a file."""
    before, begin = _forget_highest(), time.process_time()
    outcome, detail = _outcome(reader, path)
    seconds = time.process_time() - begin
    highest = _status("VmHWM")
    return Case(number, outcome, detail, seconds, highest - before, highest)


def _outcome(reader: Reader, path: Path) -> tuple[str, str]:
    try:
        reader.read(path)
    except (InputError, *reader.refusals) as error:
        return "refused", str(error)
    except BaseException as error:
        return "traceback", f"{_place(error)}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return "read", ""


def _place(error: BaseException) -> str:
    """The last line of the package that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/hrnet_tf/" in frame.filename] or frames
    return f"{own[-1].filename.rpartition('/hrnet_tf/')[2]}:{own[-1].lineno}"


def _names(folder: str) -> set[str]:
    return {name for name in os.listdir(folder) if not name.endswith(".tmp")}


def _status(field: str) -> int:
    """A number of bytes in /proc/self/status."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{field}:"))


def _forget_highest() -> int:
    """The memory in use, which becomes the highest so far."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS")


def _limit_memory() -> None:
    limit = _status("VmSize") + _MAX_ADDED
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    sys.stdout.flush()
