"""The job on a Flink cluster behind TLS, and a broker that demands TLS with a certificate, and a password."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from taskscheduler.api.cli.main import run as command_line
from taskscheduler.streams.flink import control
from taskscheduler.streams.flink.rest import FlinkRefused
from taskscheduler.streams.kafka.refusals import KafkaRefused
from tests.streams.flink_kit import PARTITIONS, Timers, now, record, stream_name
from tests.streams.kafka_kit import settings_for
from tests.streams.tls_kit import (
    KEY_PASSWORD,
    PASSWORD,
    USER,
    SecureSession,
    client_files,
    run,
    secure_flink,
    secure_kafka,
)
from tests.support.engines import Flink, Server, own

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with own(tmp_path_factory, secure_kafka) as server:
        yield server


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    with own(tmp_path_factory, secure_flink) as server:
        yield server


@pytest.fixture
def timers(broker: Server, secured: Flink) -> Timers:
    """The job of a log, with settings that both servers accept."""
    user = {"sasl_mechanism": "SCRAM-SHA-512", "username": USER, "password": PASSWORD}
    kafka = settings_for(broker.address, partitions=PARTITIONS, tls=True, **client_files(broker.process.folder), **user)
    return Timers(secured, kafka, **client_files(secured.session.folder))


def key_of(folder: Path) -> str:
    """Of the client, a line of it: what is under a password is a secret all the same."""
    return (folder / "client.key").read_text().splitlines()[1]


async def everything(session: SecureSession) -> str:
    """All that the JobManager tells about its jobs, and itself."""
    said: list[str] = []
    connector = aiohttp.TCPConnector(ssl=session.context())
    async with aiohttp.ClientSession(session.url, connector=connector) as http:

        async def ask(path: str) -> Any:
            async with http.get(path) as reply:
                said.append(await reply.text())
                assert reply.status == 200, path
            return json.loads(said[-1])

        await asyncio.gather(ask("/config"), ask("/jobmanager/config"), ask("/jobmanager/environment"))
        for job in (await ask("/jobs"))["jobs"]:
            path = f"/jobs/{job['id']}"
            detail = await ask(path)
            more = ("config", "plan", "exceptions", "checkpoints", "checkpoints/config", "accumulators")
            await asyncio.gather(*(ask(f"{path}/{one}") for one in (*more, "jobmanager/config")))
            await asyncio.gather(*(ask(f"{path}/vertices/{one['id']}") for one in detail["vertices"]))
    return "\n".join(said)


async def test_a_task_that_is_due_is_told_and_no_secret_is(timers: Timers, broker: Server) -> None:
    session = timers.cluster.session
    assert isinstance(session, SecureSession)
    assert await timers.job() is None
    assert (await timers.submit()).running
    stream = stream_name()
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(record(stream, wakeup=now()))
        [[trigger, *_]] = await said.of(stream)
    assert (trigger.stream, trigger.version) == (stream, 1)

    told = await everything(session)
    assert control.job_name(timers.kafka) in told
    logs = {process.name: process.log.read_text() for process in session.processes()}
    assert broker.address in logs["taskmanager"]
    secrets = (PASSWORD, json.dumps(PASSWORD)[1:-1], KEY_PASSWORD, key_of(broker.process.folder))
    kept = [file.read_bytes().decode("latin-1") for file in session.data.rglob("*") if file.is_file()]
    for text in (told, *logs.values(), *kept):
        assert not [secret for secret in secrets if secret in text]
    await timers.cancel()


async def test_a_wrong_password_is_refused_by_the_setting_s_name(timers: Timers) -> None:
    timers.kafka = msgspec.structs.replace(timers.kafka, password="hunter2")
    with pytest.raises(KafkaRefused, match=r"kafka\.password") as raised:
        await timers.submit()
    assert not [secret for secret in ("hunter2", KEY_PASSWORD) if secret in str(raised.value)]
    assert await timers.job() is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("pkcs8", "-topk8", "-v2", "des3"), "cannot read it"),
        (("rsa", "-traditional"), "takes keys as PKCS #8 only"),
    ],
)
async def test_a_key_that_java_cannot_read_is_refused_before_the_job_runs(
    timers: Timers, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    key = timers.kafka.key_file
    assert key is not None
    passwords = ("-passin", f"pass:{KEY_PASSWORD}", "-passout", f"pass:{KEY_PASSWORD}")
    run(tmp_path, "openssl", *options, "-in", str(key), "-out", "other.key", *passwords)
    timers.kafka = msgspec.structs.replace(timers.kafka, key_file=tmp_path / "other.key")
    with pytest.raises((FlinkRefused, KafkaRefused), match=rf"kafka\.key_file\b.*: Java {told}") as raised:
        await timers.submit()
    assert KEY_PASSWORD not in str(raised.value)
    assert await timers.job() is None


def test_the_command_refuses_a_wrong_password_and_a_jobmanager_of_another_authority(
    timers: Timers, broker: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for group, given in (("KAFKA", timers.kafka), ("FLINK", timers.settings)):
        for name in ("ca_file", "cert_file", "key_file", "key_password"):
            monkeypatch.setenv(f"TASKSCHEDULER_{group}__{name.upper()}", str(getattr(given, name)))
    monkeypatch.setenv("TASKSCHEDULER_KAFKA__PASSWORD", "hunter2")
    options = {
        "profile": "cluster",
        "flink.url": timers.settings.url,
        "flink.home": timers.cluster.session.home,
        "kafka.bootstrap_servers": broker.address,
        "kafka.tls": True,
        "kafka.username": USER,
    }
    command = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    assert refusal(["flink", "submit", *command], capsys) == (
        f"Kafka at {broker.address} cannot be used: kafka.username, kafka.password: {broker.address} does not accept "
        "them (SCRAM-SHA-512)"
    )
    monkeypatch.setenv("TASKSCHEDULER_FLINK__CA_FILE", str(broker.process.folder / "ca.pem"))
    for action in ("submit", "status"):
        said = refusal(["flink", action, *command], capsys)
        assert said.startswith(f"flink.ca_file: it does not vouch for the JobManager at {timers.settings.url}: ")


def refusal(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that fails."""
    assert command_line(command) == 1
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err
    return said.err.strip().removeprefix("taskscheduler: ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ca_file": None}, "flink.ca_file: it does not vouch"),
        ({"cert_file": None, "key_file": None}, "flink.cert_file: no TLS with the JobManager"),
        ({"key_password": "hunter2"}, "flink.key_password do not fit together"),
        ({"url": "http"}, "flink.url: "),
    ],
)
async def test_what_the_jobmanager_does_not_take_is_told_by_the_setting_s_name(
    timers: Timers, change: dict[str, Any], told: str
) -> None:
    if "url" in change:
        change = {"url": timers.settings.url.replace("https", "http")}
    given = msgspec.structs.replace(timers.settings, **change)
    with pytest.raises(FlinkRefused) as raised:
        await control.status(timers.kafka, given)
    assert told in str(raised.value)
    assert "hunter2" not in str(raised.value)
