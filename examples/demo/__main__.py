"""`python -m examples.demo [--broker NAME|URL] [--seconds N]`, or `make demo [BROKER=redis]`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from async_hybrid_cache import CacheError, ConfigurationError, LogUnavailable
from async_hybrid_cache.registry import find_broker

from .brokers import NAMES, ServerMissing, running
from .fleet import NAMESPACE, MemberFailed
from .run import Run
from .verdict import verdict
from .view import show, show_verdict

_REACH_SECONDS = 3.0
_SHORTEST_SECONDS = 4.0
_ONE_PROCESS = "memory://"


async def _reach(broker: str) -> None:
    """Raise a `CacheError` unless the broker's log can be opened."""
    if broker.startswith(_ONE_PROCESS):
        raise ConfigurationError(f"{_ONE_PROCESS} stays in one process, and the demo has three")
    log = find_broker(broker).bus(broker, namespace=NAMESPACE, stream=None).new_log()
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            await log.open()
    except LogUnavailable as error:
        raise CacheError(f"the log cannot be reached: {error}") from error
    except TimeoutError as error:
        raise CacheError(f"the log did not answer within {_REACH_SECONDS:g} s") from error
    finally:
        await log.close()


async def _main(broker: str, seconds: float, folder: Path) -> int:
    # ended from outside, the demo takes its processes with it
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    console = Console(highlight=False)
    await _reach(broker)
    run = Run(broker, seconds, folder)
    viewer = asyncio.create_task(show(run, console))
    try:
        outcome = await run.play()
    finally:
        viewer.cancel()
        await asyncio.wait({viewer})
    checks = verdict(outcome)
    show_verdict(checks, console)
    return 0 if all(check.passed for check in checks) else 1


def main() -> int:
    """The exit status: 0 where every check passed, 1 where one failed, 2 where the demo could not run."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--broker",
        default="sqlite",
        metavar="NAME|URL",
        help=f"the log and the L2: a URL, or one of {', '.join(NAMES)}, which the demo starts itself (%(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=22.0, help="how long the traffic runs (%(default)g)")
    arguments = parser.parse_args()
    if not arguments.seconds >= _SHORTEST_SECONDS:
        parser.error(f"--seconds must be at least {_SHORTEST_SECONDS:g}, or nothing would be proved")
    try:
        with tempfile.TemporaryDirectory(prefix="ahc-demo-") as folder, running(arguments.broker, Path(folder)) as url:
            return asyncio.run(_main(url, arguments.seconds, Path(folder)))
    except (CacheError, MemberFailed, ServerMissing) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
