"""`make faults BROKER=redis`: break the broker in every way under load, and judge what the processes have recorded.

Exit status: 0 where every promise was kept, 1 where one was broken, 2 where the run proves nothing, 3 where it could
not be made. `make` itself fails with 2 for any of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from tests.simulation.mutations import MUTATIONS

from .faults import FAULTS
from .report import make_report
from .run import play

_RULES = [mutation.name for mutation in MUTATIONS]


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with 3: argparse's own 2 would say that a run was void."""
        self.exit(3, f"{self.format_usage()}{self.prog}: error: {message}\n")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for; exits with 3 and says why where that cannot be done."""
    parser = _Parser(
        prog="python -m tests.faultrun", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", default="sqlite", choices=FAULTS, help="(%(default)s)")
    parser.add_argument("--seconds", type=_seconds, default=300.0, help="for how long things are broken (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="the order of faults (random)")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="this kind alone; more than once")
    parser.add_argument("--without", metavar="RULE", help="a rule that the workers run without: the run has to fail")
    parser.add_argument("--report", type=Path, metavar="PATH", help="where to write the report as JSON as well")
    arguments = parser.parse_args(words)
    for option, names, known in (
        ("--only", arguments.only, list(FAULTS[arguments.broker])),
        ("--without", filter(None, [arguments.without]), _RULES),
    ):
        for name in names:
            if name not in known:
                parser.error(f"argument {option}: {name!r} is none of: {', '.join(known)}")
    return arguments


def main() -> int:
    arguments = parse()
    print(f"{arguments.broker}, seed {arguments.seed}, {arguments.seconds:g} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="ahc-faults-"))
    try:
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
    except KeyboardInterrupt:
        print("interrupted: nothing was judged", file=sys.stderr)
        shutil.rmtree(folder)
        return 3
    except Exception:
        traceback.print_exc()
        print(f"the run could not be made; histories and logs are in {folder}", file=sys.stderr)
        return 3
    report = make_report(record, arguments.broker, arguments.seed, arguments.without)
    print(report)
    tried = {fault.name for fault in record.faults}
    if left := [name for name in arguments.only or FAULTS[arguments.broker] if name not in tried]:
        print(f"there was no time for: {', '.join(left)}")
    if arguments.report:
        arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if report.violations:
        print(f"histories and logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return report.status


if __name__ == "__main__":
    sys.exit(main())
