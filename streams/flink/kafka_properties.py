"""From settings to what Kafka's clients in Java take."""

from __future__ import annotations

from pathlib import Path

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options

_SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
_LOGIN = {"PLAIN": f"{_SHADED}.plain.PlainLoginModule"}
_SCRAM = f"{_SHADED}.scram.ScramLoginModule"


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
        properties |= _tls(settings.ca_file, settings.cert_file, settings.key_file, settings.key_password)
    return properties


def _tls(ca: Path | None, cert: Path | None, key: Path | None, password: str | None) -> dict[str, str]:
    properties: dict[str, str] = {}
    if ca is not None:
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": ca.read_text(encoding="ascii")}
    if cert is not None:
        properties |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": cert.read_text(encoding="ascii"),
            "ssl.keystore.key": (key or cert).read_text(encoding="ascii"),
        }
        if password is not None:
            properties["ssl.key.password"] = password
    return properties


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
