"""A node that encrypts, checks who comes, and knows users."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from taskscheduler.api.local_cluster import cassandra as cassandra_server
from taskscheduler.api.local_cluster.process import free_ports
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.cassandra.client_options import CassandraRefused
from taskscheduler.streams.cassandra.schema import migrate
from taskscheduler.streams.cassandra.session import Session
from tests.streams.cassandra_kit import settings

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

STORE = "changeit-1"
USER = "cassandra"
"""The user that a new node knows, and its password."""


class Secure(msgspec.Struct):
    address: str
    folder: Path


def keys(folder: Path) -> None:
    """A key store for the node with a certificate of 127.0.0.1, and the client's own; each trusts the other."""

    def keytool(*arguments: str) -> None:
        subprocess.run(["keytool", *arguments], cwd=folder, check=True, capture_output=True)

    for who in ("node", "client"):
        store = ("-keystore", f"{who}.p12", "-storetype", "PKCS12", "-storepass", STORE, "-alias", who)
        keytool(
            "-genkeypair",
            *store,
            "-keyalg",
            "RSA",
            "-validity",
            "30",
            "-dname",
            f"CN={who}",
            "-ext",
            "san=ip:127.0.0.1",
        )
        keytool("-exportcert", *store, "-rfc", "-file", f"{who}.pem")
    keytool("-importcert", "-noprompt", "-file", "client.pem", "-keystore", "trust.p12", "-storetype", "PKCS12",
            "-storepass", STORE, "-alias", "client")  # fmt: skip
    key = ("-nodes", "-nocerts", "-in", "client.p12", "-passin", f"pass:{STORE}", "-out", "client.key")
    subprocess.run(["openssl", "pkcs12", *key], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    ports = dict(zip(cassandra_server.PORTS, free_ports(len(cassandra_server.PORTS)), strict=True))
    plain = cassandra_server.node(folder, ports)

    def prepare() -> None:
        plain.prepare()
        keys(folder)
        with (folder / "cassandra.yaml").open("a") as file:
            file.write(
                "authenticator: {class_name: PasswordAuthenticator}\nauthorizer: {class_name: CassandraAuthorizer}\n"
                "client_encryption_options: {enabled: true, optional: false, require_client_auth: true, "
                f"keystore: {folder}/node.p12, keystore_password: {STORE}, store_type: PKCS12, "
                f"truststore: {folder}/trust.p12, truststore_password: {STORE}}}\n"
            )

    def healthy() -> bool:
        return "Startup complete" in plain.log.read_text() and "Created default superuser" in plain.log.read_text()

    process = msgspec.structs.replace(plain, prepare=prepare, healthy=healthy)
    try:
        process.start()
        yield Secure(f"127.0.0.1:{ports['cassandra']}", folder)
    finally:
        with suppress(OSError):
            process.kill()


def ours(secure: Secure, **more: object) -> Session:
    folder = secure.folder
    files = {"ca_file": folder / "node.pem", "cert_file": folder / "client.pem", "key_file": folder / "client.key"}
    return Session(settings(secure.address, **{"tls": True, **files, "username": USER, "password": USER, **more}))


async def test_with_a_user_and_certificates_all_works(secure: Secure) -> None:
    session = ours(secure)
    assert (await migrate(session, "the log", 1)).number == 1
    await session.close()


async def test_a_wrong_password_is_told_as_such(secure: Secure) -> None:
    session = ours(secure, password="wrong-password")
    with pytest.raises(CassandraRefused, match="does not let in the user 'cassandra'") as refused:
        await session.connect()
    assert "wrong-password" not in str(refused.value)
    await session.close()


async def test_without_the_certificates_nobody_comes_in(secure: Secure) -> None:
    for more in ({"tls": False}, {"ca_file": None}, {"cert_file": None, "key_file": None}):
        session = ours(secure, connect_timeout=3_000, **more)
        with pytest.raises(ViewsUnavailable, match="does not answer"):
            await session.connect()
        await session.close()
