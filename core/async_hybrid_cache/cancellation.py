"""Telling a cancellation that somebody asked for from one that leaked out of what was awaited."""

from __future__ import annotations

import asyncio

__all__ = ["was_cancelled"]


def was_cancelled() -> bool:
    """Whether the running task itself was cancelled; if not, a `CancelledError` is a failure like any other."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
