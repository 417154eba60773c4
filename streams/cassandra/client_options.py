"""From settings to what the driver takes: addresses, TLS, the user, timeouts, who to ask and how many must agree."""

from __future__ import annotations

import logging
import ssl
from typing import Any, Protocol

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.query import tuple_factory

from taskscheduler.domain.values import Millis
from taskscheduler.streams.tls import TlsSettings, tls_context

DEFAULT_PORT = 9042

logging.getLogger("cassandra").setLevel(
    logging.CRITICAL
)  # it repeats each failed attempt; health and metrics tell once


class CassandraSettings(TlsSettings, Protocol):
    """What the driver is told; the `cassandra` group of the settings has it. Times are milliseconds."""

    @property
    def contact_points(self) -> tuple[str, ...]: ...
    @property
    def keyspace(self) -> str: ...
    @property
    def local_datacenter(self) -> str | None: ...
    @property
    def replication(self) -> int: ...
    @property
    def consistency(self) -> str: ...
    @property
    def tls(self) -> bool: ...
    @property
    def verify_hostname(self) -> bool: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def request_timeout(self) -> Millis: ...
    @property
    def connect_timeout(self) -> Millis: ...
    @property
    def batch_bytes(self) -> int: ...


class CassandraRefused(Exception):
    """Settings that cannot be used, a user whom Cassandra does not know, or a keyspace that is not ours."""


def client_options(settings: CassandraSettings) -> dict[str, Any]:
    """The arguments of the driver's Cluster. Raises CassandraRefused when the settings do not fit together."""
    if not settings.contact_points:
        raise CassandraRefused("cassandra.contact_points: name at least one node, such as 127.0.0.1:9042")
    if (settings.username is None) != (settings.password is None):
        missing = "password" if settings.password is None else "username"
        raise CassandraRefused(f"cassandra.{missing}: needed too; a user logs in with both")
    login = None if settings.username is None else PlainTextAuthProvider(settings.username, settings.password)
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.local_datacenter or "")),
        consistency_level=ConsistencyLevel.name_to_value[settings.consistency],
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=settings.request_timeout / 1000,
        row_factory=tuple_factory,
    )
    return {
        "contact_points": [_address(point) for point in settings.contact_points],
        "auth_provider": login,
        "ssl_context": _tls(settings) if settings.tls else None,
        "connection_class": LibevConnection,  # the driver's asyncio reactor breaks frames of protocol 5
        "compression": False,
        "connect_timeout": settings.connect_timeout / 1000,
        "control_connection_timeout": settings.connect_timeout / 1000,
        "reconnection_policy": ExponentialReconnectionPolicy(0.25, 10.0, max_attempts=None),
        "execution_profiles": {EXEC_PROFILE_DEFAULT: profile},
    }


def _address(point: str) -> tuple[str, int]:
    """`host:port`, `host`, `[v6]:port` or a bare v6 address."""
    host, colon, port = point.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        host, port = point, str(DEFAULT_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise CassandraRefused(f"cassandra.contact_points: {point!r} is neither host nor host:port")
    return host.strip("[]"), int(port)


def _tls(settings: CassandraSettings) -> ssl.SSLContext:
    context = tls_context(settings, "cassandra", CassandraRefused)
    context.check_hostname = settings.verify_hostname
    return context
