"""What the driver and the server say of the log, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nats.errors import ConnectionClosedError, Error, MaxPayloadError, NoRespondersError
from nats.js.errors import APIError

from async_hybrid_cache.errors import LogRefused, LogUnavailable, PositionLost

from .entry import AccessRefused

__all__ = ["COMPARING", "MESSAGE_MISSING", "NAME_IN_USE", "STREAM_MISSING", "WRONG_SEQUENCE", "log_failures"]

STREAM_MISSING = 10059
MESSAGE_MISSING = 10037
NAME_IN_USE = 10058
WRONG_SEQUENCE = 10071
COMPARING = 10164  # a replicated stream compares for one message at a time
_NO_JETSTREAM = (10039, 10076)


@contextmanager
def log_failures(stream: str) -> Iterator[None]:
    """Raise what comes from the driver as `LogUnavailable`, `LogRefused` or `PositionLost` of `stream`."""
    try:
        yield
    except (Error, OSError) as error:
        raise _of_api(stream, error) if isinstance(error, APIError) else _of_driver(stream, error) from error


def _of_api(stream: str, error: APIError) -> LogRefused | LogUnavailable | PositionLost:
    if error.err_code in (STREAM_MISSING, MESSAGE_MISSING):
        return PositionLost(f"the stream {stream!r}: {error.description}")
    if error.err_code in _NO_JETSTREAM:
        return LogRefused("JetStream is not enabled, for this account or on this server")
    if error.code is not None and error.code < 500:
        return LogRefused(f"the server refuses to keep the stream {stream!r}: {error.description}")
    return LogUnavailable(f"the stream {stream!r}: {error.description}")


def _of_driver(stream: str, error: Error | OSError) -> LogRefused | LogUnavailable:
    if isinstance(error, AccessRefused | MaxPayloadError):
        return LogRefused(f"the server refuses to keep the stream {stream!r}: {error}")
    if isinstance(error, NoRespondersError):
        return LogUnavailable(f"no JetStream answers, or the stream {stream!r} has no leader now")
    cause = error.__cause__ if isinstance(error, ConnectionClosedError) else None
    return LogUnavailable(f"the stream {stream!r}: {cause or str(error) or 'no answer in time'}")
