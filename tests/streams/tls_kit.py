"""An authority of the tests' own, and servers that only speak to whom it knows: Kafka with SASL too, and Flink."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from taskscheduler.api.local_cluster import flink as flink_server
from taskscheduler.api.local_cluster import kafka as kafka_server
from taskscheduler.api.local_cluster.process import Process, free_ports
from tests.support.engines import Flink, Ports, Server

USER = "ada"
PASSWORD = r"love\lace; ü"
"""What a file of settings would have to quote."""

KEY_PASSWORD = "opensesame"
_STORE = "changeit"

_CONFIG = """
[req]
distinguished_name = name
[name]
"""
_KAFKA = """
listeners={plain},SECURE://127.0.0.1:{port},{controller}
advertised.listeners={plain},SECURE://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.ssl.client.auth=required
listener.name.secure.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
"""
_FLINK = """
security.ssl.rest.enabled: true
security.ssl.rest.authentication-enabled: true
security.ssl.rest.keystore: "{folder}/server.p12"
security.ssl.rest.keystore-password: {store}
security.ssl.rest.key-password: {store}
security.ssl.rest.truststore: "{folder}/trust.p12"
security.ssl.rest.truststore-password: {store}
"""


def certificates(folder: Path) -> None:
    """Makes `ca.pem`, `server.pem` of 127.0.0.1 with its key, and `client.pem` with `client.key` under KEY_PASSWORD."""
    (folder / "openssl.cnf").write_text(_CONFIG)
    _certificate(folder, "ca", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
    leaf = ("basicConstraints=critical,CA:FALSE", "subjectAltName=IP:127.0.0.1")
    _certificate(folder, "server", *leaf, signed=True)
    _certificate(folder, "client", *leaf, signed=True, password=KEY_PASSWORD)
    server = folder / "server.pem"
    server.write_text((folder / "server.key").read_text() + server.read_text())


def _certificate(folder: Path, name: str, *extensions: str, signed: bool = False, password: str | None = None) -> None:
    key = ["openssl", "genpkey", "-algorithm", "RSA", "-out", f"{name}.key"]
    run(folder, *key, *(["-aes-256-cbc", "-pass", f"pass:{password}"] if password else []))
    command = ["openssl", "req", "-x509", "-config", "openssl.cnf", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-key", f"{name}.key", "-passin", f"pass:{password}", "-out", f"{name}.pem"]
    for one in (*extensions, "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"):
        command += ["-addext", one]
    if signed:
        command += ["-CA", "ca.pem", "-CAkey", "ca.key"]
    run(folder, *command)


def _stores(folder: Path) -> None:
    """The server's certificate and what it trusts as Java has them, for Flink."""
    password = ("-passout", f"pass:{_STORE}")
    run(folder, "openssl", "pkcs12", "-export", "-in", "server.pem", "-out", "server.p12", "-name", "server", *password)
    store = ("-keystore", "trust.p12", "-storetype", "PKCS12", "-storepass", _STORE)
    run(folder, "keytool", "-importcert", "-noprompt", "-file", "ca.pem", *store)


def run(folder: Path, *command: str) -> None:
    """A command in a folder, which succeeds."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def client_files(folder: Path) -> dict[str, Any]:
    """The settings of a client whom the servers of a folder know."""
    files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}
    return {**{name: folder / file for name, file in files.items()}, "key_password": KEY_PASSWORD}


def secure_kafka(folder: Path, ports: Ports) -> Server:
    """A broker at whose `address` clients need TLS with a certificate of their own, and a user."""
    [port] = free_ports(1)
    user = ("--add-scram", f'SCRAM-SHA-512=[name={USER},password="{PASSWORD}"]')
    process = kafka_server.broker(folder, ports, storage=user)

    def prepare() -> None:
        process.prepare()
        certificates(folder)
        escaped = PASSWORD.replace("\\", 4 * "\\")  # once for the file, once for the quotes
        values = {
            "plain": f"PLAINTEXT://127.0.0.1:{ports['kafka']}",
            "controller": f"CONTROLLER://127.0.0.1:{ports['kafka-controller']}",
            "port": port,
            "folder": folder,
            "user": USER,
            "password": escaped,
        }
        with (folder / "server.properties").open("a", encoding="latin-1") as file:
            file.write(_KAFKA.format_map(values))

    return Server(msgspec.structs.replace(process, prepare=prepare), f"127.0.0.1:{port}")


class SecureSession(flink_server.Session, frozen=True, kw_only=True):
    """A session cluster whose REST interface takes none but clients with a certificate."""

    @property
    def url(self) -> str:
        return super().url.replace("http:", "https:")

    def configuration(self) -> str:
        return super().configuration() + _FLINK.format(folder=self.folder, store=_STORE)

    def job_manager(self) -> Process:
        process = super().job_manager()

        def prepare() -> None:
            if not (self.folder / "trust.p12").exists():
                certificates(self.folder)
                _stores(self.folder)
            process.prepare()

        return msgspec.structs.replace(process, prepare=prepare, healthy=lambda: self._ask("/overview") is not None)

    def task_manager(self) -> Process:
        def healthy() -> bool:
            return bool((self._ask("/overview") or {}).get("slots-total"))

        return msgspec.structs.replace(super().task_manager(), healthy=healthy)

    def context(self) -> ssl.SSLContext:
        """Of a client whom it knows."""
        files = client_files(self.folder)
        context = ssl.create_default_context(cafile=files["ca_file"])
        context.load_cert_chain(files["cert_file"], files["key_file"], KEY_PASSWORD)
        return context

    def _ask(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2, context=self.context()) as reply:
                return json.load(reply)
        except (OSError, ValueError):
            return None


def secure_flink(folder: Path, ports: Ports) -> Flink:
    """A session cluster with TLS."""
    return Flink(SecureSession(folder=folder, ports=ports, recovery=False))
