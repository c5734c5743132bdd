"""What the errors of aiokafka and of the broker mean to the caller."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import errors  # type: ignore[import-untyped]

from async_hybrid_cache.errors import LogRefused, LogUnavailable, PositionLost

__all__ = ["NOT_THERE_YET", "check", "mapped"]

NOT_THERE_YET: tuple[type[Exception], ...] = (
    errors.UnknownTopicOrPartitionError,
    errors.LeaderNotAvailableError,
    errors.NotLeaderForPartitionError,
    errors.ReplicaNotAvailableError,
    errors.NotControllerError,
)
"""What a topic answers that is being created, or whose leader is elsewhere."""

_LOST = (errors.UnknownTopicOrPartitionError, errors.OffsetOutOfRangeError)
_REFUSED = (
    errors.TopicAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    errors.AuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidTopicError,
    errors.PolicyViolationError,
    errors.InvalidReplicationFactorError,
    errors.InvalidConfigurationError,
    errors.UnsupportedVersionError,
    errors.IncompatibleBrokerVersion,
    ssl.SSLCertVerificationError,
)


def check(code: int, message: str | None = None) -> None:
    """Raise the error that a broker's `code` stands for, unless it is 0."""
    if code:
        kind = errors.for_code(code)
        raise kind(message or f"error {code}") if kind is errors.UnknownError else kind(*([message] if message else []))


@contextmanager
def mapped(topic: str) -> Iterator[None]:
    """Turn errors of the driver into ours; `topic` is named in them."""
    try:
        yield
    except (errors.KafkaError, OSError) as error:
        raise _ours(error, topic) from error


def _ours(error: Any, topic: str) -> LogRefused | LogUnavailable | PositionLost:
    told = str(error) or type(error).__name__
    if isinstance(error, _LOST):
        return PositionLost(f"the topic {topic!r} does not hold what was asked for ({type(error).__name__})")
    if isinstance(error, _REFUSED):
        return LogRefused(f"Kafka refuses to keep the topic {topic!r}: {told}")
    return LogUnavailable(f"the topic {topic!r}: {told}")
