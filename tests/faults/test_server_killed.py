"""The server is killed under load and comes back: nothing is lost, nobody is deaf."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from contextlib import AsyncExitStack
from time import monotonic

from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysRemoved
from tests.faults.database import Database
from tests.faults.fleet import FRESH_SECONDS, Instance, fresh_everywhere, gaps, members, stream_of
from tests.faults.member import Change
from tests.faults.places import Place, RedisPlace, Served, read_frames
from tests.faults.process import Process
from tests.servers.server import LocalServer
from tests.servers.valkey import ValkeyServer

KEYS = [f"key-{i}" for i in range(60)]
# beside the time that the server takes to start, which is 3 s for Kafka
OUTAGES = {"redis": (0.05, 0.2, 0.5, 1.0, 2.0), "nats": (0.05, 0.2, 0.5, 1.0, 2.0), "kafka": (0.05, 1.0)}


async def write_for(seconds: float, instances: list[Instance]) -> tuple[list[Change], list[list[str]]]:
    """Each instance writes keys of its own, one after the other; what that came to, and in which order."""
    changes: list[Change] = []
    orders: list[list[str]] = [[] for _ in instances]

    async def write(number: int, instance: Instance) -> None:
        own = KEYS[number :: len(instances)]
        until = monotonic() + seconds
        turn = 0
        while monotonic() < until:
            key = own[turn % len(own)]
            changes.append(await instance.write(key))
            orders[number].append(key)
            turn += 1
            await asyncio.sleep(0.02)

    await asyncio.gather(*(write(number, instance) for number, instance in enumerate(instances)))
    return changes, orders


async def outage(server: LocalServer, seconds: float, instances: list[Instance], database: Database) -> float:
    """Kill the server, write, bring it back, and see all fresh; seconds that this took after the return."""
    for key in KEYS:
        database.write(key)
    await instances[0].remove(*KEYS)
    await fresh_everywhere(database, instances, KEYS, monotonic())
    for instance in instances:
        await instance.browse(KEYS)
    server.kill()
    changes, _ = await write_for(seconds, instances)
    await asyncio.to_thread(server.start)
    returned = monotonic()
    await write_for(0.1, instances)
    took = await fresh_everywhere(database, instances, KEYS, returned)
    assert changes
    assert all(change.queued for change in changes)
    assert max(change.seconds for change in changes) < 1.0
    # far from any timeout: what is known to be away is not waited for
    assert statistics.median(change.seconds for change in changes) < 0.25
    for instance in instances:
        browsed = await instance.rest()
        assert browsed.errors == []
        assert browsed.reads > 5
        assert browsed.longest_seconds < 1.0
    return took


async def settled(instances: list[Instance]) -> None:
    """Nothing waits any more, everybody listens, and nothing was lost."""

    async def idle() -> bool:
        stats = [await instance.stats() for instance in instances]
        streams, tiers = map(stream_of, stats), [each.distributed for each in stats]
        return all(stream.outbox == 0 and stream.down_seconds is None for stream in streams) and all(
            tier.state != "down" and tier.late_deletes == 0 for tier in tiers
        )

    await eventually(idle, timeout=FRESH_SECONDS, message="something still waits, or somebody is deaf")
    assert await gaps(instances) == [0] * len(instances)


async def removals_by_origin(place: Place) -> dict[str, list[str]]:
    """The keys in the log, in order, of each origin, whose sequences are dense."""
    sequences: defaultdict[str, int] = defaultdict(int)
    removals: defaultdict[str, list[str]] = defaultdict(list)
    for _, frame in await read_frames(place):
        assert frame.first == sequences[frame.origin] + 1
        sequences[frame.origin] = frame.last
        for event in frame.events:
            if isinstance(event, KeysRemoved):
                removals[frame.origin].extend(event.keys)
    return removals


@promise(1, fault="server killed, or file locked")
@promise(9, fault="server killed, or file locked")
def test_short_outages_in_a_row_lose_nothing(
    served: Served, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with members(served.place, database, 3) as fleet:
            for seconds in OUTAGES[served.name]:
                took = await outage(served.server, seconds, list(fleet), database)
                figures[f"{served.name} killed, 3 instances in one process"].append(took)
            await settled(list(fleet))

    asyncio.run(main())


def test_three_processes_survive_ten_seconds_without_the_server(
    own_valkey: ValkeyServer, redis_place: RedisPlace, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            processes: list[Instance] = [
                await stack.enter_async_context(Process(database, redis_place.url, redis_place.namespace))
                for _ in range(3)
            ]
            took = await outage(own_valkey, 10.0, processes, database)
            figures["server killed for 10 s, 3 processes"].append(took)
            await settled(processes)
            assert len(await removals_by_origin(redis_place)) == 3

    asyncio.run(main())


@promise(6, fault="server killed, or file locked")
def test_the_outbox_empties_in_order_and_once(served: Served, database: Database) -> None:
    async def main() -> None:
        async with members(served.place, database, 3) as fleet:
            served.server.kill()
            changes, orders = await write_for(1.0, list(fleet))
            assert all(change.queued for change in changes)
            assert [stream_of(await each.stats()).outbox for each in fleet] == [len(order) for order in orders]
            await asyncio.to_thread(served.server.start)
            await settled(list(fleet))
            told = {keys[0]: keys for keys in (await removals_by_origin(served.place)).values()}
            assert len(told) == len(orders)
            for order in orders:
                # behind them come the deletes in L2 that were done late, and so are told again
                assert told[order[0]][: len(order)] == order

    asyncio.run(main())
