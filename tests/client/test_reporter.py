"""How outcomes are brought to the server."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from client_stub import Stub
from fake_clock import FakeClock
from worker_kit import submit

from taskscheduler.client import Job, Worker
from taskscheduler.client.backoff import Backoff, Reply
from taskscheduler.client.job import success
from taskscheduler.client.reporter import Entry, Reporter


class Server:
    """Takes reports; each waits for an answer from the test, given in order."""

    def __init__(self) -> None:
        self.reports: list[list[dict[str, Any]]] = []
        self.keys: list[str] = []
        self.answers: asyncio.Queue[Reply | Exception] = asyncio.Queue()
        self.came = asyncio.Event()

    async def send(self, path: str, body: bytes, headers: dict[str, str], seconds: float) -> Reply:
        assert path == "/api/claims/report"
        self.reports.append(json.loads(body)["outcomes"])
        self.keys.append(headers["Idempotency-Key"])
        self.came.set()
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, *statuses: int) -> None:
        self.answers.put_nowait(reply(200, {"results": [{"status": status} for status in statuses]}))

    async def report(self) -> list[dict[str, Any]]:
        """Wait for the next report."""
        await asyncio.wait_for(self.came.wait(), 20)
        self.came.clear()
        return self.reports[-1]


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    return Reply(status, headers, json.dumps(body or {}).encode())


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def reporter(server: Server, clock: FakeClock) -> AsyncIterator[Reporter]:
    backoff = Backoff(chance=lambda: 0.0)
    made = Reporter(server.send, clock=clock, backoff=backoff, delivered=lambda: None)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait({task})


def add(reporter: Reporter, *tokens: str, result: Any = 1, held_for: float = 30.0) -> None:
    for token in tokens:
        reporter.add(Entry(token, success(result), 1000.0 + held_for, token))


def tokens(report: list[dict[str, Any]]) -> list[str]:
    return [outcome["token"] for outcome in report]


async def test_an_outcome_goes_at_once_and_those_that_follow_go_together(server: Server, reporter: Reporter) -> None:
    add(reporter, "a")
    assert await server.report() == [{"token": "a", "result": 1}]
    add(reporter, "b", "c")
    assert (reporter.backlog, reporter.idle.is_set()) == (3, False)
    server.answer(200)
    assert tokens(await server.report()) == ["b", "c"]
    server.answer(200, 200)
    await reporter.idle.wait()
    assert (reporter.backlog, len(server.reports)) == (0, 2)


async def test_a_report_is_cut_to_what_the_server_takes(server: Server, reporter: Reporter) -> None:
    add(reporter, *(f"t{n}" for n in range(150)))
    assert len(await server.report()) == 100
    server.answer(*[200] * 100)
    assert len(await server.report()) == 50
    server.answer(*[200] * 50)
    await reporter.idle.wait()
    add(reporter, *(f"t{n}" for n in range(20)), result="x" * 60_000)
    assert len(await server.report()) == 15


async def test_a_report_without_a_reply_is_repeated_as_it_was(
    server: Server, reporter: Reporter, clock: FakeClock
) -> None:
    add(reporter, "a", "b")
    await server.report()
    add(reporter, "c")
    server.answers.put_nowait(aiohttp.ServerDisconnectedError())
    await clock.pass_wait(0.1)
    assert tokens(await server.report()) == ["a", "b"]
    server.answers.put_nowait(reply(503, **{"retry-after": "4"}))
    await clock.pass_wait(4.0)
    assert tokens(await server.report()) == ["a", "b"]
    assert len(set(server.keys)) == 1
    server.answer(200, 200)
    assert tokens(await server.report()) == ["c"]
    assert len(set(server.keys)) == 2


async def test_an_outcome_is_given_up_once_its_lease_has_run_out(
    server: Server, reporter: Reporter, clock: FakeClock
) -> None:
    add(reporter, "short", held_for=5.0)
    add(reporter, "long")
    await server.report()
    clock.advance(4.95)
    server.answers.put_nowait(reply(503))
    await clock.pass_wait(0.1)
    assert tokens(await server.report()) == ["long"]
    clock.advance(30.0)
    server.answers.put_nowait(TimeoutError())
    await clock.pass_wait(0.2)
    await reporter.idle.wait()
    assert len(server.reports) == 2


async def test_each_outcome_is_settled_by_its_own_status(server: Server, reporter: Reporter, clock: FakeClock) -> None:
    add(reporter, "taken", "lost", "later", "refused")
    await server.report()
    server.answer(200, 409, 503, 422)
    await clock.pass_wait(0.1)
    assert tokens(await server.report()) == ["later"]
    assert len(set(server.keys)) == 2
    server.answer(200)
    (stand_in,) = await server.report()
    assert (stand_in["token"], stand_in["error"]["type"]) == ("refused", "OutcomeRefused")
    assert stand_in["retryable"] is False
    # A refused stand-in is not replaced again.
    server.answer(422)
    await reporter.idle.wait()


async def test_one_bad_outcome_does_not_take_the_others_with_it(server: Server, reporter: Reporter) -> None:
    add(reporter, "a", "bad")
    await server.report()
    server.answers.put_nowait(reply(422))
    assert tokens(await server.report()) == ["a"]
    server.answer(200)
    assert tokens(await server.report()) == ["bad"]
    server.answers.put_nowait(reply(422))
    (stand_in,) = await server.report()
    assert stand_in["error"]["type"] == "OutcomeRefused"


async def test_claims_stop_while_outcomes_cannot_be_delivered(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    ran = 0

    @worker.handler("k")
    async def handle(job: Job) -> None:
        nonlocal ran
        ran += 1

    for _ in range(400):
        submit(stub)
    stub.fault("report", 503, times=3)
    start(worker)
    for wait in (0.1, 0.2, 0.4):
        await stub.until(lambda: len(stub.held) >= 2)
        assert ran <= 204  # twice what may be held
        await clock.pass_wait(wait)
    await stub.until(lambda: sum(held.lost for held in stub.held.values()) == 400)
    assert ran == 400
