"""From settings to what aiokafka's clients take: addresses, TLS, SASL, timeouts."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from aiokafka.errors import KafkaError

from taskscheduler.domain.values import Millis
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.tls import TlsSettings, tls_context

CLIENT_ID = "taskscheduler"

_QUIET_FOR = 60.0
"""Seconds for which the clients do not repeat what they logged."""


_REMEMBERED = 1_000


class _Once(logging.Filter):
    """The clients log each failed attempt, many times a second while a broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        last = self._last.get(text)
        if last is not None and record.created < last + _QUIET_FOR:
            return False
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[text] = record.created
        return True


logging.getLogger("aiokafka").setLevel(logging.WARNING)
for _name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "aiokafka"]:
    logging.getLogger(_name).addFilter(_Once())


class ClientSettings(TlsSettings, Protocol):
    """What every client is told. Times are milliseconds."""

    @property
    def bootstrap_servers(self) -> tuple[str, ...]: ...
    @property
    def tls(self) -> bool: ...
    @property
    def sasl_mechanism(self) -> str: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def request_timeout(self) -> Millis: ...
    @property
    def retry_backoff(self) -> Millis: ...
    @property
    def metadata_max_age(self) -> Millis: ...
    @property
    def connections_max_idle(self) -> Millis: ...


class KafkaSettings(ClientSettings, Protocol):
    """What the clients of the log are told; the `kafka` group of the settings has it."""

    @property
    def topic_prefix(self) -> str: ...
    @property
    def partitions(self) -> int: ...
    @property
    def development(self) -> bool: ...
    @property
    def append_timeout(self) -> Millis: ...
    @property
    def compression(self) -> str: ...


def client_options(settings: ClientSettings, client_id: str = CLIENT_ID, *, group: str = "kafka") -> dict[str, Any]:
    """The arguments that every aiokafka client takes.

    Raises KafkaRefused, naming settings of the group, when they do not fit together.
    """
    if not settings.bootstrap_servers:
        raise KafkaRefused(f"{group}.bootstrap_servers: name at least one broker, such as 127.0.0.1:9092")
    if (settings.username is None) != (settings.password is None):
        missing = "password" if settings.password is None else "username"
        raise KafkaRefused(f"{group}.{missing}: needed too; SASL takes a user and a password")
    sasl = settings.username is not None
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "client_id": client_id,
        "request_timeout_ms": settings.request_timeout,
        "retry_backoff_ms": settings.retry_backoff,
        "metadata_max_age_ms": settings.metadata_max_age,
        "connections_max_idle_ms": settings.connections_max_idle,
        "security_protocol": f"SASL_{_transport(settings)}" if sasl else _transport(settings),
    }
    if settings.tls:
        options["ssl_context"] = tls_context(settings, group, KafkaRefused)
    if sasl:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password
    return options


def why(error: BaseException) -> str:
    """What went wrong, in words that name no setting's value."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, KafkaError):
        description = " ".join(getattr(error, "description", "").split())
        return f"{type(error).__name__}: {description}" if description else type(error).__name__
    return type(error).__name__


def _transport(settings: ClientSettings) -> str:
    return "SSL" if settings.tls else "PLAINTEXT"
