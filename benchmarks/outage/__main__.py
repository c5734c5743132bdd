"""`python -m benchmarks.outage [--broker NAME] [--seconds N]`: the broker goes away under 3 writers and 3 readers.

Each of the six is a process. A server is killed with SIGKILL and started again; an SQLite file, which no kill can take
away, is locked by an exclusive transaction of another program. Nothing may be lost, refused or applied out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from async_hybrid_cache import CacheError
from examples.demo.brokers import NAMES, ServerMissing

from .breakable import breakable
from .outcome import Outcome
from .play import play

_AWAY = 5
_BACK_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)


def report(broker: str, outcome: Outcome) -> bool:
    """Print the figures; whether nothing went wrong."""
    during, writes = outcome.during, outcome.writes
    away = outcome.started - outcome.broken
    print(f"{broker}: away for {away:.1f} s, and {outcome.back - outcome.started:.2f} s to start")
    seconds = [write.seconds for write in during]
    print(
        f"  writes accepted         {sum(write.error is None for write in writes)} of {len(writes)},"
        f" {len(during)} of them while it was away"
    )
    print(f"  of these queued         {sum(write.queued for write in during)}")
    print(
        f"  a write meanwhile took  p50 {statistics.median(seconds) * 1e3:.1f} ms, at most {max(seconds) * 1e3:.0f} ms"
    )
    print(f"  first event after it    {', '.join(f'{each:.2f} s' for each in outcome.first_events)}  (each reader)")
    print(f"  all of them applied     {outcome.caught_up:.2f} s after its return")
    print("  writes that the slowest reader has yet to apply:")
    points = [
        (f"{away * turn / _AWAY:5.1f} s away", outcome.broken + away * turn / _AWAY) for turn in range(1, _AWAY + 1)
    ]
    points += [(f"{after:5.2f} s back", outcome.back + after) for after in _BACK_SECONDS]
    worst = max(outcome.behind(at) for _, at in points)
    for name, at in points:
        behind = outcome.behind(at)
        print(f"    {name:<14}{behind:>6} {'#' * round(40 * behind / max(1, worst))}")
    wrong = {
        "errors": outcome.errors[:3],
        "not all, or not in order": outcome.not_in_order,
        "not queued": sum(not write.queued for write in during),
        "gaps": sum(outcome.gaps),
        "coarsened": outcome.coarsened,
    }
    for name, what in wrong.items():
        if what:
            print(f"  WRONG: {name}: {what}")
    return not any(wrong.values())


def main() -> int:
    """The exit status: 0 where nothing was lost, 1 where something was, 2 where the broker could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--broker", default="sqlite", choices=NAMES, help="who goes away (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long (%(default)g)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ahc-outage-") as folder:
        try:
            with breakable(arguments.broker, Path(folder)) as broker:
                outcome = asyncio.run(play(broker, arguments.seconds, Path(folder)))
        except (CacheError, ServerMissing) as error:
            print(f"outage: {error}", file=sys.stderr)
            return 2
    return 0 if report(arguments.broker, outcome) else 1


if __name__ == "__main__":
    sys.exit(main())
