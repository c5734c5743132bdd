"""The topic: found, created where it is missing, and checked for what would break the log."""

from __future__ import annotations

import asyncio
import random
from typing import Any, NamedTuple

from aiokafka.errors import (  # type: ignore[import-untyped]
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest  # type: ignore[import-untyped]
from aiokafka.protocol.metadata import MetadataRequest  # type: ignore[import-untyped]

from async_hybrid_cache.errors import LogRefused

from .access import Access, Address
from .failures import check
from .link import CALL_SECONDS, Link

__all__ = ["Topic"]

_REPLICAS = 3
_TOPIC_RESOURCE = 2
_MESSAGE_BYTES = 1_048_588
_FORBIDDEN = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_LOGIN = (SaslAuthenticationFailed, UnsupportedSaslMechanismError)


class _Found(NamedTuple):
    brokers: dict[int, Address]
    controller: Address | None
    partitions: list[Any] | None  # None: there is no such topic


class Topic:
    """One topic with one partition, and the settings to create it with."""

    def __init__(self, name: str, *, replication_factor: int | None, retention_seconds: float) -> None:
        self.name = name
        self._replication_factor = replication_factor
        self._retention_ms = round(retention_seconds * 1000)

    async def leader(self, access: Access) -> Address:
        """The broker that leads the partition; creates the topic where it is missing and allowed.

        Raises `LogRefused` where a person has to do something. Other errors are the driver's, among them those
        of `NOT_THERE_YET` for a while after the topic was created.
        """
        link = await _any(access)
        try:
            found = await self._find(link)
            if found.partitions is None:
                await self._create(link, access, found)
                raise LeaderNotAvailableError("just created")
            if len(found.partitions) != 1:
                raise LogRefused(
                    f"the topic {self.name!r} has {len(found.partitions)} partitions, which have no order among them; "
                    "delete it, or choose another topic or namespace, and let there be one partition"
                )
            await self._check_settings(link)
            error_code, _, leader, *_ = found.partitions[0]
            check(error_code)
            address = found.brokers.get(leader)
            if address is None:
                raise LeaderNotAvailableError("no broker leads the partition")
            return address
        finally:
            link.drop()

    async def _find(self, link: Link) -> _Found:
        reply = await link.call(MetadataRequest([self.name], False))
        told = reply.to_object()
        brokers = {broker["node_id"]: Address(broker["host"], broker["port"]) for broker in told["brokers"]}
        controller = brokers.get(told["controller_id"])
        (topic,) = told["topics"]
        try:
            check(topic["error_code"])
        except UnknownTopicOrPartitionError:
            return _Found(brokers, controller, None)
        except TopicAuthorizationFailedError as error:
            raise self._forbidden("use", found=_Found(brokers, controller, None)) from error
        return _Found(brokers, controller, [tuple(one.values()) for one in topic["partitions"]])

    async def _create(self, link: Link, access: Access, found: _Found) -> None:
        settings = self._settings(found)
        topics: list[Any] = [(self.name, 1, self._replicas(found), [], list(settings.items()))]
        request = CreateTopicsRequest(topics, round(CALL_SECONDS * 1000), False)
        controller = found.controller or link.address
        if controller == link.address:
            reply = await link.call(request)
        else:
            there = Link(access, controller)
            await there.connect()
            try:
                reply = await there.call(request)
            finally:
                there.drop()
        _, code, message, *_ = reply.topic_errors[0]
        try:
            check(code, message)
        except TopicAlreadyExistsError:
            pass  # somebody was quicker
        except _FORBIDDEN as error:
            raise self._forbidden("create", found) from error

    async def _check_settings(self, link: Link) -> None:
        request = DescribeConfigsRequest([(_TOPIC_RESOURCE, self.name, ["cleanup.policy", "max.message.bytes"])])
        reply = await link.call(request)
        (resource,) = reply.to_object()["resources"]
        try:
            check(resource["error_code"], resource["error_message"])
        except _FORBIDDEN:
            return  # who may not look has to trust whoever made it
        settings = {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
        if settings.get("cleanup.policy") != "delete":
            raise LogRefused(
                f"the topic {self.name!r} is compacted, which takes records out of the middle; "
                "set its cleanup.policy to delete"
            )
        if int(settings.get("max.message.bytes") or 0) < _MESSAGE_BYTES:
            raise LogRefused(f"the topic {self.name!r} is too narrow; set its max.message.bytes to {_MESSAGE_BYTES}")

    def _replicas(self, found: _Found) -> int:
        return self._replication_factor or min(_REPLICAS, len(found.brokers))

    def _settings(self, found: _Found) -> dict[str, str]:
        settings = {
            "cleanup.policy": "delete",
            "retention.ms": str(self._retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(_MESSAGE_BYTES),
            "unclean.leader.election.enable": "false",
            # retention then goes by one clock, and a publisher's compression needs no library here
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "uncompressed",
        }
        if self._replicas(found) >= _REPLICAS:
            settings["min.insync.replicas"] = "2"
        return settings

    def _forbidden(self, what: str, found: _Found) -> LogRefused:
        settings = "".join(f" --config {name}={value}" for name, value in self._settings(found).items())
        return LogRefused(
            f"this user may not {what} the topic {self.name!r}; have somebody grant Read, Write and DescribeConfigs "
            f"on it, and create it where it is missing: kafka-topics.sh --create --topic {self.name} "
            f"--partitions 1 --replication-factor {self._replicas(found)}{settings}"
        )


async def _any(access: Access) -> Link:
    """A link to one of the servers, in no fixed order: one that is frozen is not the first each time."""
    failed: BaseException = KafkaConnectionError("no server")
    for address in random.sample(access.servers, len(access.servers)):
        link = Link(access, address)
        try:
            await link.connect()
        except _LOGIN:
            raise
        except (KafkaError, OSError) as error:
            failed = error
        else:
            return link
        await asyncio.sleep(0)
    raise failed
