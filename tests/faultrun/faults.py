"""What can go wrong, by broker. Each fault begins, lasts for a while, and is mended when its call returns."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.faults.test_locked_file import locked
from tests.servers.proxy import Proxy
from tests.servers.server import LocalServer

from .crew import Crew
from .sites import KafkaSite, RedisSite, Site, SqliteSite

__all__ = ["FAULTS", "Fault", "Scene"]

_HEARTBEAT_SECONDS = 12.0
"""What an instance may need to notice a lost end of the log that it had not seen: docs/limits.md."""


class Scene(NamedTuple):
    """What a fault is given: where, whom it may concern alone, and the dice."""

    site: Any
    crew: Crew
    worker: int
    rng: random.Random

    async def last(self, least: float = 0.5, most: float = 4.0) -> None:
        """Let it last; a freeze any longer would let the loader's own timeout of 5 s pass."""
        await asyncio.sleep(self.rng.uniform(least, most))


async def _nothing(scene: Scene) -> None:
    pass


class Fault(NamedTuple):
    """`alone`: it concerns one worker. `forgets_seconds`: see `history.Broke`. `tidy`: to be able to do it again."""

    inflict: Callable[[Scene], Awaitable[None]]
    alone: bool = False
    forgets_seconds: float = 0.0
    tidy: Callable[[Scene], Awaitable[None]] = _nothing


# -- processes -------------------------------------------------------------------------------------------------


async def _worker_killed(scene: Scene) -> None:
    await scene.crew[scene.worker].kill()
    await scene.last(0.0, 2.0)
    await scene.crew.restart(scene.worker)


async def _worker_frozen(scene: Scene) -> None:
    await scene.crew[scene.worker].stop()
    await scene.last()
    scene.crew[scene.worker].cont()


# -- servers and links -----------------------------------------------------------------------------------------


async def _kill(server: LocalServer, scene: Scene) -> None:
    await asyncio.to_thread(server.kill)
    await scene.last(0.0, 3.0)
    await asyncio.to_thread(server.start)


async def _freeze(server: LocalServer, scene: Scene) -> None:
    await asyncio.to_thread(server.stop)
    await scene.last()
    server.cont()


async def _cut(link: Proxy, scene: Scene) -> None:
    link.cut()
    await scene.last(most=scene.rng.choice([4.0, 4.0, 14.0]))
    link.heal()


async def _stall(link: Proxy, scene: Scene) -> None:
    link.stall()
    await scene.last(most=scene.rng.choice([4.0, 4.0, 14.0]))
    link.flow()


async def _server_killed(scene: Scene) -> None:
    await _kill(scene.site.server, scene)


async def _server_and_worker_killed(scene: Scene) -> None:
    await asyncio.to_thread(scene.site.server.kill)
    await scene.last(0.2, 3.0)
    await scene.crew[scene.worker].kill()
    await asyncio.to_thread(scene.site.server.start)
    await scene.crew.restart(scene.worker)


async def _server_frozen(scene: Scene) -> None:
    await _freeze(scene.site.server, scene)


async def _link_cut(scene: Scene) -> None:
    await _cut(scene.site.links[scene.worker], scene)


async def _link_stalled(scene: Scene) -> None:
    await _stall(scene.site.links[scene.worker], scene)


async def _file_locked(scene: Scene) -> None:
    with locked(scene.site.file):
        await scene.last()


async def _file_locked_and_worker_killed(scene: Scene) -> None:
    with locked(scene.site.file):
        await scene.last(0.2, 3.0)
        await scene.crew[scene.worker].kill()
    await scene.crew.restart(scene.worker)


# -- the log ---------------------------------------------------------------------------------------------------


async def _trimmed(scene: Scene) -> None:
    link = scene.site.links[scene.worker]
    link.cut()
    await scene.last()
    await scene.site.place.trim()
    link.heal()


async def _trimmed_file(scene: Scene) -> None:
    await scene.crew[scene.worker].stop()
    await scene.last()
    await scene.site.place.trim()
    scene.crew[scene.worker].cont()


async def _log_deleted(scene: Scene) -> None:
    with contextlib.suppress(AssertionError):  # it may be there again before anybody can see that it is gone
        await scene.site.place.delete()


async def _log_deleted_behind_one(scene: Scene) -> None:
    await scene.crew[scene.worker].stop()
    await scene.last(0.2, 1.0)
    await _log_deleted(scene)
    await scene.last(0.2, 3.0)
    scene.crew[scene.worker].cont()


async def _all_flushed(scene: Scene) -> None:
    site: RedisSite = scene.site
    await site.flush()


async def _promoted(scene: Scene) -> None:
    pair = scene.site.pair
    await asyncio.to_thread(pair.lose_tail)
    await scene.last(0.2, 1.5)
    await asyncio.to_thread(pair.promote)


async def _promoted_behind_one(scene: Scene) -> None:
    link = scene.site.links[scene.worker]
    link.cut()
    await _promoted(scene)
    await scene.last(0.0, 2.0)
    link.heal()


async def _rejoined(scene: Scene) -> None:
    await asyncio.to_thread(scene.site.pair.rejoin)


async def _file_restored(scene: Scene) -> None:
    site: SqliteSite = scene.site
    copy = site.file.path.with_suffix(".copy")
    site.file.copy_to(copy)
    await scene.last(0.2, 1.5)
    site.file.replace_by(copy)


# -- L2 --------------------------------------------------------------------------------------------------------


async def _l2_wiped(scene: Scene) -> None:
    site: Site = scene.site
    await site.wipe_l2()


async def _l2_undone(scene: Scene) -> None:
    await scene.site.l2.undo(scene.rng.uniform(1.0, 4.0))


async def _l2_undone_file(scene: Scene) -> None:
    await scene.site.undo_l2(scene.rng.uniform(1.0, 4.0))


async def _l2_killed(scene: Scene) -> None:
    site: KafkaSite = scene.site
    await _kill(site.l2_server, scene)


async def _l2_cut(scene: Scene) -> None:
    await _cut(scene.site.l2_links[scene.worker], scene)


_WORKERS = {"worker killed": Fault(_worker_killed, alone=True), "worker frozen": Fault(_worker_frozen, alone=True)}
_SERVED = {
    **_WORKERS,
    "server killed": Fault(_server_killed),
    "server, then worker killed": Fault(_server_and_worker_killed),
    "server frozen": Fault(_server_frozen),
    "link cut": Fault(_link_cut, alone=True),
    "link stalled": Fault(_link_stalled, alone=True),
    "log trimmed behind one": Fault(_trimmed, alone=True),
    "log deleted": Fault(_log_deleted),
    "log deleted behind one": Fault(_log_deleted_behind_one),
    "L2 wiped": Fault(_l2_wiped),
}
FAULTS: dict[str, dict[str, Fault]] = {
    "sqlite": {
        **_WORKERS,
        "file locked": Fault(_file_locked),
        "file locked, worker killed": Fault(_file_locked_and_worker_killed),
        "log trimmed behind one": Fault(_trimmed_file, alone=True),
        "file deleted": Fault(_log_deleted),
        "file deleted behind one": Fault(_log_deleted_behind_one),
        "file restored": Fault(_file_restored, forgets_seconds=_HEARTBEAT_SECONDS),
        "L2 wiped": Fault(_l2_wiped),
        "L2 undone": Fault(_l2_undone_file),
    },
    "redis": {
        **_SERVED,
        "all flushed": Fault(_all_flushed),
        "L2 undone": Fault(_l2_undone),
        "failover loses tail": Fault(_promoted, forgets_seconds=_HEARTBEAT_SECONDS, tidy=_rejoined),
        "failover behind one": Fault(_promoted_behind_one, forgets_seconds=_HEARTBEAT_SECONDS, tidy=_rejoined),
    },
    "nats": _SERVED,
    "kafka": {
        **_SERVED,
        "L2 killed": Fault(_l2_killed),
        "L2 link cut": Fault(_l2_cut, alone=True),
        "L2 undone": Fault(_l2_undone),
    },
}
"""By broker, and by the name that the report gives them."""
