"""Submitting the job of a log, asking how it is, saving its state, and stopping it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from taskscheduler.streams.flink.kafka_properties import tls_properties
from taskscheduler.streams.flink.offsets import begin_with_the_log
from taskscheduler.streams.flink.options import FlinkSettings, JobOptions, Submitted, job_name, job_options
from taskscheduler.streams.flink.rest import FlinkRefused, FlinkRest, Job, flink_rest
from taskscheduler.streams.kafka.client_options import KafkaSettings
from taskscheduler.streams.kafka.genesis import find_or_begin
from taskscheduler.streams.kafka.topics import prepare_topics

_SUBMISSION = "taskscheduler.streams.flink.submission"
_SUBMISSION_SECONDS = 180.0
_START_SECONDS = 90.0
_POLL = 0.2
_NO_SLOT = "NoResourceAvailableException"
"""Says nothing about the job: a TaskManager that comes, or comes back, has slots a moment later."""

_JAVA_OPTIONS = (
    "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "
    "--add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED"
)


async def submit(
    kafka: KafkaSettings,
    flink: FlinkSettings,
    *,
    environment: Mapping[str, str],
    savepoint: str | None = None,
    changed: Mapping[str, object] | None = None,
) -> Job:
    """Start the job of a log and wait until every part of it runs.

    It goes on from `savepoint`, else it reads the log from the beginning. `environment` says where Flink is for those
    who submit (FLINK_HOME and the like), `changed` are other values of JobOptions. Raises KafkaRefused, FlinkRefused,
    FlinkUnavailable.
    """
    name = job_name(kafka)
    async with flink_rest(flink) as rest:
        if (running := await rest.find(name)) is not None:
            raise FlinkRefused(f"{name} runs already, as job {running.id}")
        topics = await prepare_topics(kafka)
        genesis = await find_or_begin(kafka, topics.decisions)
        options = job_options(kafka, flink, topics, genesis, flink.python or sys.executable, savepoint)
        options = msgspec.structs.replace(
            options, flink={**options.flink, **_target(flink.url)}, rest=_certificates(flink), **(changed or {})
        )
        if savepoint is None:
            await begin_with_the_log(kafka, topics.decisions, genesis.partitions, options.group_id)
        submitted = await _submitted(options, environment)
        if submitted.refusal:
            raise FlinkRefused(submitted.refusal)
        return await _running(rest, name)


async def status(kafka: KafkaSettings, flink: FlinkSettings) -> Job | None:
    """How the job of a log is; None when there is none. Raises FlinkUnavailable, FlinkRefused."""
    async with flink_rest(flink) as rest:
        return await rest.describe(job_name(kafka))


async def running(kafka: KafkaSettings, flink: FlinkSettings) -> Job:
    """The job of a log once every part of it runs, such as after a restart of Flink, whatever failed before.

    Raises FlinkUnavailable, and FlinkRefused when there is none or it takes too long.
    """
    async with flink_rest(flink) as rest:
        return await _running(rest, job_name(kafka), again=True)


async def savepoint(
    kafka: KafkaSettings, flink: FlinkSettings, directory: str | None = None, *, stop: bool = False
) -> str:
    """Save the job's state and say where; with `stop` the job ends with it. Raises FlinkUnavailable, FlinkRefused."""
    name = job_name(kafka)
    async with flink_rest(flink) as rest:
        job = await rest.find(name)
        if job is None:
            raise FlinkRefused(f"there is no job {name} at {flink.url}")
        return await (rest.stop if stop else rest.savepoint)(job.id, directory)


def _target(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FlinkRefused(f"flink.url: {url!r} is no address of a JobManager, such as http://127.0.0.1:8081")
    secure = parts.scheme == "https"
    return {
        "execution.target": "remote",
        "rest.address": parts.hostname,
        "rest.port": str(parts.port or (443 if secure else 80)),
        "security.ssl.rest.enabled": str(secure).lower(),
    }


def _certificates(flink: FlinkSettings) -> dict[str, str]:
    return tls_properties(flink, "flink", FlinkRefused) if flink.url.startswith("https:") else {}


async def _submitted(options: JobOptions, environment: Mapping[str, str]) -> Submitted:
    if importlib.util.find_spec("pyflink") is None:
        raise FlinkRefused("apache-flink is not installed: pip install 'taskscheduler[cluster]'")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _SUBMISSION),
        env={**os.environ, **environment, "FLINK_ENV_JAVA_OPTS": _JAVA_OPTIONS},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SUBMISSION_SECONDS):
            answer, said = await process.communicate(msgspec.json.encode(options))
    except TimeoutError:
        raise FlinkRefused(f"Flink did not take the job within {_SUBMISSION_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(answer, type=Submitted)
    except msgspec.DecodeError:
        lines = said.decode(errors="replace").strip().splitlines()
        raise FlinkRefused(f"the job could not be built: {lines[-1] if lines else process.returncode}") from None


async def _running(rest: FlinkRest, name: str, *, again: bool = False) -> Job:
    began = time.monotonic()
    while True:
        job = await rest.describe(name)
        if job is None:
            raise FlinkRefused(f"{name} has ended: see the log of the JobManager")
        if job.running:
            return job
        if not again and job.failure is not None and _NO_SLOT not in job.failure:
            raise FlinkRefused(f"{name} does not start, and will go on trying: {job.failure}")
        if time.monotonic() - began > _START_SECONDS:
            failed = f"; its last failure: {job.failure}" if job.failure else ""
            raise FlinkRefused(
                f"{name} is {job.state} after {_START_SECONDS:.0f} s: has a TaskManager a free slot?{failed}"
            )
        await asyncio.sleep(_POLL)
