"""Many seeds on all cores."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

from .run import simulate

__all__ = ["Outcome", "in_parallel", "run_seed"]

T = TypeVar("T")


class Outcome(NamedTuple):
    """What a seed did; `violation` is what went wrong, None for nothing."""

    seed: int
    counts: Counter[str]
    violation: str | None


def run_seed(seed: int) -> Outcome:
    """Run one seed; never raises."""
    try:
        return Outcome(seed, simulate(seed).counts, None)
    except Exception as error:
        return Outcome(seed, Counter(), f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def in_parallel(work: Callable[[int], T], numbers: Sequence[int], processes: int, chunk: int) -> Iterator[Iterator[T]]:
    """The results of `work` in order; what was not begun at the end of the block is left undone."""
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        yield pool.map(work, numbers, chunksize=chunk)
    finally:
        pool.shutdown(cancel_futures=True)
