"""The worker protocol: claims, repeated requests, tokens, heartbeats, outcomes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from taskscheduler.commands.handler import Unavailable
from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition, QueueTarget
from taskscheduler.domain.events import AttemptClaimed, Error
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.values import HOUR, MINUTE, SECOND
from taskscheduler.streams.dispatch.queue import Report
from taskscheduler.streams.dispatch.tokens import Token, Tokens, new_secret, token_hash
from tests.support.memory_log import MemoryLog
from tests.support.node import Node
from tests.support.virtual_time import clock, virtual


@asynccontextmanager
async def running(path: Path, log: MemoryLog | None = None) -> AsyncIterator[Node]:
    node = Node(path, log or MemoryLog(clock), clock)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def waiting(node: Node, name: str = "a", kind: str = "k", delay: int = 0, **fields: object) -> None:
    """A task that has a run waiting, or one after a delay."""
    schedule = OneTime(at=0, kind="delay", delay=delay) if delay else OneTime(at=0)
    definition = Definition(
        name=name,
        schedule=schedule,
        target=QueueTarget("q", kind),
        payload='{"p":1}',
        retry=Retry(jitter=0),
        **fields,  # type: ignore[arg-type]
    )
    await node.do(msg.Create(definition), name)
    if not delay:
        await asyncio.sleep(0.01)


@virtual
async def test_a_claim_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await waiting(node, timeout=MINUTE)
        created = clock() - 10
        [given] = await node.queue.claim("q", worker="w", lease=20 * SECOND)
        run = node.state().runs[given.run_id]
        assert (given.task_id, given.attempt, given.kind, given.payload) == ("a", 1, "k", '{"p":1}')
        assert given.scheduled_for == created
        assert (given.deadline, given.lease_until) == (clock() + MINUTE, clock() + 20 * SECOND)
        assert run.attempts[0].worker == "w"
        await node.queue.complete(given.token, '{"r":1}')
        assert node.state().status == "completed"


@virtual
async def test_a_poll_waits_for_a_run_and_no_longer_than_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        began = clock()
        assert await node.queue.claim("q", worker="w") == []
        assert clock() == began
        assert await node.queue.claim("q", worker="w", wait=5 * SECOND) == []
        assert clock() == began + 5 * SECOND
        await waiting(node, delay=3 * SECOND)
        [given] = await node.queue.claim("q", worker="w", wait=HOUR)
        assert clock() < began + 8 * SECOND + 100
        assert given.task_id == "a"


@virtual
async def test_kinds_and_numbers_are_kept_to(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for number in range(5):
            await waiting(node, f"t{number}", f"k{number % 2}")
        assert await node.queue.claim("other", worker="w", max=9) == []
        assert [g.task_id for g in await node.queue.claim("q", worker="w", kinds=["k1"], max=9)] == ["t1", "t3"]
        assert [g.task_id for g in await node.queue.claim("q", worker="w", max=2)] == ["t0", "t2"]
        assert [g.task_id for g in await node.queue.claim("q", worker="w", max=9)] == ["t4"]


@virtual
async def test_no_run_is_given_to_two_pollers(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        polls = [asyncio.ensure_future(node.queue.claim("q", worker=f"w{n}", max=3, wait=HOUR)) for n in range(8)]
        await asyncio.sleep(1)
        for number in range(24):
            await waiting(node, f"t{number}")
        claims = [given for poll in polls for given in await poll]
        while more := await node.queue.claim("q", worker="w", max=9):
            claims += more
        assert sorted(given.task_id for given in claims) == sorted(f"t{number}" for number in range(24))


@virtual
async def test_the_same_request_gets_the_same_claims(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for number in range(3):
            await waiting(node, f"t{number}")
        first = await node.queue.claim("q", worker="w", max=2, request_id="r")
        again = await node.queue.claim("q", worker="w", max=2, request_id="r")
        assert again == first
        assert [given.task_id for given in first] == ["t0", "t1"]
        await node.queue.complete(first[0].token)
        assert await node.queue.claim("q", worker="w", max=2, request_id="r") == first[1:]
        [other] = await node.queue.claim("q", worker="x", max=2, request_id="r")
        assert other.task_id == "t2"


@virtual
async def test_the_same_request_gets_the_same_claims_after_a_crash(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start()
    await waiting(node)
    first = await node.queue.claim("q", worker="w", request_id="r")
    await node.crash()
    async with running(tmp_path, log) as node:
        assert await node.queue.claim("q", worker="w", request_id="r") == first
        await node.queue.complete(first[0].token)


@virtual
async def test_the_same_request_twice_at_once_is_one_poll(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        polls = [asyncio.ensure_future(node.queue.claim("q", worker="w", wait=HOUR, request_id="r")) for _ in range(3)]
        await asyncio.sleep(1)
        for number in range(3):
            await waiting(node, f"t{number}")
        results = await asyncio.gather(*polls)
        assert results[0] == results[1] == results[2]
        assert len(results[0]) == 1


@virtual
async def test_a_request_that_comes_again_while_its_poll_ends_is_a_new_poll(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        gone = asyncio.ensure_future(node.queue.claim("q", worker="w", wait=HOUR, request_id="r"))
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.sleep(0)
        again = asyncio.ensure_future(node.queue.claim("q", worker="w", wait=HOUR, request_id="r"))
        await asyncio.sleep(1)
        assert not again.done()
        await waiting(node)
        assert len(await again) == 1


@virtual
async def test_a_request_that_comes_again_while_its_claims_are_decided_gets_them(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    async with running(tmp_path, log) as node:
        await waiting(node)
        log.held.clear()
        gone = asyncio.ensure_future(node.queue.claim("q", worker="w", wait=HOUR, request_id="r"))
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        again = asyncio.ensure_future(node.queue.claim("q", worker="w", wait=1, request_id="r"))
        await asyncio.sleep(1)
        log.held.set()
        assert len(await again) == 1


@virtual
async def test_a_poll_that_nobody_waits_for_takes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for request_id in ("r", None):
            poll = asyncio.ensure_future(node.queue.claim("q", worker="w", wait=HOUR, request_id=request_id))
            await asyncio.sleep(1)
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
        await waiting(node)
        [given] = await node.queue.claim("q", worker="x")
        assert given.task_id == "a"


@virtual
async def test_an_outage_is_told_to_the_worker_and_loses_no_run(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    async with running(tmp_path, log) as node:
        await waiting(node)
        log.down = True
        with pytest.raises(Unavailable):
            await node.queue.claim("q", worker="w", wait=HOUR)
        log.down = False
        assert len(await node.queue.claim("q", worker="w")) == 1


@virtual
async def test_closing_ends_polls_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        poll = asyncio.ensure_future(node.queue.claim("q", worker="w", wait=HOUR))
        await asyncio.sleep(1)
        began = clock()
        node.queue.close()
        assert await poll == []
        assert clock() == began
        await waiting(node)
        assert await node.queue.claim("q", worker="w") == []


@virtual
async def test_tokens_cannot_be_guessed_or_changed(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await waiting(node)
        [given] = await node.queue.claim("q", worker="w")
        good = given.token
        raw = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
        forged = [
            "",
            "x",
            "ä",
            good + "A",
            good[:-1],
            good + "=",
            *(good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :] for place in range(len(good))),
            Tokens(b"another secret").make(Token("a", given.run_id, 1, "n")),
            base64.urlsafe_b64encode(raw[:18] + raw[18:].replace(b"a\0", b"b\0", 1)).rstrip(b"=").decode(),
        ]
        for token in forged:
            for call in (node.queue.heartbeat, node.queue.complete):
                with pytest.raises(errors.ClaimUnknown):
                    await call(token)
        with pytest.raises(errors.ClaimUnknown):
            await node.queue.fail("x", Error("E", "why"))
        await node.queue.complete(good)


@virtual
async def test_the_log_holds_no_token(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    async with running(tmp_path, log) as node:
        await waiting(node)
        [given] = await node.queue.claim("q", worker="w", request_id="secret request")
        [claimed] = [e for record in log.records for e in record.events if isinstance(e, AttemptClaimed)]
        assert claimed.token_hash == token_hash(given.token)
        assert given.token not in str(log.records)
        assert "secret request" not in str(log.records)


def test_tokens_differ_by_secret_and_by_attempt() -> None:
    token = Token("a", "r", 1, "n")
    texts = {
        Tokens(secret).make(one)
        for secret in (new_secret(b"1" * 32), new_secret(b"2" * 32))
        for one in (token, token._replace(number=2), token._replace(nonce="m"), token._replace(run_id="s"))
    }
    assert len(texts) == 8
    assert Tokens(b"s").read(Tokens(b"s").make(token)) == token


@virtual
async def test_heartbeats_hold_the_lease_and_tell_of_cancellation(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await waiting(node, timeout=HOUR)
        [given] = await node.queue.claim("q", worker="w", lease=30 * SECOND)
        for _ in range(10):
            await asyncio.sleep(20)
            beat = await node.queue.heartbeat(given.token, '{"done":1}')
            assert (beat.cancel_requested, beat.lease_until) == (False, clock() + 30 * SECOND)
        assert (await node.queue.heartbeat(given.token)).lease_until == clock() + 30 * SECOND
        await node.do(msg.Cancel())
        assert (await node.queue.heartbeat(given.token)).cancel_requested
        with pytest.raises(errors.ClaimLost):
            await node.queue.complete(given.token)


@virtual
async def test_a_silent_worker_loses_its_claim_to_another(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await waiting(node)
        [first] = await node.queue.claim("q", worker="w", lease=30 * SECOND)
        [second] = await node.queue.claim("q", worker="x", wait=HOUR)
        assert (second.run_id, second.attempt) == (first.run_id, 2)
        for call in (node.queue.heartbeat, node.queue.complete):
            with pytest.raises(errors.ClaimLost):
                await call(first.token)
        await node.queue.complete(second.token)
        last = node.state().last_run
        assert last is not None
        assert [(a.worker, a.outcome, a.late_report) for a in last.attempts] == [
            ("w", "lost", True),
            ("x", "succeeded", False),
        ]


@virtual
async def test_many_outcomes_at_once_each_on_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for number in range(3):
            await waiting(node, f"t{number}")
        claims = await node.queue.claim("q", worker="w", max=3)
        await node.do(msg.Cancel(), "t1")
        answers = await node.queue.report(
            [
                Report(claims[0].token, '{"ok":1}'),
                Report(claims[1].token),
                Report("nonsense"),
                Report(claims[2].token, error=Error("E", "why"), retryable=False),
                Report(claims[0].token, '{"ok":1}'),
            ]
        )
        assert [type(answer) for answer in answers] == [
            type(None),
            errors.ClaimLost,
            errors.ClaimUnknown,
            type(None),
            type(None),
        ]
        assert [node.state(f"t{number}").status for number in range(3)] == ["completed", "cancelled", "failed"]


@virtual
async def test_a_failed_attempt_is_given_again_after_its_delay(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await waiting(node)
        [first] = await node.queue.claim("q", worker="w")
        await node.queue.fail(first.token, Error("E", "why"), retry_after=7 * SECOND)
        failed = clock()
        [second] = await node.queue.claim("q", worker="w", wait=HOUR)
        assert second.attempt == 2
        assert clock() - failed == pytest.approx(7 * SECOND, abs=50)


@virtual
async def test_who_joins_a_request_waits_no_longer_than_it_says(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        first = asyncio.create_task(node.queue.claim("q", worker="w", wait=MINUTE, request_id="r"))
        await asyncio.sleep(0.01)
        began = clock()
        assert await node.queue.claim("q", worker="w", request_id="r") == []
        assert clock() - began < SECOND
        assert not first.done()
        await waiting(node)
        assert len(await first) == 1
