"""What the job is built from, all of it known when it is submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from taskscheduler.domain.values import SECOND, Millis
from taskscheduler.streams.flink.kafka_properties import kafka_properties
from taskscheduler.streams.kafka.client_options import KafkaSettings
from taskscheduler.streams.kafka.messages import Genesis
from taskscheduler.streams.kafka.topics import Topics
from taskscheduler.streams.timers import FIRST_REPEAT, LONGEST_REPEAT
from taskscheduler.streams.tls import TlsSettings

MAX_PARALLELISM = 128
"""Parts that the state is cut into. Must never change: a savepoint with another number cannot be restored."""


class FlinkSettings(TlsSettings, Protocol):
    """What is told about Flink; the `flink` group of the settings has it. Times are milliseconds."""

    @property
    def url(self) -> str: ...
    @property
    def home(self) -> Path | None: ...
    @property
    def python(self) -> str | None: ...
    @property
    def parallelism(self) -> int: ...
    @property
    def checkpoints(self) -> str | None: ...
    @property
    def checkpoint_interval(self) -> Millis: ...


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A job for one log. `flink` and `kafka` are settings of Flink itself and of Kafka's clients in Java, by name.

    `rest` are certificates for the way to a JobManager behind TLS, by the names that Kafka's clients have for them.
    """

    name: str
    log_id: str
    partitions: int
    topics: Topics
    group_id: str
    kafka: dict[str, str]
    flink: dict[str, str]
    rest: dict[str, str] = {}
    first_repeat: Millis = FIRST_REPEAT
    longest_repeat: Millis = LONGEST_REPEAT


class Submitted(msgspec.Struct, frozen=True):
    """What became of a job that was handed to Flink: its id, or why there is none."""

    job_id: str = ""
    refusal: str = ""


def job_name(kafka: KafkaSettings) -> str:
    """By this name the job of a log is found among those of a Flink cluster."""
    return f"{kafka.topic_prefix}.timers"


def group_id(kafka: KafkaSettings) -> str:
    """The consumer group that shows how far the job has read."""
    return f"{kafka.topic_prefix}.timers"


def job_options(
    kafka: KafkaSettings, flink: FlinkSettings, topics: Topics, genesis: Genesis, python: str, savepoint: str | None
) -> JobOptions:
    """The options of a job that goes on from `savepoint`, or begins with the log. Raises KafkaRefused."""
    return JobOptions(
        name=job_name(kafka),
        log_id=genesis.log_id,
        partitions=genesis.partitions,
        topics=topics,
        group_id=group_id(kafka),
        kafka=kafka_properties(kafka),
        flink=_flink(flink, python, savepoint),
    )


def _flink(settings: FlinkSettings, python: str, savepoint: str | None) -> dict[str, str]:
    options = {
        "execution.attached": "false",
        "parallelism.default": str(settings.parallelism),
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        "pipeline.auto-generate-uids": "false",
        "pipeline.object-reuse": "true",
        "python.execution-mode": "thread",
        "python.executable": python,
        "table.local-time-zone": "UTC",
        "table.exec.uid.generation": "ALWAYS",
        # How long an envelope may wait for more to be sent together to the operator that keeps its stream.
        "execution.buffer-timeout.interval": "5 ms",
        "state.backend.type": "rocksdb",
        "state.backend.rocksdb.metrics.estimate-num-keys": "true",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.interval": f"{settings.checkpoint_interval} ms",
        "execution.checkpointing.min-pause": f"{settings.checkpoint_interval // 2} ms",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.tolerable-failed-checkpoints": "2147483647",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "200 ms",
        "restart-strategy.exponential-delay.backoff-multiplier": "2",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "restart-strategy.exponential-delay.jitter-factor": "0.1",
        "restart-strategy.exponential-delay.reset-backoff-threshold": f"{60 * SECOND} ms",
        # A TaskManager that is started again is back within seconds.
        "jobmanager.slot-request.timeout": "60 s",
    }
    if settings.checkpoints is not None:
        options["execution.checkpointing.dir"] = settings.checkpoints
    if savepoint is not None:
        options["execution.state-recovery.path"] = savepoint
    return options
