"""How long a submission waits for the job, and for which failures it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from taskscheduler.api.settings import Flink as Settings
from taskscheduler.streams.flink import control
from taskscheduler.streams.flink.rest import FlinkRefused, FlinkUnavailable, Job, flink_rest

NO_SLOT = "org.apache.flink.runtime.jobmanager.scheduler.NoResourceAvailableException: no resources"


class Flink:
    """Tells the same job in one state after another, the last one for ever."""

    def __init__(self, *states: Job) -> None:
        self._states: Iterator[Job] = iter(states)
        self._last = states[-1]

    async def describe(self, name: str) -> Job:
        return next(self._states, self._last)


def job(running: bool = False, failure: str | None = None) -> Job:
    return Job("id", "timers", "RUNNING" if running else "RESTARTING", 1, running=running, failure=failure)


async def started(*states: Job) -> Job:
    flink: Any = Flink(*states)
    return await control._running(flink, "timers")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_POLL", 0)
    monkeypatch.setattr(control, "_START_SECONDS", 0.05)


async def test_a_lack_of_slots_that_passes_is_waited_for() -> None:
    assert (await started(job(failure=NO_SLOT), job(failure=NO_SLOT), job(running=True, failure=NO_SLOT))).running


async def test_a_lack_of_slots_that_lasts_is_told_with_what_to_look_for() -> None:
    with pytest.raises(FlinkRefused, match="a free slot"):
        await started(job(failure=NO_SLOT))


async def test_one_that_comes_back_is_waited_for_whatever_it_failed_of() -> None:
    flink: Any = Flink(job(failure="TaskManager lost"), job(failure="TaskManager lost"), job(running=True))
    assert (await control._running(flink, "timers", again=True)).running
    flink = Flink(job(failure="TaskManager lost"))
    with pytest.raises(FlinkRefused, match=r"RESTARTING after .* a free slot.*its last failure: TaskManager lost"):
        await control._running(flink, "timers", again=True)


@pytest.mark.parametrize("answer", [{"title": "Not found"}, ["nothing"]])
async def test_another_server_is_no_job_manager(answer: Any) -> None:
    async def reply(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(answer, status=404 if isinstance(answer, dict) else 200)

    async with RawTestServer(reply) as server, flink_rest(Settings(url=str(server.make_url("")))) as rest:
        with pytest.raises(FlinkUnavailable, match="is no JobManager of Flink"):
            await rest.find("timers")


async def test_any_other_failure_is_told_at_once() -> None:
    with pytest.raises(FlinkRefused, match="OtherLog"):
        await started(job(failure="OtherLog: partition 0"), job(running=True))
