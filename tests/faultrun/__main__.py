"""`make faults BROKER=redis`: break the broker in every way under load, and judge what the processes have recorded.

Exit status: 0 where every promise was kept, 1 where one was broken, 2 where the run proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from .faults import FAULTS
from .report import make_report
from .run import play


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faultrun", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", default="sqlite", choices=FAULTS, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=300.0, help="for how long things are broken (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="the order of faults (random)")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="this kind alone; more than once")
    parser.add_argument("--without", metavar="RULE", help="a rule that the workers run without: the run has to fail")
    parser.add_argument("--report", type=Path, metavar="PATH", help="where to write the report as JSON as well")
    arguments = parser.parse_args()
    print(f"{arguments.broker}, seed {arguments.seed}, {arguments.seconds:g} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="ahc-faults-"))
    record = asyncio.run(
        play(
            arguments.broker,
            folder,
            seconds=arguments.seconds,
            seed=arguments.seed,
            only=arguments.only,
            without=arguments.without,
        )
    )
    report = make_report(record, arguments.broker, arguments.seed, arguments.without)
    print(report)
    if arguments.report:
        arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if report.violations:
        print(f"histories and logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return report.status


if __name__ == "__main__":
    sys.exit(main())
