"""One JetStream KV bucket over a connection of its own: reads by its leader, and compare-and-set by revision."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from nats.errors import Error, MaxPayloadError, NoRespondersError
from nats.js.errors import APIError

from async_hybrid_cache.errors import CacheError

from .address import Address
from .client import Connection
from .entry import AccessRefused
from .names import checked_bucket

__all__ = ["Bucket", "Stored"]

_CLOCK_SECONDS = 30.0
# nobody got what nobody answers; in a cluster a server may not know yet who leads a bucket that was just created
_RETRIES = 3
_RETRY_SECONDS = 0.1
# lifetimes of single messages, and a compare-and-set that minds plain writes under way in a cluster
_SERVER = (2, 12)

_NOT_FOUND = 10037
_NO_BUCKET = 10059
_EXISTS = 10058
_TOO_LARGE = 10054
# the second is said where another write of the subject is still under way in a cluster
_OTHER_REVISION = (10071, 10164)


class Stored(NamedTuple):
    """What a subject holds, when it was stored by the server's clock, in seconds, and its revision."""

    revision: int
    data: bytes
    time: float


class _Message(msgspec.Struct):
    seq: int
    time: datetime
    data: bytes = b""


class _Failed(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    """To a read or to a write."""

    message: _Message | None = None
    seq: int = 0
    error: _Failed | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class Bucket:
    """The bucket `name` of a NATS system: the stream `KV_<name>` on the subjects `$KV.<name>.>`.

    `open` creates it with `settings` (those of a stream), or checks that one which exists has what `settings`
    holds under the names in `needed`. Errors are of the class `failure`, with the driver's as the cause, but for
    `MaxPayloadError` from `put`. A connection that was lost is made again by the next call.

    Reads go to the leader and never to a replica or a mirror, which could answer from before a write that was
    acknowledged. A bucket that is created begins with a revision above all of any before it (the creator's clock in
    microseconds), so that what was remembered of a deleted one fits nothing.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        *,
        settings: Mapping[str, Any],
        needed: frozenset[str],
        failure: type[CacheError],
    ) -> None:
        self.name = checked_bucket(name)
        self.prefix = f"$KV.{name}."
        self.stream = f"KV_{name}"
        self._settings = {
            "subjects": [f"{self.prefix}>"],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "deny_delete": True,
            "allow_rollup_hdrs": True,
            **settings,
        }
        self._needed = needed | {"subjects", "retention", "max_msgs_per_subject"}
        self._address = address
        self._failure = failure
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._ahead = 0.0
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect in the running loop, or see whether the connection is still good, and have the bucket there."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._opening, self._connection, self._asking = loop, asyncio.Lock(), None, None
        try:
            async with self._opening:
                await self._open()
        except (Error, OSError) as error:
            raise self.failed(error) from error

    async def close(self) -> None:
        """Cut the connection, without waiting for the server; calls under way fail. Never raises."""
        connection, asking = self._connection, self._asking
        self._loop = self._connection = self._asking = None
        if asking is not None:
            asking.cancel()
        if connection is not None:
            await connection.drop()
        if asking is not None and not asking.done():
            await asyncio.wait({asking})

    def now(self) -> float:
        """The server's clock, in seconds: never behind, and ahead by less than a round trip took."""
        if time.monotonic() - self._asked > _CLOCK_SECONDS and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().create_task(self._ask_the_time())
        return time.monotonic() + self._ahead

    async def last(self, subject: str) -> Stored | None:
        """What `subject` holds."""
        answer = await self._call(f"$JS.API.STREAM.MSG.GET.{self.stream}", _encode({"last_by_subj": subject}))
        if answer.message is not None:
            return Stored(answer.message.seq, answer.message.data, answer.message.time.timestamp())
        if answer.error is not None and answer.error.err_code == _NOT_FOUND:
            return None
        raise self._unexpected(answer)

    async def put(
        self, subject: str, data: bytes, *, expected: int | None = None, seconds: int | None = None
    ) -> int | None:
        """Store `data`, for whole `seconds`, and return its revision.

        With `expected`, only where `subject` holds that revision (0: nothing); None where it does not. Raises
        `MaxPayloadError` where the server takes nothing so large.
        """
        headers = {}
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        if seconds is not None:
            headers["Nats-TTL"] = str(seconds)
        if not data:
            headers["KV-Operation"] = "DEL"
        answer = await self._call(subject, data, headers)
        if answer.error is None and answer.seq:
            return answer.seq
        code = answer.error.err_code if answer.error is not None else 0
        if code in _OTHER_REVISION:
            return None
        if code == _TOO_LARGE:
            raise MaxPayloadError
        raise self._unexpected(answer)

    async def purge(self, subjects: str | None = None) -> None:
        """Remove what `subjects`, which may hold wildcards, or all of them hold."""
        request = _encode({} if subjects is None else {"filter": subjects})
        answer = await self._call(f"$JS.API.STREAM.PURGE.{self.stream}", request)
        if answer.error is not None:
            raise self._unexpected(answer)

    async def _call(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> _Answer:
        try:
            for _ in range(_RETRIES):
                with suppress(NoRespondersError):
                    return await self._try(subject, data, headers)
                await asyncio.sleep(_RETRY_SECONDS)
            return await self._try(subject, data, headers)
        except MaxPayloadError:
            raise
        except (Error, OSError, msgspec.DecodeError) as error:
            raise self.failed(error) from error

    async def _try(self, subject: str, data: bytes, headers: Mapping[str, str] | None) -> _Answer:
        return _decode((await (await self.connection()).request(subject, data, headers)).data)

    async def connection(self) -> Connection:
        """The connection, made again where it was lost."""
        if self._connection is not None and self._connection.alive:
            return self._connection
        if self._loop is None:
            raise self._failure(f"the NATS bucket {self.name!r} is not open")
        async with self._opening:
            if self._connection is None or not self._connection.alive:
                await self._open()
            if self._connection is None:
                raise self._failure(f"the NATS bucket {self.name!r} was closed")
            return self._connection

    async def _open(self) -> None:
        loop, connection = self._loop, self._connection
        if connection is None or not connection.alive:
            self._connection = None
            if connection is not None:
                await connection.drop()
            connection = Connection(self._address)
            await connection.connect()
        try:
            await self._prepare(connection)
        except BaseException:
            await connection.drop()
            raise
        if self._loop is not loop:
            await connection.drop()  # closed meanwhile
        else:
            self._connection = connection

    async def _prepare(self, connection: Connection) -> None:
        if connection.server_version < _SERVER:
            raise self._failure(
                f"nats-server {'.'.join(map(str, _SERVER))} or newer is needed, "
                f"not {'.'.join(map(str, connection.server_version))}"
            )
        try:
            await self._info(connection)
        except APIError as error:
            if error.err_code != _NO_BUCKET:
                raise
            await self._create(connection)
            await self._info(connection)

    async def _create(self, connection: Connection) -> None:
        # microseconds since 1970: a bucket never stores so many that the next one would begin below its last
        config = {**self._settings, "name": self.stream, "first_seq": time.time_ns() // 1000}
        try:
            await connection.api(f"STREAM.CREATE.{self.stream}", config)
        except AccessRefused as error:
            raise self._failure(
                f"the NATS bucket {self.name!r} does not exist, and may not be created with these credentials; "
                f"create the stream {self.stream!r} with {_shown(self._settings)}"
            ) from error
        except APIError as error:
            if error.err_code != _EXISTS:  # somebody was quicker
                raise self._failure(
                    f"the NATS bucket {self.name!r} cannot be created: {error.description}; "
                    f"it was to be the stream {self.stream!r} with {_shown(self._settings)}"
                ) from error

    async def _info(self, connection: Connection) -> None:
        self._asked = time.monotonic()
        info = await connection.api(f"STREAM.INFO.{self.stream}")
        # the answer's time is that of a moment after `_asked`
        self._ahead = datetime.fromisoformat(info["ts"]).timestamp() - self._asked
        wrong = {
            name: value
            for name, value in self._settings.items()
            if name in self._needed and info["config"].get(name, False) != value
        }
        if wrong:
            raise self._failure(
                f"the NATS bucket {self.name!r} exists, but the stream {self.stream!r} needs {_shown(wrong)}; "
                "delete it, or name another bucket"
            )

    async def _ask_the_time(self) -> None:
        connection = self._connection
        with suppress(Error, OSError, CacheError):
            if connection is not None:
                await self._info(connection)

    def failed(self, error: Exception) -> CacheError:
        """Our error for one of the driver's."""
        if isinstance(error, NoRespondersError):
            return self._failure(f"NATS: nobody answers for the bucket {self.name!r}; is it gone, or JetStream off?")
        if isinstance(error, APIError):
            return self._failure(f"NATS: {error.description}")
        return self._failure(f"NATS: {str(error) or 'no answer in time'}")

    def _unexpected(self, answer: _Answer) -> CacheError:
        said = answer.error.description if answer.error is not None else "an answer that is none"
        return self._failure(f"NATS, of the bucket {self.name!r}: {said}")


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in settings.items())
