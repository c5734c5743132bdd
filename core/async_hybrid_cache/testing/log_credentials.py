"""Clients that the server does not let in, or does not let create."""

from __future__ import annotations

import logging

import pytest

from async_hybrid_cache.errors import LogRefused
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Record
from async_hybrid_cache.testing.log_calls import in_time, read_all
from async_hybrid_cache.testing.log_world import WRONG_PASSWORD, LogWorld, needs
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogCredentials"]


async def refused(log: EventLog) -> LogRefused:
    """What `open` raises, which must be final."""
    with pytest.raises(LogRefused) as caught:
        await in_time(log.open(), 5)
    return caught.value


class LogCredentials:
    """A refusal is `LogRefused`: another try is no use, and somebody has to do something."""

    @needs("has_credentials")
    @scenario
    async def test_wrong_credentials_are_refused_and_never_shown(
        self, world: LogWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)  # what drivers write down for themselves as well
        log, intruder = await world.opened(), world.keep(world.make_intruder())
        for _ in range(2):
            error: BaseException | None = await refused(intruder)
            assert WRONG_PASSWORD not in repr(intruder)
            while error is not None:
                assert WRONG_PASSWORD not in f"{error!s}{error!r}"
                error = error.__cause__
        assert WRONG_PASSWORD not in caplog.text
        await log.append(b"data", "nobody else is harmed")

    @needs("has_credentials")
    @scenario
    async def test_who_may_not_create_the_log_is_refused_until_it_exists(self, world: LogWorld) -> None:
        guest = world.keep(world.make_guest())
        for _ in range(2):
            assert str(await refused(guest))
        log = await world.opened()
        assert (await log.bounds())[1:] == (1, 0)
        position = await log.append(b"data", "id")
        await guest.open()
        assert await read_all(guest) == [Record(position, "id", b"data")]
