"""How far a wait has come, on stderr: a bar on a terminal, a plain line now and then where that is a file.

Or wherever `told_to` says.
"""

import contextlib
import contextvars
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

from hrnet_tf.errors import printable

# Shorter waits show nothing, in seconds; and what is between two lines in a file.
_DELAY, _BETWEEN_LINES = 2, 10
_LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {rate_noinv_fmt}, {elapsed} gone, {remaining} to go{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_noinv_fmt}, {elapsed} gone{postfix}"
tqdm.monitor_interval = 0  # no thread that wakes up slow bars

T = TypeVar("T")
# What is being done, how many are done, of how many (None where that is unknown), and what is counted.
Listener = Callable[[str, float, float | None, str], object]
_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("listener", default=None)


@contextlib.contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Within it, bars that this thread makes are not shown: `listener` is called when they go on; what it raises ends
    the wait.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class _Told(tqdm):
    """A bar that a listener is told of."""

    def __init__(self, listener: Listener, **options: Any):
        super().__init__(file=io.StringIO(), **options)
        self._tell = listener

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        self._tell(self.desc, self.n, self.total, self.unit.strip())
        return shown


class _Lines(tqdm):
    """A bar that is a line of its own each time."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        print(str(self), file=self.fp, flush=True)

    def clear(self, nolock: bool = False) -> None:
        """Lines stay."""

    def refresh(self, nolock: bool = False, lock_args: tuple[Any, ...] | None = None) -> None:
        """Nothing to draw anew after a note, which is when it is called with `nolock`."""
        if not nolock:
            super().refresh(nolock, lock_args)

    def close(self) -> None:
        if not self.disable:
            self.disable = True
            self._decr_instances(self)  # type: ignore[attr-defined]  # of tqdm, without its last empty line


def bar(description: str, total: int | None, unit: str, initial: int = 0) -> tqdm:
    """A bar to be updated and closed (or used in `with`).

    Args:
        description: what is being done.
        total: how many there are, None where that is unknown.
        unit: what is counted, in the plural.
        initial: how many were done before, which do not count in the rate.
    """
    options: dict[str, Any] = {"desc": description, "total": total, "unit": f" {unit}", "initial": initial}
    if listener := _listener.get():
        return _Told(listener, **options)
    if sys.stderr.isatty():
        return tqdm(**options, delay=_DELAY, leave=False, dynamic_ncols=True, file=sys.stderr)
    bar_format = _LINE if total else _LINE_WITHOUT_TOTAL
    options |= {"mininterval": _BETWEEN_LINES, "miniters": 1, "bar_format": bar_format}
    return _Lines(**options, delay=_DELAY, file=sys.stderr)


def track(items: Iterable[T], description: str, unit: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar of how many have been taken; `total` where they have no length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(description, total, unit) as shown:
        for item in items:
            yield item
            shown.update()


def note(text: str) -> None:
    """A line on stderr, above the bars that are there."""
    tqdm.write(printable(text), file=sys.stderr)
