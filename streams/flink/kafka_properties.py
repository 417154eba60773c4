"""From settings to what Kafka's clients in Java take."""

from __future__ import annotations

import re
from pathlib import Path

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.tls import TlsSettings

_SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
_LOGIN = {"PLAIN": f"{_SHADED}.plain.PlainLoginModule"}
_SCRAM = f"{_SHADED}.scram.ScramLoginModule"
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"})


def kafka_properties(settings: KafkaSettings) -> dict[str, str]:
    """The properties of consumers and producers, with what they need to log in. Raises KafkaRefused.

    Certificates and keys are read here and travel with the job: no machine of the Flink cluster needs the files.
    """
    checked = client_options(settings)
    properties = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": "taskscheduler-timers",
        "security.protocol": checked["security_protocol"],
        "request.timeout.ms": str(settings.request_timeout),
        "retry.backoff.ms": str(settings.retry_backoff),
        "retry.backoff.max.ms": str(max(settings.retry_backoff, 1_000)),
        "metadata.max.age.ms": str(settings.metadata_max_age),
        "connections.max.idle.ms": str(settings.connections_max_idle),
    }
    if settings.username is not None:
        login = _LOGIN.get(settings.sasl_mechanism, _SCRAM)
        properties["sasl.mechanism"] = settings.sasl_mechanism
        properties["sasl.jaas.config"] = (
            f"{login} required username={_quoted(settings.username)} password={_quoted(settings.password or '')};"
        )
    if settings.tls:
        properties |= tls_properties(settings, "kafka", KafkaRefused)
    return properties


def tls_properties(settings: TlsSettings, group: str, refused: type[Exception]) -> dict[str, str]:
    """What to trust, and the own certificate with its key. Raises `refused`, naming the setting of the group at fault.

    The files must be such as `tls_context` takes: Java takes fewer.
    """
    properties: dict[str, str] = {}
    if settings.ca_file is not None:
        trusted = _blocks(settings.ca_file, "CERTIFICATE")
        if not trusted:
            raise refused(f"{group}.ca_file: holds no certificate that Java takes (BEGIN CERTIFICATE)")
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": trusted}
    if settings.cert_file is not None:
        key = _blocks(settings.key_file or settings.cert_file, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
        if not key:
            name = "cert_file" if settings.key_file is None else "key_file"
            raise refused(
                f"{group}.{name}: Java takes keys as PKCS #8 only (BEGIN PRIVATE KEY); openssl pkcs8 -topk8 makes them"
            )
        properties |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": _blocks(settings.cert_file, "CERTIFICATE"),
            "ssl.keystore.key": key,
        }
        # Java would take the key for an encrypted one.
        if settings.key_password is not None and "BEGIN ENCRYPTED" in key:
            properties["ssl.key.password"] = settings.key_password
    return properties


def _blocks(file: Path, *labels: str) -> str:
    """Those parts of a PEM file, without the remarks between them."""
    found = _BLOCK.finditer(file.read_text(encoding="latin-1"))
    return "\n".join(block[0] for block in found if block[1] in labels)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
