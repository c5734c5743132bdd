"""What users construct: a log, and how to run a stream on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from .checkpoint import CheckpointStore
from .errors import ConfigurationError
from .log import EventLog
from .subscription import Handler, Subscription
from .validation import checked_part, folder, int_from_0, positive, positive_int

__all__ = ["InvalidationBus", "StreamOptions"]

_LARGEST_FRAME = 900_000  # what goes round the events has to fit into RECORD_MAX_BYTES as well


class StreamOptions:
    """How a stream runs on its log.

    The defaults keep promise 1 (every acknowledged event applied within 2 s of the log being reachable); raise
    the bounds on time only with that in mind.

    - `instance_id` (random): the name of this service's instances, stable over restarts; needed for checkpoints.
    - `checkpoints` (None): where the position in the log is kept over restarts; None keeps none.
    - `checkpoint_seconds` (1): how often it is written, where it has moved.
    - `lease_seconds` (3): how long an instance has to be silent before another one takes over its checkpoint slot, or
      a subscription that it owns; it beats three times as often.
    - `outbox` (None): folder on a local disk where what waits for the log outlives its process; None is memory.
    - `on_log_failure` (`queue`): what a change does that the log does not acknowledge in time: `queue` keeps it for
      later and says so in the receipt, `raise` raises `LogUnavailable` and does not keep it.
    - `outbox_max_events` (10 000): keys and other events that may wait for the log before they coarsen.
    - `frame_max_events` (512): events in one record, at most.
    - `frame_max_bytes` (262 144): bytes of events in one record, at most, up to 900 000; a larger event is coarsened.
    - `append_timeout_seconds` (2): how long one append may take before the log counts as away.
    - `call_timeout_seconds` (1): the same for every other call of the log.
    - `proof_seconds` (0.75): how often the log is asked to prove that nothing was lost from it.
    - `heartbeat_seconds` (10): how often an instance that has nothing to say says that it lives.
    - `retry_max_seconds` (0.75): the longest pause before the next attempt to reach the log.
    - `replay_records` (10 000): records before its start that a starting instance reads, to learn what was
      removed lately.

    Raises `ConfigurationError` naming the option when made.
    """

    __slots__ = (
        "append_timeout_seconds",
        "call_timeout_seconds",
        "checkpoint_seconds",
        "checkpoints",
        "frame_max_bytes",
        "frame_max_events",
        "heartbeat_seconds",
        "instance_id",
        "lease_seconds",
        "on_log_failure",
        "outbox",
        "outbox_max_events",
        "proof_seconds",
        "replay_records",
        "retry_max_seconds",
    )

    def __init__(
        self,
        *,
        instance_id: str | None = None,
        checkpoints: CheckpointStore | None = None,
        checkpoint_seconds: float = 1.0,
        lease_seconds: float = 3.0,
        outbox: str | os.PathLike[str] | None = None,
        on_log_failure: Literal["queue", "raise"] = "queue",
        outbox_max_events: int = 10_000,
        frame_max_events: int = 512,
        frame_max_bytes: int = 256 * 1024,
        append_timeout_seconds: float = 2.0,
        call_timeout_seconds: float = 1.0,
        proof_seconds: float = 0.75,
        heartbeat_seconds: float = 10.0,
        retry_max_seconds: float = 0.75,
        replay_records: int = 10_000,
    ) -> None:
        if instance_id is not None and (not isinstance(instance_id, str) or not instance_id):
            raise ConfigurationError(f"instance_id must be a name, or None for a random one, not {instance_id!r}")
        checked_part("checkpoints", checkpoints, CheckpointStore)
        self.instance_id = instance_id
        self.checkpoints = checkpoints
        self.checkpoint_seconds = positive("checkpoint_seconds", checkpoint_seconds)
        self.lease_seconds = positive("lease_seconds", lease_seconds)
        self.outbox = None if outbox is None else folder("outbox", outbox)
        if on_log_failure not in ("queue", "raise"):
            raise ConfigurationError(f"on_log_failure must be 'queue' or 'raise', not {on_log_failure!r}")
        self.on_log_failure = on_log_failure
        self.outbox_max_events = positive_int("outbox_max_events", outbox_max_events)
        self.frame_max_events = positive_int("frame_max_events", frame_max_events)
        self.frame_max_bytes = positive_int("frame_max_bytes", frame_max_bytes)
        if frame_max_bytes > _LARGEST_FRAME:
            raise ConfigurationError(f"frame_max_bytes must be at most {_LARGEST_FRAME}, not {frame_max_bytes}")
        self.append_timeout_seconds = positive("append_timeout_seconds", append_timeout_seconds)
        self.call_timeout_seconds = positive("call_timeout_seconds", call_timeout_seconds)
        self.proof_seconds = positive("proof_seconds", proof_seconds)
        self.heartbeat_seconds = positive("heartbeat_seconds", heartbeat_seconds)
        self.retry_max_seconds = positive("retry_max_seconds", retry_max_seconds)
        self.replay_records = int_from_0("replay_records", replay_records)


class InvalidationBus:
    """A log plus the shared stream; `RedisStreamsInvalidationBus` and its siblings are this with their own log.

    `new_log` makes one more handle on the log, not opened yet: whoever reads has one of its own.

    Holds configuration only: nothing here is bound to an event loop or a process, so it may be built at import
    time and carried over a fork. The cache runs one `InvalidationStream` on it between `start` and `stop`.
    """

    def __init__(self, new_log: Callable[[], EventLog], stream: StreamOptions | None = None) -> None:
        self.new_log = new_log
        self.stream_options = stream or StreamOptions()
        self.subscriptions: list[Subscription] = []
        self._name = repr(new_log())  # one that cannot be made is refused here, not when the cache starts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name})"

    def subscribe(
        self,
        name: str,
        handler: Handler,
        *,
        per: Literal["fleet", "instance"] = "fleet",
        checkpoints: CheckpointStore | None = None,
    ) -> Subscription:
        """A durable subscription: `handler` is called with every event, in order, from now on and over restarts.

        It starts and stops with the cache on this bus (subscribe before `start`), or with `async with subscription`
        where there is no cache. The very first start begins at the log's end.

        - `name`: under which its position is kept; one handler for each name.
        - `per`: `"fleet"` (default): of all instances one at a time delivers, and another one takes over when that
          ends or falls silent; `"instance"`: every instance delivers every event; needs an `instance_id`.
        - `checkpoints`: where the position is kept; the bus's `StreamOptions.checkpoints` unless given.

        Raises `ConfigurationError` naming the argument at fault and the fix.
        """
        if any(subscription.name == name for subscription in self.subscriptions):
            raise ConfigurationError(f"there is a subscription {name!r} on this bus already; choose another name")
        subscription = Subscription(self, name, handler, per=per, checkpoints=checkpoints)
        self.subscriptions.append(subscription)
        return subscription
