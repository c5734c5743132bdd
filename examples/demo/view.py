"""What a person sees: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from .fleet import Member
from .run import Run
from .verdict import Check, percentile

__all__ = ["show", "show_verdict"]

_FRAME_SECONDS = 0.125
_LINE_SECONDS = 2.0


async def show(run: Run, console: Console) -> None:
    """Follow the run until cancelled."""
    if console.is_terminal:
        await _show_live(run, console)
    else:
        await _show_lines(run, console)


def show_verdict(checks: list[Check], console: Console) -> None:
    """The verdict, the last lines of every run."""
    console.print()
    for check in checks:
        mark, style = ("✓", "green") if check.passed else ("✗", "bold red")
        name, value = f"{check.name:<17}", f"{check.value:<26}"
        line = Text.assemble((f" {mark} ", style), name, (value, "bold"), (check.note, "dim"))
        line.rstrip()
        console.print(line, soft_wrap=True)
    failed = [check.name for check in checks if not check.passed]
    console.print()
    if failed:
        console.print(Text(f"FAILED: {', '.join(failed)}", "bold red"), soft_wrap=True)
    else:
        console.print(Text("PASSED", "bold green"))


async def _show_live(run: Run, console: Console) -> None:
    with Live(_screen(run), console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(_screen(run), refresh=True)
                await asyncio.sleep(_FRAME_SECONDS)
        finally:
            live.update(_screen(run), refresh=True)


async def _show_lines(run: Run, console: Console) -> None:
    shown = 0
    due = _LINE_SECONDS
    ended = False
    while not ended:
        try:
            await asyncio.sleep(_FRAME_SECONDS)
        except asyncio.CancelledError:
            ended = True
        for at, what in run.told[shown:]:
            console.print(f"{at:5.1f} s  {what}", soft_wrap=True)
        shown = len(run.told)
        if shown and not ended and run.elapsed >= due:
            due += _LINE_SECONDS
            members = "  ".join(f"{member.name} {_state(member)[0]}" for member in run.fleet.members)
            line = f"{members}  reads checked {run.checker.checked}  stale {len(run.checker.stale)}"
            console.print(f"{run.elapsed:5.1f} s  {line}", soft_wrap=True)


def _screen(run: Run) -> RenderableType:
    told = Text("\n").join(
        Text.assemble((f"{at:6.1f} s  ", "dim"), (what, "bold" if index == len(run.told) - 1 else ""))
        for index, (at, what) in enumerate(run.told)
    )
    return Group(Rule("async-hybrid-cache: three processes, one log"), _progress(run), _table(run), _tally(run), told)


def _progress(run: Run) -> RenderableType:
    elapsed = min(run.elapsed, run.seconds) if run.told else 0.0
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", width=14)
    grid.add_row(ProgressBar(total=run.seconds, completed=elapsed), f"{elapsed:.0f} of {run.seconds:g} s")
    return grid


def _table(run: Run) -> RenderableType:
    table = Table(expand=True, box=None, header_style="dim", padding=(0, 1))
    table.add_column("process")
    table.add_column("")
    for name in ("hits", "misses", "hit rate", "fenced", "events", "replayed", "position", "lag"):
        table.add_column(name, justify="right")
    for member in run.fleet.members:
        state, style = _state(member)
        counts = member.counts
        asked = counts["hits"] + counts["misses"]
        lag = run.fleet.head[1] - member.position[1] if member.position else 0
        table.add_row(
            member.name,
            Text(f"● {state}", style),
            f"{counts['hits']:,}",
            f"{counts['misses']:,}",
            f"{counts['hits'] / asked:.0%}" if asked else "",
            f"{counts['fenced']:,}",
            f"{counts['events']:,}",
            f"{counts['replayed']:,}",
            f"{member.position[1]:,}" if member.position else "",
            Text(f"{lag:,}", "" if lag < 10 else "bold yellow"),
        )
    return table


def _tally(run: Run) -> RenderableType:
    gone = sorted(run.traffic.gone)
    stale = len(run.checker.stale)
    return Text.assemble(
        "\n reads checked ", (f"{run.checker.checked:,}", "bold"),
        "   stale ", (f"{stale}", "bold red" if stale else "bold green"),
        "   writes ", (f"{run.traffic.writes:,}", "bold"),
        "   gone elsewhere p50 ", (f"{percentile(gone, 50) * 1e3:.1f} ms" if gone else "…", "bold"),
        " p99 ", (f"{percentile(gone, 99) * 1e3:.1f} ms" if gone else "…", "bold"),
        "\n",
    )  # fmt: skip


def _state(member: Member) -> tuple[str, str]:
    if member.up:
        return "up", "green"
    if member.pid is not None:
        return ("catching up" if member.lives > 1 else "starting"), "yellow"
    return ("killed", "red") if member.lives else ("waiting", "dim")
