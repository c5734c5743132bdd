"""`make simulate SEEDS=1000`: run seeds, print what they did; a failing one with its seed and trace."""

from __future__ import annotations

import argparse
import sys
import time

from .run import simulate
from .tally import Tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    arguments = parser.parse_args()
    alone = arguments.seed is not None
    seeds = [arguments.seed] if alone else range(arguments.first, arguments.first + arguments.seeds)
    tally, begun = Tally(), time.perf_counter()
    for seed in seeds:
        try:
            run = simulate(seed)
        except Exception as error:
            print("\n".join(getattr(error, "__notes__", [])))
            print(f"FAILED: {error}\nreplay it with: python -m tests.simulation --seed {seed}")
            return 1
        tally.add(run)
        if alone:
            print("\n".join(run.trace))
    print(f"{len(seeds)} seeds in {time.perf_counter() - begun:.1f} s, no violation\n{tally}")
    if not alone and (missing := tally.missing()):
        print(f"VOID: nothing was {', '.join(missing)}, so nothing is proved")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
