"""TLS and SASL against a real broker that demands both."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from taskscheduler.api.settings import Kafka
from taskscheduler.domain.definition import KafkaTarget
from tests.streams.conformance.log import decision
from tests.streams.kafka_kit import admin_of, now, settings_for
from tests.streams.tls_kit import KEY_PASSWORD, PASSWORD, USER, client_files, secure_kafka
from tests.support.engines import Server, own

pytest.importorskip("aiokafka")
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic

from taskscheduler.streams.kafka.client_options import client_options
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.refusals import KafkaRefused
from tests.streams.test_kafka_target import attempt, caller

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
    # asyncio leaves open what is cancelled in the middle of a TLS handshake, until the loop is gone.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with own(tmp_path_factory, secure_kafka) as server:
        yield server


def login(broker: Server, **given: Any) -> dict[str, Any]:
    """Settings of a client whom the broker knows."""
    files = client_files(broker.process.folder)
    return {"tls": True, **files, "sasl_mechanism": "PLAIN", "username": USER, "password": PASSWORD, **given}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_log_works_over_tls_and_sasl(broker: Server, mechanism: str) -> None:
    settings = settings_for(broker.address, **login(broker, sasl_mechanism=mechanism))
    log = await KafkaEventLog.open(settings, clock=now)
    await log.append([decision("task/a", 0)])
    partition = log.partition_of("task/a")
    await log.wait(partition, 0)
    assert [entry.record for entry in await log.read(partition, 0, 10)] == [decision("task/a", 0)]
    assert await log.end(partition) == 1
    await log.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "hunter2"}, "kafka.username, kafka.password: {broker} does not accept them (PLAIN)"),
        ({"password": "hunter2", "sasl_mechanism": "SCRAM-SHA-512"}, "does not accept them (SCRAM-SHA-512)"),
        ({"sasl_mechanism": "SCRAM-SHA-256"}, "kafka.sasl_mechanism: {broker} does not offer SCRAM-SHA-256"),
        ({"username": None, "password": None}, "kafka.tls, kafka.username: {broker} ends the connection"),
        ({"ca_file": None}, "kafka.ca_file: it does not vouch for {broker}: "),
        ({"cert_file": None, "key_file": None}, "kafka.cert_file: {broker} asks for a certificate"),
        ({"tls": False}, "kafka.tls: {broker} ends the connection"),
    ],
)
async def test_who_proves_nothing_is_refused_and_told_what_to_set(
    broker: Server, change: dict[str, object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = Kafka(bootstrap_servers=(broker.address,), request_timeout=2_000, **login(broker, **change))
    with pytest.raises(KafkaRefused) as raised:
        await KafkaEventLog.open(given, clock=now)
    said = str(raised.value)
    assert said.startswith(f"Kafka at {broker.address} cannot be used: ")
    assert told.format(broker=broker.address) in said
    for text in (said, caplog.text):
        assert not [secret for secret in ("hunter2", PASSWORD, KEY_PASSWORD) if secret in text]
    gc.collect()


async def test_a_kafka_target_works_over_tls_and_sasl(broker: Server) -> None:
    settings = settings_for(broker.address, **login(broker))
    async with admin_of(Kafka(bootstrap_servers=(plain(broker),))) as admin:
        await admin.create_topics([NewTopic("orders", 1, 1)])
    async with caller(broker.address, **login(broker, sasl_mechanism="SCRAM-SHA-512")) as made:
        assert (await made.call(attempt(KafkaTarget("orders", "k")))).error is None
    consumer = AIOKafkaConsumer("orders", **client_options(settings), auto_offset_reset="earliest")
    async with consumer:
        assert (await consumer.getone()).key == b"k"


async def test_a_kafka_target_with_a_wrong_password_fails_and_tells_no_secret(
    broker: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with caller(broker.address, **login(broker, password="hunter2")) as made:
        outcome = await made.call(attempt(KafkaTarget("orders")))
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("kafka_failed", True)
    for text in (outcome.error.message, caplog.text):
        assert not [secret for secret in ("hunter2", KEY_PASSWORD) if secret in text]


def plain(broker: Server) -> str:
    """Where it asks for nothing."""
    return f"127.0.0.1:{broker.process.ports['kafka']}"
