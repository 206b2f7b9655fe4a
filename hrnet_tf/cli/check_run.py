"""`hrnet-tf check-run`: whether the states and files of a training are whole, and what it can go on from."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import filelock
from absl import flags

from hrnet_tf.errors import InputError
from hrnet_tf.export.formats import DEFAULT_FORMATS, FILE_NAMES
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction.network import load_network
from hrnet_tf.training.run_state import is_work_dir, left_over, locked, read_run, remove_left_over, states_of

FLAGS = flags.FLAGS
_DAMAGED, _LOST = 2, 3  # exit codes


def main(*folders: str) -> int:
    if len(folders) != 1:
        raise InputError(f"check-run takes one work directory, as in hrnet-tf check-run work/w32. Received: {folders}")
    folder = Path(folders[0])
    if not is_work_dir(folder):
        raise InputError(f"{folder} is not the work directory of a training: it has no run.json")
    run, is_running = read_run(folder), _is_running(folder)
    print(", ".join(f"{name} {run[name]}" for name in ("model", "input_size", "batch_size", "seed") if name in run))
    step, damaged = _check_states(folder)
    damaged |= any([_check_metrics(folder), _check_best(folder)])
    _list_exports(folder)
    _clean(folder, is_running)
    if is_running:
        print("a process trains in it now")
    elif step is None:
        print("cannot be resumed: no state is good. Choose another --work_dir to start over")
    else:
        flag_file = folder / "flags.txt"
        command = f"hrnet-tf train --flagfile={flag_file}" if flag_file.is_file() else "the same command with"
        print(f"goes on after step {step}: {command} --resume")
    return _LOST if step is None and not is_running else _DAMAGED if damaged else 0


def _is_running(folder: Path) -> bool:
    try:
        with locked(folder):
            return False
    except InputError as error:
        return isinstance(error.__cause__, filelock.Timeout)


def _check_states(folder: Path) -> tuple[int | None, bool]:
    """Prints how the states are. Returns the step of the newest good one, if any is, and whether one is damaged."""
    states, step, damaged = states_of(folder), None, False
    for number in states.numbers():
        if damage := states.damage(number):
            print(f"state {number:06}: damaged: {damage}")
            damaged = True
        else:
            step = states.progress(number)["step"]
            print(f"state {number:06}: good, after step {step}")
    return step, damaged


def _check_metrics(folder: Path) -> bool:
    """Prints how the log is. Returns whether it is damaged; a resumed run mends it."""
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        print(f"metrics.jsonl: {error.strerror}")
        return True
    bad = [number for number, line in enumerate(lines, 1) if not _is_entry(line)]
    print(f"metrics.jsonl: {len(lines)} lines" + (f", {len(bad)} damaged, the first is line {bad[0]}" if bad else ""))
    return bool(bad)


def _is_entry(line: str) -> bool:
    try:
        return isinstance(json.loads(line)["step"], int)
    except (ValueError, LookupError, TypeError):
        return False


def _check_best(folder: Path) -> bool:
    """Prints how best.keras is. Returns whether it is damaged."""
    path = folder / "best.keras"
    if not path.exists():
        print("best.keras: none yet, it is written after the first evaluation")
        return False
    try:
        load_network(path)
        card = read_card(path)
    except InputError as error:
        print(f"best.keras: damaged: {error}")
        return True
    metrics = "".join(f", {name} {value:.3f}" for name, value in list((card.metrics or {}).items())[:1]) if card else ""
    print(f"best.keras: good{metrics}")
    return False


def _list_exports(folder: Path) -> None:
    names = [name for form in DEFAULT_FORMATS for name in FILE_NAMES[form]]
    absent = [name for name in names if not (folder / "export" / name).exists()]
    there = ", ".join(name for name in names if name not in absent)
    missing = f"; not {', '.join(absent)}" if there and absent else ""
    print(f"export: {there or 'none yet, it is written at the end'}{missing}")


def _clean(folder: Path, is_running: bool) -> None:
    """Prints what is left over of killed processes; removes it with --clean."""
    if FLAGS.clean:
        with locked(folder):  # refuses one in which a process trains
            size = _megabytes(left_over(folder))
            remove_left_over(folder)
        print(f"removed what killed processes have left: {size}")
    elif not is_running and (rests := left_over(folder)):  # what a running process writes is none
        print(f"left over of killed processes: {_megabytes(rests)}; --clean removes it, as does the next --resume")


def _megabytes(folders: list[Path]) -> str:
    size = sum(os.path.getsize(path) for folder in folders for path in _files(folder))
    return f"{len(folders)} folders, {size / 2**20:.1f} MiB"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
