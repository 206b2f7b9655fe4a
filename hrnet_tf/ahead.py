"""Work that is done before its results are asked for: in threads, or on a device."""

import collections
import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# More threads than read images fast enough for a network would be in its way.
THREADS = min(os.cpu_count() or 1, 8)

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    function: Callable[[T], R], items: Iterable[T], threads: int = THREADS, waiting: int | None = None
) -> Generator[R, None, None]:
    """What `function` makes of the items, in their order and computed in threads.

    To be closed (`contextlib.closing`) where the function must have ended when the caller goes on early.

    Args:
        function: called in one of the threads.
        items: iterated by whoever iterates this.
        threads: how many of them.
        waiting: how many results are computed ahead; by default as many as threads.
    """
    results: collections.deque[Future[R]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                results.append(pool.submit(function, item))
                if len(results) > (waiting or threads):
                    yield results.popleft().result()
            while results:
                yield results.popleft().result()
        finally:
            for result in results:
                result.cancel()


def in_background(items: Iterable[T]) -> Generator[T, None, None]:
    """The items, of which a thread gets the next one already; to be closed like `ahead`, and closes a generator."""
    iterator = iter(items)
    with (
        contextlib.closing(iterator) if isinstance(iterator, Generator) else contextlib.nullcontext(),
        contextlib.closing(ahead(lambda _: list(itertools.islice(iterator, 1)), itertools.repeat(None), 1)) as found,
    ):
        yield from itertools.chain.from_iterable(itertools.takewhile(bool, found))


def one_late(items: Iterable[T]) -> Iterator[T]:
    """The items, each once the next one is there: what a device still computes of an item is not waited for."""
    last: tuple[T, ...] = ()
    for item in items:
        yield from last
        last = (item,)
    yield from last
