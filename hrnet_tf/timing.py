"""How long the parts of some work take, whichever thread does them."""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Timings:
    """Seconds and pieces of work, by part, added up over threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, list[float]] = {}

    def add(self, part: str, seconds: float, count: int) -> None:
        with self._lock:
            sums = self._sums.setdefault(part, [0.0, 0])
            sums[0] += seconds
            sums[1] += count

    def __iter__(self) -> Iterator[tuple[str, float, int]]:
        """(Part, seconds, pieces of work) of each."""
        with self._lock:
            return iter([(part, seconds, int(count)) for part, (seconds, count) in self._sums.items()])


_timings: Timings | None = None


@contextlib.contextmanager
def measured() -> Iterator[Timings]:
    """Within it, all that is `timed` in this process is added up."""
    global _timings
    _timings = timings = Timings()
    try:
        yield timings
    finally:
        _timings = None


@contextlib.contextmanager
def timed(part: str, count: int = 1) -> Iterator[None]:
    """Adds the time within it to a part, as so many pieces of work, while that is `measured`."""
    timings, start = _timings, time.perf_counter()
    yield
    if timings is not None:
        timings.add(part, time.perf_counter() - start, count)


def each_timed(part: str, items: Iterable[T]) -> Iterator[T]:
    """The items, getting each of which is `timed`."""
    iterator = iter(items)
    while True:
        with timed(part):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
