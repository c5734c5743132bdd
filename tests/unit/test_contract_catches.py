"""The contract can fail: logs that break one promise each, and the row that says so."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from async_hybrid_cache.errors import CacheError, LogRefused, LogUnavailable, PositionLost
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.testing import WRONG_PASSWORD, LogContract, LogWorld
from async_hybrid_cache_brokers.memory import MemoryLog


class Nothing:
    """A server or a wire to which nothing happens, whatever it is told."""

    def nothing(self, seconds: float = 0) -> None:
        pass

    start = kill = stop = cont = cut = heal = stall = flow = delay = nothing


class World(LogWorld):
    """Of logs of one broken kind in memory; a healthy log is deleted, trimmed and restored in their place."""

    def __init__(self, kind: type[MemoryLog]) -> None:
        super().__init__()
        self._kind = kind
        self._name = f"broken-{uuid4()}"
        self._copy: list[Record] = []
        self.server = self.wire = Nothing()

    def make(self) -> MemoryLog:
        return self._kind(self._name)

    make_distant = make_intruder = make_guest = make

    async def delete(self) -> None:
        MemoryLog.delete(self._name)

    async def trim(self, keep: int) -> None:
        trimming = MemoryLog(self._name, retention_records=keep + 1)
        await trimming.open()
        await trimming.append(b"", "trimmed")

    async def restart(self) -> None:
        await self.delete()

    async def back_up(self) -> None:
        log = MemoryLog(self._name)
        await log.open()
        epoch, first, last = await log.bounds()
        self._copy = list(await log.read(Position(epoch, first), last, 0)) if last else []

    async def restore(self) -> None:
        await self.delete()
        log = MemoryLog(self._name)
        await log.open()
        for record in self._copy:
            await log.append(record.data, record.id)


class SkipsOffsets(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        await super().append(b"", f"rolled back: {id}")
        return await super().append(record, id)


class ReadsExclusively(MemoryLog):
    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        return (await super().read(start, limit + 1, wait))[1:]


class IgnoresLimits(MemoryLog):
    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        return await super().read(start, 1000, wait)


class WaitsAtWhatIsNotThere(MemoryLog):
    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        try:
            return await super().read(start, limit, wait)
        except PositionLost:
            return []


class SkipsWhatWasTrimmed(MemoryLog):
    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        bounds = await self.bounds()
        return await super().read(start._replace(offset=max(start.offset, bounds.first)), limit, wait)


class NeverWakes(MemoryLog):
    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        if found := await super().read(start, limit, 0):
            return found
        await asyncio.sleep(wait)
        return await super().read(start, limit, 0)


class SeesEveryEpoch(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        self._opened = (await self.bounds()).epoch
        return await super().append(record, id)


class CreatesByAppending(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        await self.open()
        return await super().append(record, id)


class RenewsAlways(MemoryLog):
    async def renew(self, above: int) -> None:
        await super().renew(max(above, (await self.bounds()).epoch))


class TakesAnything(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        return await super().append(record[:1_000_000], id)


class RefusesForGood(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        try:
            return await super().append(record, id)
        except LogRefused:
            await self.close()
            raise


class ChangesRepeats(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        await super().append(record, id)
        return await super().append(b"another", f"{id}, again")


class ForgetsItsHead(MemoryLog):
    async def bounds(self) -> Bounds:
        bounds = await super().bounds()
        return bounds._replace(last=max(0, bounds.last - 1))


class DropsTheTenth(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        position = await super().append(record, id)
        if position.offset % 10 == 0:
            self._records.held[position.offset] = Record(position, "nothing", b"")
        return position


class LosesTheAnswer(MemoryLog):
    async def append(self, record: bytes, id: str) -> Position:
        self._records.offsets.pop(id, None)
        position = await super().append(record, id)
        await asyncio.sleep(0.001)
        return position


class ForgetsEpochs(MemoryLog):
    async def open(self) -> None:
        await super().open()
        self._records.epoch = self._opened = self._seen = 1


class LetsAnybodyIn(MemoryLog):
    pass


class TellsThePassword(MemoryLog):
    async def open(self) -> None:
        try:
            raise OSError(f"{WRONG_PASSWORD!r} is wrong")
        except OSError as error:
            raise LogRefused("the login was refused") from error


class NeverComesBack(MemoryLog):
    async def open(self) -> None:
        if self._seen:
            raise LogUnavailable("gone")
        await super().open()


CATCHES: list[tuple[type[MemoryLog], str]] = [
    (SkipsOffsets, "test_offsets_are_dense_from_one"),
    (ReadsExclusively, "test_a_read_is_inclusive_and_in_order"),
    (IgnoresLimits, "test_a_read_returns_at_most_its_limit"),
    (WaitsAtWhatIsNotThere, "test_a_start_past_the_next_record_is_lost"),
    (WaitsAtWhatIsNotThere, "test_a_start_of_another_epoch_is_lost"),
    (SkipsWhatWasTrimmed, "test_of_a_trimmed_log_the_bounds_tell_what_is_left"),
    (NeverWakes, "test_a_waiting_reader_is_woken"),
    (SeesEveryEpoch, "test_renew_empties_the_log_and_begins_a_larger_epoch"),
    (CreatesByAppending, "test_a_deleted_log_is_lost_and_created_by_open_alone"),
    (RenewsAlways, "test_of_many_that_renew_one_succeeds"),
    (TakesAnything, "test_a_larger_record_is_refused_and_the_log_stays_usable"),
    (RefusesForGood, "test_a_larger_record_is_refused_and_the_log_stays_usable"),
    (ChangesRepeats, "test_an_id_appended_again_does_no_harm"),
    (ForgetsItsHead, "test_offsets_are_dense_from_one"),
    (LosesTheAnswer, "test_cancelled_appends_are_settled_by_a_repeat[seed=1]"),
    (DropsTheTenth, "test_every_instance_applies_every_removal"),
    (WaitsAtWhatIsNotThere, "test_a_restored_older_copy_shows_what_it_lacks"),
    (ForgetsEpochs, "test_a_log_recreated_on_a_live_connection_is_a_newer_one[count=3]"),
    (ForgetsEpochs, "test_a_restored_copy_of_an_older_epoch_is_never_taken_for_the_log"),
    (MemoryLog, "test_what_was_acknowledged_outlives_a_restart"),
    (LetsAnybodyIn, "test_wrong_credentials_are_refused_and_never_shown"),
    (LetsAnybodyIn, "test_who_may_not_create_the_log_is_refused_until_it_exists"),
    (TellsThePassword, "test_wrong_credentials_are_refused_and_never_shown"),
    (MemoryLog, "test_no_call_hangs_while_the_server_is_gone[how=killed]"),
    (MemoryLog, "test_one_reader_cut_off_catches_up_exactly[how=cut]"),
    (MemoryLog, "test_an_append_whose_acknowledgement_was_cut_is_settled_by_a_repeat"),
    (MemoryLog, "test_removals_queued_while_the_server_was_gone_arrive_in_order[how=frozen]"),
    (NeverComesBack, "test_a_log_deleted_under_live_instances_resets_them_all"),
]


@pytest.mark.parametrize(("kind", "row"), CATCHES, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_a_broken_promise_fails_its_row(kind: type[MemoryLog], row: str, request: pytest.FixtureRequest) -> None:
    name, _, parameter = row.rstrip("]").partition("[")
    key, _, value = parameter.partition("=")
    parameters: dict[str, Any] = {key: int(value) if value.isdecimal() else value} if key else {}
    if "caplog" in inspect.signature(getattr(LogContract, name)).parameters:
        parameters["caplog"] = request.getfixturevalue("caplog")
    with pytest.raises((AssertionError, TimeoutError, CacheError, pytest.fail.Exception)):
        getattr(LogContract(), name)(World(kind), **parameters)
