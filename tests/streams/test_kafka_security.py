"""TLS and SASL against a real broker that demands both."""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from taskscheduler.api.local_cluster.process import Process, free_ports
from taskscheduler.api.settings import Kafka
from tests.streams.conformance.log import decision
from tests.streams.kafka_kit import now, settings_for
from tests.support.engines import Server

pytest.importorskip("aiokafka")
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.refusals import KafkaRefused

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]

_SECURE = """
listeners={plain},SECURE://127.0.0.1:{port},{controller}
advertised.listeners={plain},SECURE://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/cert.pem
sasl.enabled.mechanisms=PLAIN
listener.name.secure.ssl.client.auth={client_auth}
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_ada="lovelace";
"""


def certificate(folder: Path) -> None:
    """A certificate of 127.0.0.1 that signs itself, its key, and the two together."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    together = (folder / "key.pem").read_text() + (folder / "cert.pem").read_text()
    (folder / "server.pem").write_text(together)


@pytest.fixture(scope="module")
def secured(own_kafka: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address where TLS and SASL are needed, and the folder of the certificates."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder)
    [port] = free_ports(1)
    process = own_kafka.process

    def prepare() -> None:
        process.prepare()
        properties = process.folder / "server.properties"
        plain, controller = (f"{name}://127.0.0.1:{at}" for name, at in _listeners(process))
        text = _SECURE.format(plain=plain, controller=controller, port=port, folder=folder, client_auth="required")
        properties.write_text(properties.read_text() + text)

    process.stop()
    secure = msgspec.structs.replace(process, prepare=prepare)
    secure.start()
    yield f"127.0.0.1:{port}", folder
    secure.kill()


def _listeners(process: Process) -> Iterator[tuple[str, int]]:
    yield "PLAINTEXT", process.ports["kafka"]
    yield "CONTROLLER", process.ports["kafka-controller"]


def settings(address: str, folder: Path) -> Kafka:
    return settings_for(
        address,
        tls=True,
        ca_file=folder / "cert.pem",
        cert_file=folder / "cert.pem",
        key_file=folder / "key.pem",
        sasl_mechanism="PLAIN",
        username="ada",
        password="lovelace",
    )


async def test_a_log_works_over_tls_and_sasl(secured: tuple[str, Path]) -> None:
    log = await KafkaEventLog.open(settings(*secured), clock=now)
    await log.append([decision("task/a", 0)])
    partition = log.partition_of("task/a")
    await log.wait(partition, 0)
    assert [entry.record for entry in await log.read(partition, 0, 10)] == [decision("task/a", 0)]
    assert await log.end(partition) == 1
    await log.close()


# asyncio leaves open what is cancelled in the middle of a TLS handshake, until the loop is gone; it is collected here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "hunter2"}, "Authentication failed"),
        ({"username": None, "password": None}, ""),
        ({"ca_file": None}, "CERTIFICATE_VERIFY_FAILED"),
        ({"cert_file": None, "key_file": None}, ""),
        ({"tls": False}, ""),
    ],
)
async def test_who_proves_nothing_is_refused(
    secured: tuple[str, Path], change: dict[str, object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = msgspec.structs.replace(settings(*secured), **change, request_timeout=2_000)
    with pytest.raises(KafkaRefused) as raised:
        await KafkaEventLog.open(given, clock=now)
    said = str(raised.value)
    assert said.startswith(f"Kafka at {secured[0]} cannot be used")
    assert told in caplog.text
    for text in (said, caplog.text):
        assert "hunter2" not in text
        assert "lovelace" not in text
    gc.collect()
