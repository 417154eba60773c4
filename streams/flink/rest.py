"""What Flink's JobManager tells and does over REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgspec

from taskscheduler.domain.values import Instant, Millis
from taskscheduler.streams.tls import TlsSettings, tls_context

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_POLL = 0.1
ENDED = frozenset({"FINISHED", "FAILED", "CANCELED"})


class RestSettings(TlsSettings, Protocol):
    """Where the JobManager is, and who it must be; the certificates count where the address begins with https."""

    @property
    def url(self) -> str: ...


class FlinkUnavailable(Exception):
    """The JobManager does not answer."""


class FlinkRefused(Exception):
    """Flink says no, or there is nothing to be asked: one line for the operator."""


class Checkpoint(msgspec.Struct, frozen=True):
    """The last one that is complete. `size` is the whole state's, in bytes, `written` what was new in it."""

    id: int
    completed_at: Instant
    duration: Millis
    size: int
    written: int
    location: str


class Job(msgspec.Struct, frozen=True):
    """A job and how it is. `running` tells that every part of it runs; `restarts` counts since it was submitted."""

    id: str
    name: str
    state: str
    started_at: Instant
    running: bool = False
    parallelism: int = 0
    restarts: int = 0
    failure: str | None = None
    failed_at: Instant | None = None
    checkpoint: Checkpoint | None = None


class FlinkRest:
    """Speaks with one JobManager; made by `flink_rest`. Everything raises FlinkUnavailable and FlinkRefused."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._session = session

    async def find(self, name: str) -> Job | None:
        """The job of this name that has not ended; None when there is none."""
        overview = await self._get("/jobs/overview")
        if not isinstance(overview, dict) or "jobs" not in overview:
            raise self._another()
        for one in overview["jobs"]:
            if one["name"] == name and one["state"] not in ENDED:
                return Job(one["jid"], name, one["state"], one["start-time"])
        return None

    async def describe(self, name: str) -> Job | None:
        """The same, with all there is to know."""
        job = await self.find(name)
        if job is None:
            return None
        path = f"/jobs/{job.id}"
        detail, checkpoints, exceptions, metrics = await asyncio.gather(
            self._get(path),
            self._get(f"{path}/checkpoints"),
            self._get(f"{path}/exceptions?maxExceptions=1"),
            self._get(f"{path}/metrics?get=numRestarts"),
        )
        vertices = detail["vertices"]
        failures = exceptions["exceptionHistory"]["entries"]
        return msgspec.structs.replace(
            job,
            state=detail["state"],
            running=detail["state"] == "RUNNING" and all(one["status"] == "RUNNING" for one in vertices),
            parallelism=max((one["parallelism"] for one in vertices), default=0),
            restarts=next((int(one["value"]) for one in metrics), 0),
            failure=_cause(failures[0]["stacktrace"]) if failures else None,
            failed_at=failures[0]["timestamp"] if failures else None,
            checkpoint=_checkpoint((checkpoints.get("latest") or {}).get("completed")),
        )

    async def savepoint(self, job_id: str, directory: str | None) -> str:
        """Take a savepoint; where it is."""
        return await self._saved(job_id, "savepoints", {"target-directory": directory, "cancel-job": False})

    async def stop(self, job_id: str, directory: str | None) -> str:
        """Take a savepoint and end the job with it; where it is."""
        return await self._saved(job_id, "stop", {"targetDirectory": directory, "drain": False})

    async def _saved(self, job_id: str, action: str, body: Mapping[str, Any]) -> str:
        started = await self._post(f"/jobs/{job_id}/{action}", body)
        while True:
            found = await self._get(f"/jobs/{job_id}/savepoints/{started['request-id']}")
            if found["status"]["id"] != "COMPLETED":
                await asyncio.sleep(_POLL)
                continue
            operation = found["operation"]
            if "failure-cause" in operation:
                raise FlinkRefused(f"the savepoint failed: {_cause(operation['failure-cause']['stack-trace'])}")
            location: str = operation["location"]
            return location

    async def _get(self, path: str) -> Any:
        return await self._ask("GET", path, None)

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._ask("POST", path, {key: value for key, value in body.items() if value is not None})

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            async with self._session.request(method, self._url + path, json=body, allow_redirects=False) as reply:
                content = await reply.read()
        except aiohttp.ClientConnectorCertificateError as error:
            said = getattr(error.certificate_error, "verify_message", None) or type(error.certificate_error).__name__
            raise FlinkRefused(f"flink.ca_file: it does not vouch for the JobManager at {self._url}: {said}") from None
        except aiohttp.ClientConnectorSSLError as error:
            raise FlinkRefused(
                f"flink.cert_file: no TLS with the JobManager at {self._url}, which may ask for a certificate: "
                f"{getattr(error.os_error, 'reason', None) or type(error.os_error).__name__}"
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise FlinkUnavailable(f"no answer from Flink's JobManager at {self._url}: {said}") from None
        if 300 <= reply.status < 400:
            raise FlinkRefused(f"flink.url: {self._url} says to ask {reply.headers.get('Location')} instead")
        try:
            found = msgspec.json.decode(content)
        except msgspec.DecodeError:
            raise self._another() from None
        if reply.status >= 400:
            errors = found.get("errors") if isinstance(found, dict) else None
            if errors is None:
                raise self._another()
            raise FlinkRefused(_cause("\n".join(errors) or f"status {reply.status}"))
        return found

    def _another(self) -> FlinkUnavailable:
        return FlinkUnavailable(f"what answers at {self._url} is no JobManager of Flink")


@asynccontextmanager
async def flink_rest(settings: RestSettings) -> AsyncIterator[FlinkRest]:
    """A connection to the JobManager. Raises FlinkRefused for certificates that cannot be used."""
    tls = tls_context(settings, "flink", FlinkRefused) if settings.url.startswith("https:") else True
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield FlinkRest(settings.url, session)


def _checkpoint(found: Mapping[str, Any] | None) -> Checkpoint | None:
    if not found:
        return None
    return Checkpoint(
        id=found["id"],
        completed_at=found["latest_ack_timestamp"],
        duration=found["end_to_end_duration"],
        size=found["state_size"],
        written=found["checkpointed_size"],
        location=found["external_path"],
    )


def _cause(trace: str) -> str:
    """The cause of causes in a Java stack trace, in one line."""
    lines = [line.strip() for line in trace.splitlines()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else next((line for line in lines if line), "it does not say why")
