"""The shortest schedules that go wrong without one rule each (model/result.txt of the design), on the shipped cache."""

from __future__ import annotations

from .stage import KEY, SCOPE, Actor, Stage, schedule


@schedule
async def test_an_applied_event_drops_the_entry(stage: Stage, a: Actor, b: Actor) -> None:
    stage.version = 1
    await a.remove()
    await stage.quiet()
    assert b.held() is None


@schedule
async def test_a_load_overtaken_by_a_removal_does_not_fill(stage: Stage, a: Actor, b: Actor) -> None:
    await a.evict()
    stage.store.drop((SCOPE, KEY))
    a.database_gate.close()
    waiting = a.load()
    await a.database_gate.reached.wait()
    stage.version = 1
    await a.remove()
    a.database_gate.open()
    assert await waiting == 0  # it asked before the removal
    assert a.held() is None
    assert await a.load() == 1


@schedule
async def test_what_was_read_from_l2_between_fence_and_delete_does_not_stay(stage: Stage, a: Actor, b: Actor) -> None:
    stage.version = 1
    a.l2.delete_gate.close()
    removal = a.remove()
    await a.l2.delete_gate.reached.wait()
    assert await a.load() == 0  # the old value is still in L2, and the removal is not acknowledged
    a.l2.delete_gate.open()
    await removal
    assert a.held() is None
    assert await a.load() == 1


@schedule
async def test_nobody_joins_an_overtaken_load(stage: Stage, a: Actor, b: Actor) -> None:
    await a.evict()
    stage.store.drop((SCOPE, KEY))
    a.database_gate.close()
    old = a.load()
    await a.database_gate.reached.wait()
    stage.version = 1
    await a.remove()
    new = a.load()
    await stage.quiet()
    a.database_gate.open()
    assert (await old, await new) == (0, 1)
    assert a.held() == 1


@schedule
async def test_a_load_is_stamped_when_it_begins(stage: Stage, a: Actor, b: Actor) -> None:
    await a.evict()
    stage.store.drop((SCOPE, KEY))
    a.database_gate.close()
    waiting = a.load()
    await a.database_gate.reached.wait()
    stage.version = 1
    await b.remove()
    await stage.quiet()  # a has applied the event of b
    a.database_gate.open()
    assert await waiting == 0
    assert a.held() is None


@schedule
async def test_the_l1_copy_keeps_the_stamp_of_the_l2_entry(stage: Stage, a: Actor, b: Actor) -> None:
    stage.version = 1
    a.l2.next_delete_fails = True
    b.log.read_gate.close()  # b hears nothing for now
    await a.remove()
    await b.remove("another")  # so b's own stamp moves past a's event
    await b.evict()
    assert await b.load() == 0  # from L2, where the delete failed, and b has not been told
    b.log.read_gate.open()
    await stage.quiet()
    assert b.held() is None


@schedule
async def test_an_l2_hit_older_than_its_tombstone_is_a_miss(stage: Stage, a: Actor, b: Actor) -> None:
    stage.version = 1
    a.l2.next_delete_fails = True
    await a.remove()
    await stage.quiet()
    assert await a.load() == 1
    assert await b.load() == 1


@schedule
async def test_the_delete_comes_before_the_append(stage: Stage, a: Actor, b: Actor) -> None:
    stage.version = 1
    a.l2.delete_gate.close()
    before = stage.log.last
    removal = a.remove()
    await a.l2.delete_gate.reached.wait()
    await stage.quiet()
    assert stage.log.last == before
    a.l2.delete_gate.open()
    receipt = await removal
    assert receipt.position is not None
    assert stage.log.last > before


@schedule
async def test_a_fill_needs_its_live_lease(stage: Stage, a: Actor, b: Actor) -> None:
    await a.evict()
    stage.store.drop((SCOPE, KEY))
    a.l2.fill_gate.close()
    assert await a.load() == 0
    await a.l2.fill_gate.reached.wait()
    stage.version = 1
    await b.remove()
    a.l2.fill_gate.open()
    await stage.quiet()
    assert (SCOPE, KEY) not in stage.store.entries
    assert stage.store.refused == 1


@schedule
async def test_a_late_delete_is_followed_by_a_new_event(stage: Stage, a: Actor, b: Actor) -> None:
    stage.version = 1
    a.l2.next_delete_fails = True
    await a.remove()
    await stage.quiet()
    b.cache._scopes.tombstones._max = 1
    await a.remove("another")
    await a.remove("one more")  # the tombstone leaves b's table
    await stage.quiet()
    assert await b.load() == 0  # nothing is left to tell that this is old
    await _until_late_deletes_are_done(stage, a)
    assert b.held() is None
    assert await b.load() == 1


@schedule
async def test_a_load_below_the_floor_fills_nothing(stage: Stage, a: Actor, b: Actor) -> None:
    await a.evict()
    stage.store.drop((SCOPE, KEY))
    a.cache._scopes.tombstones._max = 1
    a.database_gate.close()
    waiting = a.load()
    await a.database_gate.reached.wait()
    stage.version = 1
    await a.remove()
    await a.remove("another")  # the tombstone leaves the table, and the floor rises
    a.database_gate.open()
    assert await waiting == 0
    assert a.held() is None


@schedule
async def test_what_waits_for_the_log_is_a_tombstone_against_l2(stage: Stage, a: Actor, b: Actor) -> None:
    a.log.append_gate.close()
    stage.version = 1
    removal = a.remove()
    await a.log.append_gate.reached.wait()
    stage.store.fail_over()  # it had not heard of the delete
    assert await a.load() == 1
    a.log.append_gate.open()
    await removal
    await stage.quiet()
    assert (await a.load(), await b.load()) == (1, 1)


async def _until_late_deletes_are_done(stage: Stage, actor: Actor) -> None:
    deadline = stage.loop.time() + 5
    while actor.cache.stats().distributed.late_deletes:
        assert stage.loop.time() < deadline, "the late delete was never done"
        await stage.quiet()
    await stage.quiet()
