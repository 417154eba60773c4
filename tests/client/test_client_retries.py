"""What both clients do when the server, or the way to it, fails."""

import inspect
import socket
from datetime import UTC, datetime
from typing import Any

import pytest
from client_stub import Stub

from taskscheduler.client import ApiError, AsyncClient, Client, Conflict, Invalid, TaskSpec, Unavailable, Unreachable
from taskscheduler.client.exchange import Exchange

NOOP = {"type": "noop"}
SINCE, UNTIL = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)


def exchange(slept: list[float], timeout: float = 30.0) -> Exchange:
    """Time passes only by waiting between tries; waits are not shortened."""
    return Exchange(timeout, clock=lambda: sum(slept), chance=lambda: 0.0)


def keys(stub: Stub, part: str) -> list[str | None]:
    return [seen.headers.get("Idempotency-Key") for seen in stub.asked(part)]


async def test_every_write_is_repeated_under_its_key(stub: Stub, make_client: Any) -> None:
    client = make_client(stub.url)
    task = await client.create_task(name="t", target=NOOP)
    writes = [
        ("POST /api/tasks", lambda: client.create_task(name="x", target=NOOP)),
        ("PATCH ", lambda: client.update_task(task.id, {"name": "y"})),
        ("/pause", lambda: client.pause(task.id)),
        ("/resume", lambda: client.resume(task.id)),
        ("/owed/purge", lambda: client.purge_owed(task.id)),
        ("/backfill", lambda: client.backfill(task.id, SINCE, UNTIL)),
        ("/cancel", lambda: client.cancel_backfill(task.id, "b1")),
        ("/trigger", lambda: client.trigger(task.id)),
        ("/retry", lambda: client.retry(task.id)),
        ("/cancel", lambda: client.cancel(task.id)),
        ("DELETE ", lambda: client.delete(task.id)),
    ]
    for part, write in writes:
        stub.seen.clear()
        stub.fault(part, 503)
        stub.fault(part, lose_reply=True)
        await write()
        sent = keys(stub, part)
        assert len(sent) == 3, part
        assert sent[0]
        assert len(set(sent)) == 1, part


@pytest.mark.parametrize("lose_reply", [True, False])
async def test_a_dropped_connection_makes_no_second_task(stub: Stub, make_client: Any, lose_reply: bool) -> None:
    if lose_reply:
        stub.fault("POST /api/tasks", lose_reply=True)
    else:
        stub.fault("POST /api/tasks", lose_reply=True, times=2)
    task = await make_client(stub.url).create_task(name="once", target=NOOP)
    assert list(stub.tasks) == [task.id]


async def test_a_key_of_the_caller_is_used(stub: Stub, make_client: Any) -> None:
    client = make_client(stub.url)
    task = await client.create_task(name="t", target=NOOP, idempotency_key="mine")
    await client.pause(task.id, idempotency_key="mine-too")
    assert keys(stub, "POST") == ["mine", "mine-too"]


async def test_waits_grow_and_obey_the_server(stub: Stub, make_client: Any) -> None:
    slept: list[float] = []
    stub.fault("GET", 503, times=3)
    stub.fault("GET", 429, headers={"Retry-After": "7"})
    stub.fault("GET", 503, headers={"Retry-After": "0"})
    await make_client(stub.url, slept=slept, exchange=exchange(slept)).list_tasks()
    assert slept == pytest.approx([0.1, 0.2, 0.4, 7.0, 1.6])


async def test_waits_are_shortened_at_random() -> None:
    slept: list[float] = []
    tries = Exchange(30.0, clock=lambda: 0.0, chance=lambda: 1.0).tries()
    slept += [tries.wait_before_next() or 0.0, tries.wait_before_next() or 0.0]
    assert slept == pytest.approx([0.05, 0.1])


async def test_trying_ends_within_the_timeout(stub: Stub, make_client: Any) -> None:
    slept: list[float] = []
    stub.fault("POST", 503, times=1000, headers={"Retry-After": "2"})
    with pytest.raises(Unavailable) as raised:
        await make_client(stub.url, slept=slept, exchange=exchange(slept)).create_task(name="t", target=NOOP)
    assert (raised.value.status, raised.value.retry_after) == (503, 2.0)
    assert 20 < sum(slept) < 30


async def test_a_wait_beyond_the_timeout_is_not_begun(stub: Stub, make_client: Any) -> None:
    slept: list[float] = []
    stub.fault("POST", 503, headers={"Retry-After": "31"})
    with pytest.raises(Unavailable):
        await make_client(stub.url, slept=slept, exchange=exchange(slept)).create_task(name="t", target=NOOP)
    assert slept == []


async def test_nobody_listening_is_unreachable(make_client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    slept: list[float] = []
    with pytest.raises(Unreachable) as raised:
        await make_client(url, slept=slept, exchange=exchange(slept, 5.0)).get_task("t")
    assert raised.value.status == 0
    assert 2 < sum(slept) < 5


async def test_one_try_that_hangs_leaves_time_for_another() -> None:
    now = [0.0]
    tries = Exchange(30.0, clock=lambda: now[0]).tries()
    assert tries.time_limit() == 15.0
    now[0] = 20.0
    assert tries.time_limit() == 10.0


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Invalid), (409, Conflict), (413, Invalid), (415, Invalid), (500, ApiError)]
)
async def test_a_refusal_is_not_repeated(stub: Stub, make_client: Any, status: int, kind: type[ApiError]) -> None:
    slept: list[float] = []
    stub.fault("POST", status)
    with pytest.raises(kind) as raised:
        await make_client(stub.url, slept=slept).create_task(name="t", target=NOOP)
    assert (raised.value.status, raised.value.title) == (status, "made to fail")
    assert (slept, len(stub.seen)) == ([], 1)


async def test_an_error_that_is_no_problem_document_is_shown(stub: Stub, make_client: Any) -> None:
    stub.fault("GET", 500, body=["<html>broken</html>"])
    with pytest.raises(ApiError, match="<html>broken</html>"):
        await make_client(stub.url).list_tasks()


async def test_a_reply_of_another_shape_is_an_api_error(stub: Stub, make_client: Any) -> None:
    stub.fault("GET", 200, body={"no": "items"})
    with pytest.raises(ApiError, match="cannot be read"):
        await make_client(stub.url).list_tasks()


async def test_a_field_that_is_no_json_is_not_sent(stub: Stub, make_client: Any) -> None:
    with pytest.raises(Invalid):
        await make_client(stub.url).create_task(name="t", target=NOOP, payload=object())
    with pytest.raises(TypeError):
        await make_client(stub.url).create_task(name="t", target=NOOP, no_such_field=1)
    assert stub.seen == []


async def test_undecided_tasks_of_a_batch_are_sent_again(stub: Stub, make_client: Any) -> None:
    half = {"results": [{"status": 422, "error": {"title": "bad"}}, {"status": 503, "error": {"title": "later"}}]}
    stub.fault("/batch", 200, body=half)
    specs = [TaskSpec(name="", target=NOOP), TaskSpec(name="b", target=NOOP)]
    bad, good = await make_client(stub.url).create_tasks(specs)
    assert (bad.status, good.status, good.task.name) == (422, 201, "b")
    first, second = (seen.body["tasks"] for seen in stub.asked("/batch"))
    assert first == second
    assert len({task["idempotency_key"] for task in first}) == 2


async def test_batches_are_cut_to_what_the_server_takes(stub: Stub, make_client: Any) -> None:
    made = await make_client(stub.url).create_tasks([TaskSpec(name=f"t{n}", target=NOOP) for n in range(2001)])
    assert [one.task.name for one in made] == [f"t{n}" for n in range(2001)]
    assert [len(seen.body["tasks"]) for seen in stub.asked("/batch")] == [1000, 1000, 1]


async def test_large_tasks_go_in_smaller_batches(stub: Stub, make_client: Any) -> None:
    specs = [TaskSpec(name=f"t{n}", target=NOOP, payload="x" * 200_000) for n in range(70)]
    assert len(await make_client(stub.url).create_tasks(specs)) == 70
    assert [len(seen.body["tasks"]) for seen in stub.asked("/batch")] == [62, 8]


async def test_queries_carry_the_tokens_of_earlier_writes(stub: Stub, make_client: Any) -> None:
    client = make_client(stub.url)
    await client.list_tasks()
    first = await client.create_task(name="a", target=NOOP)
    second = await client.create_task(name="b", target=NOOP)
    await client.pause(second.id)
    await client.get_task(first.id)
    await client.runs(second.id)
    await client.list_tasks()
    sent = [seen.headers.get("Consistency-Token") for seen in stub.asked("GET")]
    assert sent == [None, f"{first.id}@1", f"{second.id}@2", f"{second.id}@2,{first.id}@1"]


async def test_health_of_a_server_that_is_not_well(stub: Stub, make_client: Any) -> None:
    stub.fault("/actuator/health", 503, body={"status": "DOWN"})
    assert (await make_client(stub.url).health()).status == "DOWN"
    assert len(stub.seen) == 1


async def test_filters_are_sent(stub: Stub, make_client: Any) -> None:
    await make_client(stub.url).list_tasks(
        status="failed", name="a&b", tags={"x": "1", "y": "2"}, sort="-created_at", limit=7, cursor="9"
    )
    assert stub.seen[0].query == [
        ("status", "failed"),
        ("name", "a&b"),
        ("tag", "x:1"),
        ("tag", "y:2"),
        ("sort", "-created_at"),
        ("limit", "7"),
        ("cursor", "9"),
    ]


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(value).parameters)
            for name, value in vars(kind).items()
            if callable(value) and not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) > 15


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host", "http://", "http://host/?x=1"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_url_that_is_none_is_refused(kind: Any, url: str) -> None:
    with pytest.raises(ValueError, match="not the URL of a server"):
        kind(url)
