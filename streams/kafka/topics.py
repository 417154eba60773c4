"""The topics of a scheduler: made where they are missing, and checked at every start.

Their settings are part of the promises: with others an acknowledged command could be lost, or readers could disagree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options
from taskscheduler.streams.kafka.diagnosis import refusal
from taskscheduler.streams.kafka.refusals import KafkaRefused

REPLICATION = 3
MIN_IN_SYNC = 2
LARGEST_RECORD = 16 * 1024 * 1024
"""Bytes of an encoded decision that the log must take."""

_SECONDS_UNTIL_KNOWN = 30.0
"""A topic just made is known to every broker only a moment later."""

_LOG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
}
_CLOCK = {"message.timestamp.type": "LogAppendTime"}
_HOUR, _DAY = "3600000", "86400000"


class Topics(msgspec.Struct, frozen=True, gc=False):
    """Names. `clock` takes the probes that compare an instance's clock with the brokers'.

    `markers` ask the timers' job what it keeps of a stream, `digests` answer.
    """

    decisions: str
    triggers: str
    unreadable: str
    clock: str
    markers: str
    digests: str


class Found(msgspec.Struct, frozen=True, gc=False):
    """A topic as it is: the partitions by number with their count of replicas, and its settings in force."""

    replicas: dict[int, int]
    config: dict[str, str]


def topics(prefix: str) -> Topics:
    """The names of the topics under a prefix."""
    return Topics(*(f"{prefix}.{name}" for name in Topics.__struct_fields__))


async def prepare_topics(settings: KafkaSettings) -> Topics:
    """Make what is missing and check what there is. Raises KafkaRefused.

    Many instances may do so at once. The partition count of a log that exists is checked against its first record.
    """
    names = topics(settings.topic_prefix)
    try:
        async with _admin(settings) as admin:
            await _make_missing(admin, settings, names)
            check(settings, names, await _find(admin, names))
    except (KafkaError, OSError, TimeoutError) as error:
        raise await refusal(settings, error) from None
    return names


def check(settings: KafkaSettings, names: Topics, found: Mapping[str, Found]) -> None:
    """Raises KafkaRefused, which names everything that must be otherwise and how to set it."""
    wrong: list[str] = []
    decisions = found[names.decisions]
    wrong += _settings(names.decisions, decisions, _LOG)
    wrong += _copies(names.decisions, decisions, settings.development)
    largest = int(decisions.config.get("max.message.bytes", "0"))
    if largest < LARGEST_RECORD:
        wrong.append(f"{names.decisions}: max.message.bytes is {largest} and must be at least {LARGEST_RECORD}")
    wrong += _settings(names.clock, found[names.clock], _CLOCK)
    for name in (names.triggers, names.clock):
        if len(found[name].replicas) != len(decisions.replicas):
            wrong.append(
                f"{name}: it has {len(found[name].replicas)} partitions and must have as many as {names.decisions}, "
                f"{len(decisions.replicas)}"
            )
    if wrong:
        raise KafkaRefused("Kafka's topics do not keep what is promised: " + "; ".join(wrong))


def _settings(name: str, found: Found, required: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {key} is {found.config.get(key, 'not known')} and must be {value}"
        for key, value in required.items()
        if found.config.get(key) != value
    ]


def _copies(name: str, found: Found, development: bool) -> list[str]:
    least, in_sync = (1, 1) if development else (REPLICATION, MIN_IN_SYNC)
    hint = "" if development else " (kafka.development accepts a single copy)"
    fewest = min(found.replicas.values())
    wrong = []
    if fewest < least:
        wrong.append(f"{name}: its partitions have {fewest} replicas and must have at least {least}{hint}")
    mine = int(found.config.get("min.insync.replicas", "0"))
    if mine < in_sync:
        wrong.append(f"{name}: min.insync.replicas is {mine} and must be at least {in_sync}{hint}")
    return wrong


async def _make_missing(admin: AIOKafkaAdminClient, settings: KafkaSettings, names: Topics) -> None:
    known = set(await admin.list_topics())
    wanted = [topic for topic in _wanted(settings, names) if topic.name not in known]
    if not wanted:
        return
    response = await admin.create_topics(wanted)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if error not in (NoError, TopicAlreadyExistsError):
            said = f" ({message[0]})" if message and message[0] else ""
            raise KafkaRefused(f"the topic {name} cannot be made: {error.__name__}{said}")


def _wanted(settings: KafkaSettings, names: Topics) -> list[NewTopic]:
    copies, in_sync = (1, 1) if settings.development else (REPLICATION, MIN_IN_SYNC)
    shared = {"min.insync.replicas": str(in_sync), "unclean.leader.election.enable": "false"}
    many = settings.partitions

    def topic(name: str, partitions: int, config: dict[str, str]) -> NewTopic:
        return NewTopic(name, partitions, copies, topic_configs={**shared, **config})

    return [
        topic(names.decisions, many, {**_LOG, "max.message.bytes": str(LARGEST_RECORD)}),
        topic(names.triggers, many, {"cleanup.policy": "delete", "retention.ms": _DAY}),
        topic(names.unreadable, 1, {"cleanup.policy": "delete", "retention.ms": "-1"}),
        topic(names.clock, many, {**_CLOCK, "cleanup.policy": "delete", "retention.ms": _HOUR}),
        topic(names.markers, 1, {"cleanup.policy": "delete", "retention.ms": _HOUR}),
        topic(names.digests, 1, {"cleanup.policy": "delete", "retention.ms": _HOUR}),
    ]


async def _find(admin: AIOKafkaAdminClient, names: Topics) -> dict[str, Found]:
    every = list(msgspec.structs.astuple(names))
    async with asyncio.timeout(_SECONDS_UNTIL_KNOWN):
        while True:
            described = await admin.describe_topics(every)
            replicas = {
                topic["topic"]: {part["partition"]: len(part["replicas"]) for part in topic["partitions"]}
                for topic in described
                if for_code(topic["error_code"]) is NoError
            }
            config = await _config(admin, every)
            if all(replicas.get(name) and name in config for name in every):
                return {name: Found(replicas[name], config[name]) for name in every}
            await asyncio.sleep(0.1)


async def _config(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for code, _, _, name, entries in response.resources
        if for_code(code) is NoError
    }


@contextlib.asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
