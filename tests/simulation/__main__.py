"""`make simulate`: run seeds and print what they did; of one that fails, the shortest schedule.

With --mutations, switch off every rule in turn, and print how many seeds it took to notice.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial

from .mutations import MUTATIONS, SEARCH_SEEDS, search
from .run import simulate
from .seeds import in_parallel, run_seed
from .shrink import minimal
from .tally import Tally

SEEDS = 10_000
_CHUNK = 10
_TOLD_EVERY = 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=_count, help=f"how many, from --first on ({SEEDS}; at most {SEARCH_SEEDS} a mutation)"
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once (one a core)")
    parser.add_argument("--mutations", action="store_true", help="the rules switched off, one at a time")
    arguments = parser.parse_args()
    if arguments.mutations:
        return _mutations(arguments.seeds or SEARCH_SEEDS, arguments.processes)
    if arguments.seed is not None:
        return _one(arguments.seed)
    return _many(range(arguments.first, arguments.first + (arguments.seeds or SEEDS)), arguments.processes)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number of seeds, got {text!r}")
    return int(text)


def _many(seeds: range, processes: int) -> int:
    tally, begun = Tally(), time.perf_counter()
    with in_parallel(run_seed, seeds, processes, _CHUNK) as outcomes:
        for done, outcome in enumerate(outcomes, 1):
            if outcome.violation is not None:
                return _failed(outcome.seed, outcome.violation)
            tally.add(outcome.counts)
            if done % _TOLD_EVERY == 0 and done < len(seeds):
                print(f"{done} of {len(seeds)} seeds, no violation so far", flush=True)
    taken = time.perf_counter() - begun
    print(f"{len(seeds)} seeds in {taken:.1f} s ({len(seeds) / taken:.1f}/s), no violation\n{tally}")
    if missing := tally.missing():
        print(f"VOID: nothing was {', '.join(missing)}, so nothing is proved")
        return 1
    return 0


def _one(seed: int) -> int:
    try:
        print("\n".join(simulate(seed).trace))
    except Exception as error:
        print("\n".join(getattr(error, "__notes__", [])))
        return _failed(seed, str(error))
    return 0


def _failed(seed: int, violation: str) -> int:
    print(f"FAILED: {violation}\nreplay it with: python -m tests.simulation --seed {seed}", flush=True)
    plan, found = minimal(seed)
    print("\n".join(["the shortest schedule that goes wrong in the same way:", *map(str, plan.steps), found]))
    return 1


def _mutations(limit: int, processes: int) -> int:
    missed = 0
    with in_parallel(partial(search, limit=limit), range(len(MUTATIONS)), processes, 1) as found:
        for mutation, caught in zip(MUTATIONS, found, strict=True):
            missed += caught.violation is None
            print(f"{mutation.name:54} {caught.seeds:5}  {caught.violation or 'NOT NOTICED'}", flush=True)
    print(f"{len(MUTATIONS)} mutations, {missed} not noticed within {limit} seeds")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
