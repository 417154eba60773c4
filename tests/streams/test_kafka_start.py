"""What is checked before a log on Kafka is used: settings, topics, and how the log begins."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.api.settings import Kafka
from tests.streams.kafka_kit import admin_of, now, put, settings_for

pytest.importorskip("aiokafka")
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from taskscheduler.streams.kafka import genesis
from taskscheduler.streams.kafka.client_options import client_options, why
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.kafka.topics import LARGEST_RECORD, Found, check, prepare_topics, topics

GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "min.insync.replicas": "2",
    "max.message.bytes": str(LARGEST_RECORD),
}
NAMES = topics("p")


def found(replicas: int = 3, partitions: int = 4, others: int = 4, **config: str) -> dict[str, Found]:
    """Topics as a start finds them."""
    given = {**GOOD, **{key.replace("_", "."): value for key, value in config.items()}}
    beside = Found(dict.fromkeys(range(others), replicas), GOOD)
    return {
        NAMES.decisions: Found(dict.fromkeys(range(partitions), replicas), given),
        NAMES.triggers: beside,
        NAMES.unreadable: beside,
        NAMES.clock: beside,
    }


async def refusal(settings: Kafka) -> str:
    """Why a log is not opened, in one line."""
    with pytest.raises(KafkaRefused) as raised:
        await KafkaEventLog.open(settings, clock=now)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_good_topics_are_taken() -> None:
    check(Kafka(), NAMES, found())
    check(Kafka(development=True), NAMES, found(replicas=1, min_insync_replicas="1"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cleanup_policy": "compact"}, "cleanup.policy is compact and must be delete"),
        ({"cleanup_policy": "compact,delete"}, "cleanup.policy is compact,delete and must be delete"),
        ({"retention_ms": "604800000"}, "retention.ms is 604800000 and must be -1"),
        ({"retention_bytes": "1073741824"}, "retention.bytes is 1073741824 and must be -1"),
        ({"message_timestamp_type": "CreateTime"}, "message.timestamp.type is CreateTime and must be LogAppendTime"),
        ({"unclean_leader_election_enable": "true"}, "unclean.leader.election.enable is true and must be false"),
        ({"min_insync_replicas": "1"}, "min.insync.replicas is 1 and must be at least 2"),
        ({"max_message_bytes": "1048588"}, f"max.message.bytes is 1048588 and must be at least {LARGEST_RECORD}"),
        ({"replicas": 2}, "its partitions have 2 replicas and must have at least 3"),
        ({"others": 3}, "p.triggers: it has 3 partitions and must have as many as p.decisions, 4"),
    ],
)
def test_topics_that_do_not_keep_the_promises_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(KafkaRefused, match="do not keep what is promised") as raised:
        check(Kafka(), NAMES, found(**given))
    assert says in str(raised.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(KafkaRefused) as raised:
        check(Kafka(), NAMES, found(replicas=1, retention_ms="5", cleanup_policy="compact"))
    assert str(raised.value).count("p.decisions: ") == 3
    assert "kafka.development accepts a single copy" in str(raised.value)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cleanup.policy", "compact"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("message.timestamp.type", "CreateTime"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1048588"),
    ],
)
async def test_a_real_topic_with_other_settings_is_refused(kafka: str, key: str, value: str) -> None:
    settings = settings_for(kafka)
    names = await prepare_topics(settings)
    config = {**GOOD, "min.insync.replicas": "1", key: value}
    async with admin_of(settings) as admin:
        topic = ConfigResource(ConfigResourceType.TOPIC, names.decisions, config)
        await admin.alter_configs([topic])
        while (key, value) not in [entry[:2] for entry in (await admin.describe_configs([topic]))[0].resources[0][4]]:
            await asyncio.sleep(0.01)
    said = await refusal(settings)
    assert f"{names.decisions}: {key} is {value} and must be" in said
    assert said.count(" must be ") == 1


@pytest.mark.cluster
async def test_a_single_copy_is_refused_unless_it_is_for_development(kafka: str) -> None:
    settings = settings_for(kafka)
    await (await KafkaEventLog.open(settings, clock=now)).close()
    said = await refusal(msgspec.structs.replace(settings, development=False))
    assert "its partitions have 1 replicas and must have at least 3" in said
    assert "min.insync.replicas is 1 and must be at least 2" in said
    fresh = settings_for(kafka, development=False)
    assert "the topic" in (said := await refusal(fresh))
    assert "cannot be made: InvalidReplicationFactorError" in said


@pytest.mark.cluster
async def test_another_count_of_partitions_is_refused(kafka: str) -> None:
    settings = settings_for(kafka)
    await (await KafkaEventLog.open(settings, clock=now)).close()
    said = await refusal(msgspec.structs.replace(settings, partitions=4))
    assert "kafka.partitions: is 4" in said
    assert "has 3" in said


@pytest.mark.cluster
async def test_partitions_that_were_added_are_refused(kafka: str) -> None:
    settings = settings_for(kafka)
    await (await KafkaEventLog.open(settings, clock=now)).close()
    async with admin_of(settings) as admin:
        name = topics(settings.topic_prefix)
        await admin.create_partitions(
            {topic: NewPartitions(4) for topic in (name.decisions, name.triggers, name.clock)}
        )
    said = await refusal(msgspec.structs.replace(settings, partitions=4))
    assert "has 4 partitions and was begun with 3" in said


@pytest.mark.cluster
async def test_a_topic_that_another_program_writes_to_is_refused(kafka: str) -> None:
    settings = settings_for(kafka)
    await prepare_topics(settings)
    await put(settings, 1, b'{"their": "data"}')
    said = await refusal(settings)
    assert "partition 1 does not begin as a log of decisions does" in said


@pytest.mark.cluster
async def test_a_topic_of_several_logs_is_refused(kafka: str) -> None:
    settings = settings_for(kafka)
    await prepare_topics(settings)
    await put(settings, 2, b'{"kind":"genesis.v1","log_id":"other","partitions":3,"partition":2}')
    said = await refusal(settings)
    assert "partition 2 is partition 2 of log other, and partition 0 is of log" in said


@pytest.mark.cluster
async def test_a_log_whose_beginning_was_deleted_is_refused(kafka: str) -> None:
    settings = settings_for(kafka)
    log = await KafkaEventLog.open(settings, clock=now)
    await put(settings, 1, b"1", b"2")
    await log.close()
    async with admin_of(settings) as admin:
        place = TopicPartition(log.topics.decisions, 1)
        await admin.delete_records({place: RecordsToDelete(before_offset=2)})
    assert "what partition 1 held before offset 2 was deleted" in await refusal(settings)


@pytest.mark.cluster
async def test_topics_that_are_there_need_no_right_to_make_topics(kafka: str) -> None:
    settings = settings_for(kafka)
    names = await prepare_topics(settings)
    assert names == await prepare_topics(settings)
    async with admin_of(settings) as admin:
        assert set(msgspec.structs.astuple(names)) <= set(await admin.list_topics())


@pytest.mark.cluster
@pytest.mark.parametrize("what", ["start", "send_and_wait"])
async def test_a_beginning_that_takes_for_ever_is_refused(
    kafka: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(genesis, "_LONGEST", 0.2)
    monkeypatch.setattr(AIOKafkaProducer, what, never)
    assert (await refusal(settings_for(kafka))).endswith("cannot be read: no answer in time")


async def test_brokers_that_are_not_there_are_named() -> None:
    said = await refusal(Kafka(bootstrap_servers=("127.0.0.1:1",)))
    assert said == "Kafka at 127.0.0.1:1 cannot be used: KafkaConnectionError"


def test_plain_connections_need_no_more_than_an_address() -> None:
    options = client_options(Kafka(bootstrap_servers=("a:1", "b:2"), request_timeout=3_000))
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert options["request_timeout_ms"] == 3_000
    assert "ssl_context" not in options
    assert not [name for name in options if name.startswith("sasl")]


@pytest.mark.parametrize(("tls", "protocol"), [(False, "SASL_PLAINTEXT"), (True, "SASL_SSL")])
def test_a_user_means_sasl(tls: bool, protocol: str) -> None:
    options = client_options(Kafka(bootstrap_servers=("a:1",), username="ada", password="secret", tls=tls))
    assert options["security_protocol"] == protocol
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("ada", "secret")
    assert isinstance(options.get("ssl_context"), ssl.SSLContext) is tls


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bootstrap_servers": ()}, "kafka.bootstrap_servers: name at least one broker"),
        ({"username": "ada"}, "kafka.password: needed too"),
        ({"password": "hunter2"}, "kafka.username: needed too"),
        ({"tls": True, "ca_file": Path("/nowhere/ca.pem")}, "kafka.ca_file: there is no file '/nowhere/ca.pem'"),
        ({"tls": True, "cert_file": Path("/nowhere/c.pem")}, "kafka.cert_file: there is no file"),
        ({"tls": True, "key_file": Path(os.devnull)}, "kafka.key_file: there is no file"),
        ({"tls": True, "ca_file": Path(__file__)}, "kafka.ca_file: cannot be used"),
        ({"tls": True, "key_file": Path(__file__)}, "kafka.cert_file: needed too"),
        ({"tls": True, "cert_file": Path(__file__), "key_password": "hunter2"}, "do not fit together"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(KafkaRefused) as raised:
        client_options(Kafka(**{"bootstrap_servers": ("a:1",), **given}))
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_what_went_wrong_is_told_without_values() -> None:
    assert why(TimeoutError("hunter2")) == "no answer in time"
    assert why(OSError("hunter2")) == "OSError"
