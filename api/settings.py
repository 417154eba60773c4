"""What can be set, with its default and meaning; `python -m taskscheduler.api.settings` prints the reference table.

Durations are milliseconds here, whatever form they were written in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

import msgspec
from msgspec import Meta

from taskscheduler.api.durations import format_duration
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND, Millis
from taskscheduler.streams.dispatch.egress import Egress

ENV_PREFIX = "TASKSCHEDULER_"

_DURATION = Meta(ge=0, extra={"duration": True})
_POSITIVE_DURATION = Meta(ge=1, extra={"duration": True})
_SECRET = Meta(extra={"secret": True})
_WORDS = Meta(extra={"words": True})

Profile: TypeAlias = Literal["embedded", "cluster"]
Role: TypeAlias = Literal["api", "triggers", "dispatch", "projections"]
ROLES: tuple[Role, ...] = ("api", "triggers", "dispatch", "projections")
LogFormat: TypeAlias = Literal["auto", "json", "pretty"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
SaslMechanism: TypeAlias = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Scheme: TypeAlias = Literal["http", "https"]
Compression: TypeAlias = Literal["none", "gzip"]
Consistency: TypeAlias = Literal["LOCAL_QUORUM", "LOCAL_ONE", "ONE", "QUORUM", "ALL"]
_TopicPrefix: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
_Datacenter: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]+$")]
_ClaimSecret: TypeAlias = Annotated[str, Meta(min_length=32)]
_ProxyUrl: TypeAlias = Annotated[str, Meta(pattern=r"^https?://[^/@\s]+/?$")]
_Text: TypeAlias = Annotated[str, Meta(min_length=1)]
_Keyspace: TypeAlias = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,47}$")]


class SettingsError(Exception):
    """A setting that cannot be used: one line that names it and the way out."""


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Http(_Group, frozen=True, kw_only=True):
    """Calls to http targets."""

    allow_loopback: Annotated[bool, Meta(description="Let http targets call this machine (127.0.0.0/8, ::1).")] = False
    allow_private: Annotated[
        bool, Meta(description="Let http targets call private networks (such as 10.0.0.0/8 and 192.168.0.0/16).")
    ] = False
    allow: Annotated[
        tuple[str, ...],
        _WORDS,
        Meta(
            description="Networks and hosts that http targets may call although they are private or loopback, "
            "separated by commas: `10.1.0.0/16`, `hooks.internal`, `*.svc.cluster.local`."
        ),
    ] = ()
    only_allowed: Annotated[bool, Meta(description="Let http targets call nothing but what `http.allow` names.")] = (
        False
    )
    schemes: Annotated[
        tuple[Scheme, ...], Meta(min_length=1, description="What http targets may begin with: `http`, `https`.")
    ] = ("http", "https")
    ports: Annotated[
        tuple[str, ...],
        _WORDS,
        Meta(min_length=1, description="Ports that http targets may call: numbers and ranges, separated by commas."),
    ] = ("80", "443", "1024-65535")
    circuit_failures: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="After so many calls in a row that a host did not answer, or answered with 429 or 5xx, within "
            "`http.circuit_window`, its runs wait: its circuit is open. 0: never.",
        ),
    ] = 10
    circuit_window: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="Failures further apart than this open no circuit.")
    ] = MINUTE
    circuit_pause: Annotated[
        Millis,
        _POSITIVE_DURATION,
        Meta(description="How long the runs of a host then wait before one tries it again; doubles each time."),
    ] = 10 * SECOND
    circuit_longest_pause: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="What such a pause, or one that a 429 asks for, grows to at most.")
    ] = 5 * MINUTE
    proxy: Annotated[
        _ProxyUrl | None,
        Meta(
            description="Call http targets through this proxy, `http://host:port`. It resolves the names, and has to "
            "judge what they resolve to.",
        ),
    ] = None
    proxy_username: Annotated[str | None, Meta(description="User for the proxy.")] = None
    proxy_password: Annotated[str | None, _SECRET, Meta(description="Password for the proxy.")] = None
    concurrency: Annotated[int, Meta(ge=1, le=10_000, description="Most http targets called at the same time.")] = 256
    connect_timeout: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How long connecting to an http target may take.")
    ] = 10 * SECOND


class Secrets(_Group, frozen=True, kw_only=True):
    """What targets are given by the name of a secret."""

    directory: Annotated[
        Path | None,
        Meta(
            description="A folder of files, each a secret that targets may name; without it, or for what is not there, "
            "the environment: `TASKSCHEDULER_SECRET_<NAME>`."
        ),
    ] = None


class Retention(_Group, frozen=True, kw_only=True):
    """How long what is over can be read."""

    runs: Annotated[Millis, _POSITIVE_DURATION, Meta(description="How long finished runs can be read.")] = 30 * DAY
    deleted: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How long the history of a deleted task is kept.")
    ] = 30 * DAY


class Log(_Group, frozen=True, kw_only=True):
    """The server's own log, on standard error."""

    format: Annotated[
        LogFormat, Meta(description="`json`, one object per line; `pretty`, for people; `auto`: pretty on a terminal.")
    ] = "auto"
    level: Annotated[LogLevel, Meta(description="The least important messages to log.")] = "info"


class Commands(_Group, frozen=True, kw_only=True):
    """Requests that change something."""

    timeout: Annotated[
        Millis,
        _POSITIVE_DURATION,
        Meta(description="How long a write may take before its request is answered with 503."),
    ] = 10 * SECOND


class Claims(_Group, frozen=True, kw_only=True):
    """Claims of queue workers."""

    secret: Annotated[
        _ClaimSecret | None,
        _SECRET,
        Meta(
            description="What claim tokens are signed with, at least 32 characters and the same for all instances. "
            "Needed in the cluster profile; an embedded server makes its own in the data directory.",
        ),
    ] = None


class Bulk(_Group, frozen=True, kw_only=True):
    """Operations over many tasks."""

    rate: Annotated[
        int,
        Meta(ge=1, le=100_000, description="How many tasks an operation over many changes in a second at most."),
    ] = 1_000


class LedgerChecks(_Group, frozen=True, kw_only=True):
    """The check that every fire time is accounted for."""

    check_every: Annotated[
        Millis,
        _DURATION,
        Meta(
            description="How long after one check of all ledgers the next begins, at a low priority; 0 for none. "
            "In a cluster the processes with the role `api` share them."
        ),
    ] = HOUR
    check_back: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How far back fire times are looked at by such a check.")
    ] = DAY


class Shutdown(_Group, frozen=True, kw_only=True):
    """How the server stops."""

    grace: Annotated[
        Millis, _DURATION, Meta(description="How long a stopping server waits for what it runs itself.")
    ] = 30 * SECOND


class Kafka(_Group, frozen=True, kw_only=True):
    """The event log of the cluster profile."""

    bootstrap_servers: Annotated[
        tuple[str, ...], Meta(description="Brokers, `host:port`, separated by commas. Cluster profile only.")
    ] = ()
    topic_prefix: Annotated[
        _TopicPrefix,
        Meta(description="What the names of this scheduler's topics begin with: `<prefix>.decisions`, ..."),
    ] = "taskscheduler"
    partitions: Annotated[
        int,
        Meta(
            ge=1,
            le=1_024,
            description="Partitions of a new log. Can never be changed: a start against another number is refused.",
        ),
    ] = 4
    development: Annotated[
        bool,
        Meta(
            description="Be content with a single copy of the log (replication 1 instead of 3). For trying out: what "
            "was acknowledged is lost with its one broker."
        ),
    ] = False
    tls: Annotated[bool, Meta(description="Encrypt connections to the brokers and check their certificates.")] = False
    ca_file: Annotated[
        Path | None, Meta(description="Certificates to trust, PEM; without it those that the system trusts.")
    ] = None
    cert_file: Annotated[
        Path | None, Meta(description="The client's own certificate, PEM, where brokers ask for one.")
    ] = None
    key_file: Annotated[
        Path | None, Meta(description="Key of the client's certificate, PEM, where it is not in `kafka.cert_file`.")
    ] = None
    key_password: Annotated[str | None, _SECRET, Meta(description="Password of the key.")] = None
    sasl_mechanism: Annotated[
        SaslMechanism, Meta(description="How a user proves who it is: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.")
    ] = "SCRAM-SHA-512"
    username: Annotated[str | None, Meta(description="User for SASL. Cluster profile only.")] = None
    password: Annotated[str | None, _SECRET, Meta(description="Password for SASL. Cluster profile only.")] = None
    append_timeout: Annotated[
        Millis,
        _POSITIVE_DURATION,
        Meta(description="How long a decision may take onto the log before its request is answered with 503."),
    ] = 5 * SECOND
    request_timeout: Annotated[
        Millis,
        _POSITIVE_DURATION,
        Meta(description="How long a broker may take to answer before the connection is given up and made anew."),
    ] = 10 * SECOND
    retry_backoff: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="Pause before a request that failed is sent again.")
    ] = 100
    metadata_max_age: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How long to go on without asking which broker leads what.")
    ] = 5 * MINUTE
    connections_max_idle: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="After this a connection that nobody uses is closed.")
    ] = 9 * MINUTE
    compression: Annotated[
        Compression, Meta(description="`none` or `gzip`, for each batch of decisions: less on disk, more to compute.")
    ] = "none"


class KafkaTarget(_Group, frozen=True, kw_only=True):
    """Where kafka targets produce to."""

    bootstrap_servers: Annotated[
        tuple[str, ...],
        Meta(
            description="Brokers of kafka targets, `host:port`, separated by commas; without them, in a cluster, those "
            "of its log."
        ),
    ] = ()
    topics: Annotated[
        tuple[str, ...],
        _WORDS,
        Meta(
            min_length=1,
            description="Topics that kafka targets may use, with `*` for any characters. Never those of the scheduler "
            "(`kafka.topic_prefix`) or of Kafka itself.",
        ),
    ] = ("*",)
    source: Annotated[
        str,
        Meta(
            pattern="^[!-~]{0,200}$",
            description="What `ce_source` begins with, before `/tasks/<id>`: a URI such as `https://jobs.example.org`.",
        ),
    ] = ""
    concurrency: Annotated[int, Meta(ge=1, le=10_000, description="Most messages under way at the same time.")] = 256
    request_timeout: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How long a message may take to be acknowledged.")
    ] = 10 * SECOND
    tls: Annotated[bool, Meta(description="Encrypt connections to these brokers and check their certificates.")] = False
    ca_file: Annotated[
        Path | None, Meta(description="Certificates to trust, PEM; without it those that the system trusts.")
    ] = None
    cert_file: Annotated[
        Path | None, Meta(description="The client's own certificate, PEM, where brokers ask for one.")
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(description="Key of the client's certificate, PEM, where it is not in `kafka_target.cert_file`."),
    ] = None
    key_password: Annotated[str | None, _SECRET, Meta(description="Password of the key.")] = None
    sasl_mechanism: Annotated[
        SaslMechanism, Meta(description="How a user proves who it is: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.")
    ] = "SCRAM-SHA-512"
    username: Annotated[str | None, Meta(description="User for SASL.")] = None
    password: Annotated[str | None, _SECRET, Meta(description="Password for SASL.")] = None

    @property
    def retry_backoff(self) -> Millis:
        """Before what failed is sent again."""
        return 100

    @property
    def metadata_max_age(self) -> Millis:
        """How long to go on without asking which broker leads what."""
        return 5 * MINUTE

    @property
    def connections_max_idle(self) -> Millis:
        """After this a connection that nobody uses is closed."""
        return 9 * MINUTE


class Cassandra(_Group, frozen=True, kw_only=True):
    """The read models of the cluster profile."""

    contact_points: Annotated[
        tuple[str, ...], Meta(description="Nodes, `host` or `host:port`, separated by commas. Cluster profile only.")
    ] = ()
    keyspace: Annotated[
        _Keyspace,
        Meta(description="Keyspace of the read models; made at the first start unless it is there. One per log."),
    ] = "taskscheduler"
    local_datacenter: Annotated[
        _Datacenter | None, Meta(description="Datacenter to ask; without it that of the first node reached.")
    ] = None
    replication: Annotated[
        int,
        Meta(ge=1, le=9, description="Copies in the local datacenter, when the keyspace is made. 1 is for trying out."),
    ] = 3
    consistency: Annotated[
        Consistency,
        Meta(
            description="How many copies answer each read and write: `LOCAL_QUORUM`, `LOCAL_ONE`, `ONE`, `QUORUM` or "
            "`ALL`. With less than a quorum a reader may miss its own writes."
        ),
    ] = "LOCAL_QUORUM"
    tls: Annotated[bool, Meta(description="Encrypt connections to the nodes and check their certificates.")] = False
    verify_hostname: Annotated[
        bool, Meta(description="Check that a node's certificate names the address at which it was reached.")
    ] = True
    ca_file: Annotated[
        Path | None, Meta(description="Certificates to trust, PEM; without it those that the system trusts.")
    ] = None
    cert_file: Annotated[
        Path | None, Meta(description="The client's own certificate, PEM, where nodes ask for one.")
    ] = None
    key_file: Annotated[
        Path | None, Meta(description="Key of the client's certificate, PEM, where it is not in `cassandra.cert_file`.")
    ] = None
    key_password: Annotated[str | None, _SECRET, Meta(description="Password of the key.")] = None
    username: Annotated[str | None, Meta(description="User. Cluster profile only.")] = None
    password: Annotated[str | None, _SECRET, Meta(description="Password. Cluster profile only.")] = None
    request_timeout: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How long a node may take to answer a read or a write.")
    ] = 5 * SECOND
    connect_timeout: Annotated[
        Millis, _POSITIVE_DURATION, Meta(description="How long connecting to a node may take.")
    ] = 5 * SECOND
    batch_bytes: Annotated[
        int,
        Meta(
            ge=1_024,
            le=1_048_576,
            description="Most bytes in one write of read models. Larger ones cost less: raise it together with the "
            "nodes' `batch_size_warn_threshold` and `unlogged_batch_across_partitions_warn_threshold`.",
        ),
    ] = 4_096
    catch_up_timeout: Annotated[
        Millis,
        _POSITIVE_DURATION,
        Meta(description="How long a query that carries a consistency token waits for the read models; then 503."),
    ] = 5 * SECOND


class Flink(_Group, frozen=True, kw_only=True):
    """The timers of the cluster profile: a job on a Flink cluster, started by `taskscheduler flink submit`."""

    url: Annotated[str, Meta(pattern="^https?://[^/]+/?$", description="REST interface of Flink's JobManager.")] = (
        "http://127.0.0.1:8081"
    )
    ca_file: Annotated[
        Path | None,
        Meta(
            description="Certificates to trust where `flink.url` begins with https, PEM; without it the "
            "system's, and for `flink submit` those of Java as well."
        ),
    ] = None
    cert_file: Annotated[
        Path | None,
        Meta(description="The client's own certificate, PEM, where the JobManager asks for one."),
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(description="Key of the client's certificate, PEM (PKCS #8), where it is not in `flink.cert_file`."),
    ] = None
    key_password: Annotated[str | None, _SECRET, Meta(description="Password of the key.")] = None
    home: Annotated[
        Path | None,
        Meta(
            description="A Flink distribution with the Kafka connector in `lib`, for `flink submit`; without it that "
            "of the environment variable FLINK_HOME, else one is made from the wheel of apache-flink."
        ),
    ] = None
    python: Annotated[
        _Text | None,
        Meta(description="Python on the TaskManagers; without it the path of the one that submits."),
    ] = None
    parallelism: Annotated[
        int, Meta(ge=1, le=128, description="Slots that the job takes. Threads of one TaskManager share one Python.")
    ] = 1
    checkpoints: Annotated[
        _Text | None,
        Meta(
            description="Where checkpoints are kept, a URI that every machine of the Flink cluster reaches; without it "
            "what Flink's own configuration says.",
        ),
    ] = None
    checkpoint_interval: Annotated[
        Millis,
        _POSITIVE_DURATION,
        Meta(description="How often the job's state is saved: after a failure as much of the log is read again."),
    ] = 20 * SECOND


class Settings(_Group, frozen=True, kw_only=True):
    """All settings of a server; `Settings()` has the defaults."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")] = 8080
    data_dir: Annotated[Path, Meta(description="Where everything is kept. One server per directory.")] = Path("data")
    profile: Annotated[
        Profile,
        Meta(description="`embedded` keeps everything in one process; `cluster` uses Kafka, Flink and Cassandra."),
    ] = "embedded"
    roles: Annotated[
        tuple[Role, ...],
        Meta(
            min_length=1,
            description="What this process does, separated by commas: `api`, `triggers`, `dispatch`, `projections`. "
            "Cluster profile only; an embedded server does everything.",
        ),
    ] = ROLES
    allow_unauthenticated: Annotated[
        bool,
        Meta(description="Let the server listen on an address that others can reach, although anyone may then use it."),
    ] = False
    late_after: Annotated[
        Millis, _DURATION, Meta(description="A fire time found later than this counts as missed: `catch_up` decides.")
    ] = 60 * SECOND
    http: Http = Http()
    secrets: Secrets = Secrets()
    retention: Retention = Retention()
    log: Log = Log()
    commands: Commands = Commands()
    claims: Claims = Claims()
    ledger: LedgerChecks = LedgerChecks()
    bulk: Bulk = Bulk()
    shutdown: Shutdown = Shutdown()
    kafka: Kafka = Kafka()
    kafka_target: KafkaTarget = KafkaTarget()
    cassandra: Cassandra = Cassandra()
    flink: Flink = Flink()

    @property
    def kafka_of_targets(self) -> KafkaTarget | Kafka | None:
        """How the brokers of kafka targets are reached; None where there are none."""
        if self.kafka_target.bootstrap_servers:
            return self.kafka_target
        return self.kafka if self.profile == "cluster" else None

    def check(self) -> None:
        """Raises SettingsError when the settings contradict each other."""
        if self.profile == "cluster":
            self._check_cluster()
        elif set(self.roles) != set(ROLES):
            raise SettingsError("roles: an embedded server does everything; set profile to 'cluster' to part the roles")
        self._check_http()
        if not self.allow_unauthenticated and not is_loopback(self.host):
            raise SettingsError(
                f"host: {self.host!r} can be reached by others, and anyone could then use the scheduler; "
                "listen on 127.0.0.1, or set allow_unauthenticated to true"
            )

    def _check_http(self) -> None:
        try:
            Egress(self.http)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        if self.http.proxy is None and (self.http.proxy_username or self.http.proxy_password):
            raise SettingsError("http.proxy: needed too; http.proxy_username and http.proxy_password are for it")
        if self.http.only_allowed and not self.http.allow:
            raise SettingsError("http.allow: name what http targets may call, or set http.only_allowed to false")

    def _check_cluster(self) -> None:
        if not self.kafka.bootstrap_servers:
            raise SettingsError("kafka.bootstrap_servers: the cluster profile needs it, such as 127.0.0.1:9092")
        if not self.cassandra.contact_points and {"api", "projections"} & set(self.roles):
            raise SettingsError("cassandra.contact_points: the roles api and projections need it, such as 127.0.0.1")
        if self.claims.secret is None and "api" in self.roles:
            raise SettingsError(
                "claims.secret: the role api needs it, the same for all instances: any 32 random characters or more"
            )


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: `path` is such as `http.connect_timeout`."""

    path: str
    type: Any
    default: Any
    doc: str
    duration: bool
    secret: bool
    words: bool

    @property
    def env(self) -> str:
        """Its environment variable."""
        return env_name(self.path)

    def show(self, value: Any) -> str:
        """The value as it is written in a configuration file; secrets are masked."""
        if value is None or value == ():
            return ""
        if self.secret:
            return "********"
        if self.duration:
            return format_duration(value)
        if isinstance(value, bool):
            return str(value).lower()
        return ",".join(value) if isinstance(value, tuple) else str(value)


def env_name(path: str) -> str:
    """The environment variable of a setting: `TASKSCHEDULER_HTTP__CONNECT_TIMEOUT`."""
    return ENV_PREFIX + path.replace(".", "__").upper()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def fields(kind: type[msgspec.Struct] = Settings, prefix: str = "") -> Iterator[Field]:
    """All settings, in the order of the reference."""
    hints = get_type_hints(kind, include_extras=True)
    for info in msgspec.structs.fields(kind):
        annotated = hints[info.name]
        path = prefix + info.name
        if isinstance(annotated, type) and issubclass(annotated, _Group):
            yield from fields(annotated, path + ".")
            continue
        metas = annotated.__metadata__
        extra = {key for meta in metas for key in meta.extra or {}}
        yield Field(
            path=path,
            type=annotated,
            default=info.default,
            doc=next(meta.description for meta in metas if meta.description),
            duration="duration" in extra,
            secret="secret" in extra,
            words="words" in extra,
        )


FIELDS: dict[str, Field] = {field.path: field for field in fields()}


def reference() -> str:
    """The table of docs/configuration.md."""
    lines = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for field in FIELDS.values():
        default = field.show(field.default)
        lines.append(f"| `{field.path}` | `{field.env}` | {f'`{default}`' if default else 'none'} | {field.doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
