"""Payloads with types, places where a handler may be ended, and a worker that ends when there is nothing to do."""

import asyncio
from datetime import date
from typing import Any

import msgspec
import pytest
from client_stub import Stub
from fake_clock import FakeClock
from worker_kit import BEAT, submit

from taskscheduler.client import Cancelled, Job, Worker


class Line(msgspec.Struct):
    item: str
    count: int = 1


class Order(msgspec.Struct):
    due: date
    lines: list[Line]


GOOD = {"due": "2030-01-31", "lines": [{"item": "tea", "count": 2}]}


async def both(job: Job, order: Order) -> Any:
    return [job.attempt, order]


async def alone(order: Order) -> Any:
    return order


async def within(job: Job[Order]) -> Any:
    return job.payload.lines[0]


def threaded(order: Order) -> Any:
    return order.due


async def untyped(job: Job, payload) -> Any:  # type: ignore[no-untyped-def]
    return payload["due"]


async def named(job: "Job[Order]") -> Any:
    return job.payload.due.year


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (both, [1, GOOD]),
        (alone, GOOD),
        (within, {"item": "tea", "count": 2}),
        (threaded, "2030-01-31"),
        (untyped, "2030-01-31"),
        (named, 2030),
    ],
)
async def test_a_payload_is_decoded_and_a_result_encoded(stub: Stub, worker: Worker, handler: Any, result: Any) -> None:
    worker.handler("k")(handler)
    submit(stub, payload=GOOD)
    assert await worker.until_idle() == 1
    assert stub.outcomes()[0].get("result") == result


@pytest.mark.parametrize("handler", [both, alone, within, threaded])
async def test_a_payload_of_another_shape_fails_for_good_and_says_where(
    stub: Stub, worker: Worker, handler: Any
) -> None:
    worker.handler("k")(handler)
    submit(stub, payload={**GOOD, "lines": [{"item": "tea", "count": "two"}]})
    await worker.until_idle()
    [outcome] = stub.outcomes()
    message = "Expected `int`, got `str` - at `$.lines[0].count`"
    assert (outcome["error"], outcome["retryable"]) == ({"type": "InvalidPayload", "message": message}, False)


def test_a_type_that_cannot_be_found_or_decoded_is_refused_at_once(worker: Worker) -> None:
    with pytest.raises(ValueError, match="'Nowhere' of 'order' cannot be found"):

        @worker.handler("a")
        def lost(order: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ValueError, match="no payload can be decoded"):

        @worker.handler("b")
        def odd(order: Order | Line) -> None: ...


async def test_check_ends_a_handler_that_was_cancelled(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    ended: list[type[BaseException]] = []

    @worker.handler("k")
    def handle(job: Job) -> None:
        job.check()
        loop.call_soon_threadsafe(begun.set)
        job.cancelled.wait(20)
        try:
            job.check()
        except Cancelled as error:
            ended.append(type(error))
            raise

    submit(stub)
    start(worker)
    await begun.wait()
    next(iter(stub.held.values())).cancel = True
    await clock.pass_wait(BEAT)
    await stub.until(stub.outcomes)
    assert ended == [Cancelled]
    assert stub.outcomes()[0]["error"]["type"] == "Cancelled"


async def test_until_idle_runs_what_waits_and_what_that_brings(stub: Stub, worker: Worker) -> None:
    @worker.handler("k")
    async def handle(job: Job) -> None:
        if job.payload:
            submit(stub, payload=job.payload - 1)

    for _ in range(7):
        submit(stub, payload=2)
    assert await worker.until_idle() == 21
    assert len(stub.outcomes()) == 21
    assert await worker.until_idle() == 0
