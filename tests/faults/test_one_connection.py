"""One instance alone loses the server, while the others and the server itself are well."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, member, members, stream_of
from tests.faults.places import Served
from tests.faults.process import Process
from tests.servers.proxy import Proxy

KEYS = [f"key-{i}" for i in range(40)]
OUTAGES = {"redis": (0.2, 1.0, 4.0), "nats": (0.2, 2.5), "kafka": (0.2, 2.5)}


@pytest.fixture
def proxy(served: Served) -> Iterator[Proxy]:
    with served.server.proxy() as proxy:
        yield proxy


BREAKS: dict[str, tuple[Callable[[Proxy], None], Callable[[Proxy], None]]] = {
    "cut": (Proxy.cut, Proxy.heal),
    "stalled": (Proxy.stall, Proxy.flow),
}


@promise(1, fault="one instance {kind}")
@promise(9, fault="one instance {kind}")
@pytest.mark.parametrize("kind", BREAKS)
def test_an_instance_cut_off_catches_up_with_exactly_what_it_missed(
    kind: str, proxy: Proxy, served: Served, database: Database, figures: dict[str, list[float]]
) -> None:
    begin, end = BREAKS[kind]

    async def main() -> None:
        async with (
            members(served.place, database, 2) as well,
            member(served.place, database, url=proxy.url) as deaf,
        ):
            fleet = [*well, deaf]
            for seconds in OUTAGES[served.name]:
                for key in KEYS:
                    await well[0].write(key)
                await fresh_everywhere(database, fleet, KEYS, monotonic())
                begin(proxy)
                await deaf.browse(KEYS)
                began = monotonic()
                for key in KEYS[:20]:
                    change = await well[1].write(key)
                    assert not change.queued
                await fresh_everywhere(database, well, KEYS, monotonic())
                changes = [await deaf.write(key) for key in KEYS[20:]]
                assert statistics.median(change.seconds for change in changes) < 0.05
                await asyncio.sleep(max(0.0, began + seconds - monotonic()))
                end(proxy)
                returned = monotonic()
                figures[f"{served.name}: one connection {kind}"].append(
                    await fresh_everywhere(database, fleet, KEYS, returned)
                )
                browsed = await deaf.rest()
                assert browsed.errors == []
                assert browsed.longest_seconds < 1.0
                await eventually(lambda: stream_of(deaf.cache.stats()).outbox == 0)
            for instance in fleet:
                stream = stream_of(await instance.stats())
                assert stream.gap_total == 0
                assert stream.down_seconds is None
            assert stream_of(await deaf.stats()).reconnects > 0
            assert stream_of(await well[0].stats()).reconnects == 0

    asyncio.run(main())


@promise(1, fault="one instance stalled")
def test_a_worker_process_behind_a_stalled_connection_says_so_and_catches_up(
    proxy: Proxy, served: Served, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with (
            member(served.place, database) as well,
            Process(database, proxy.url, served.place.namespace) as deaf,
        ):
            for key in KEYS:
                await well.write(key)
            await fresh_everywhere(database, [well, deaf], KEYS, monotonic())
            proxy.stall()

            async def noticed() -> bool:
                return stream_of(await deaf.stats()).down_seconds is not None

            for key in KEYS:
                await well.write(key)
            await eventually(noticed, timeout=4.0, message="the stalled worker does not know that it is deaf")
            proxy.flow()
            took = await fresh_everywhere(database, [well, deaf], KEYS, monotonic())
            figures[f"{served.name}: one connection stalled, worker process"].append(took)
            stream = stream_of(await deaf.stats())
            assert stream.gap_total == 0
            assert stream.events_replayed > 0

    asyncio.run(main())


def test_stop_while_the_server_is_out_of_reach_is_bounded(proxy: Proxy, served: Served, database: Database) -> None:
    async def main() -> None:
        async with member(served.place, database, url=proxy.url) as deaf:
            await deaf.write("key")
            proxy.stall()
            began = monotonic()
        assert monotonic() - began < 5.0

    asyncio.run(main())
