"""What both clients do, against any server that keeps to the API."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from taskscheduler.client import (
    CalendarSpec,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    StartedTask,
    TaskSpec,
)

LATER = {"at": datetime(2099, 1, 1, tzinfo=UTC)}
NOOP = {"type": "noop"}


def fresh(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def test_a_task_is_created_and_read_back(client: Any) -> None:
    name = fresh("report")
    made = await client.create_task(
        name=name, target=NOOP, schedule=LATER, payload={"page": 1}, timeout=timedelta(minutes=5), tags={"team": "a"}
    )
    read = await client.get_task(made.id)
    assert (read.name, read.payload, read.status, read.tags) == (name, {"page": 1}, "scheduled", {"team": "a"})
    assert read.timeout == timedelta(minutes=5)
    assert read.created_at.tzinfo is not None
    assert (read.revision, read.version, read.retry.max_attempts) == (1, 1, 3)


async def test_a_spec_may_be_reused_with_other_fields(client: Any) -> None:
    spec = TaskSpec(name=fresh("base"), target=NOOP, schedule=LATER)
    other = fresh("other")
    assert (await client.create_task(spec)).name == spec.name
    assert (await client.create_task(spec, name=other)).name == other


async def test_the_same_key_creates_one_task(client: Any) -> None:
    spec = TaskSpec(name=fresh("once"), target=NOOP, schedule=LATER, idempotency_key=fresh("key"))
    first, second = await client.create_task(spec), await client.create_task(spec)
    assert first.id == second.id
    assert (await client.create_task(spec, idempotency_key=fresh("key"))).id != first.id


async def test_a_batch_gives_each_task_its_own_outcome(client: Any) -> None:
    specs = [TaskSpec(name=name, target=NOOP, schedule=LATER) for name in (fresh("a"), "", fresh("c"))]
    first, bad, last = await client.create_tasks(specs)
    assert (first.status, first.task.name) == (201, specs[0].name)
    assert (last.status, last.task.name, last.error) == (201, specs[2].name, None)
    assert (bad.status, bad.task) == (422, None)
    assert isinstance(bad.error, Invalid)


async def test_an_empty_batch_asks_nothing(client: Any) -> None:
    assert await client.create_tasks([]) == []


async def test_iterating_gives_the_tasks_of_all_pages(client: Any) -> None:
    name = fresh("many")
    made = await client.create_tasks([TaskSpec(name=f"{name}-{n}", target=NOOP, schedule=LATER) for n in range(250)])
    page = await client.list_tasks(name=name, limit=100)
    assert (len(page.items), page.next_cursor is None) == (100, False)
    found = [task.id async for task in client.iter_tasks(name=name)]
    assert sorted(found) == sorted(one.task.id for one in made)


async def test_an_update_names_the_revision_it_is_for(client: Any) -> None:
    task = await client.create_task(name=fresh("old"), target=NOOP, schedule=LATER)
    name = fresh("new")
    changed = await client.update_task(task.id, {"name": name}, if_match=task.revision)
    assert (changed.name, changed.revision) == (name, 2)
    with pytest.raises(PreconditionFailed) as raised:
        await client.update_task(task.id, {"name": "x"}, if_match=task.revision)
    assert raised.value.status == 412


async def test_pausing_and_resuming(client: Any) -> None:
    task = await client.create_task(name=fresh("pause"), target=NOOP, schedule=LATER)
    paused = await client.pause(task.id, note="holiday")
    assert (paused.status, paused.pause.note) == ("paused", "holiday")
    resumed = await client.resume(task.id)
    assert (resumed.status, resumed.pause) == ("scheduled", None)


async def test_backfills_and_what_is_owed(client: Any) -> None:
    every: Any = {"every": "1h", "anchor": "2020-01-01T00:00:00Z"}
    queue = {"type": "queue", "queue": fresh("nobody"), "kind": "k"}
    task = await client.create_task(name=fresh("backfill"), target=queue, schedule=every, pause_on_failure=2)
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 3, tzinfo=UTC)
    begun = await client.backfill(task.id, since, until, overlap="buffer_all")
    [backfill] = begun.backfills
    assert (backfill.id, backfill.since, backfill.until) == (begun.backfill_id, since, until)
    assert (backfill.status, backfill.total, backfill.fired, backfill.remaining) == ("running", 3, 1, 2)
    ended = await client.cancel_backfill(task.id, begun.backfill_id)
    assert [one.status for one in ended.backfills] == ["cancelled"]
    await client.pause(task.id)
    assert (await client.resume(task.id, missed="latest")).pause is None


async def test_cancelling_twice_is_a_conflict(client: Any) -> None:
    task = await client.create_task(name=fresh("cancel"), target=NOOP, schedule=LATER)
    assert (await client.cancel(task.id)).status == "cancelled"
    with pytest.raises(Conflict) as raised:
        await client.cancel(task.id)
    assert raised.value.status == 409


async def test_a_trigger_starts_a_run(client: Any) -> None:
    queue = {"type": "queue", "queue": fresh("nobody"), "kind": "k"}
    task = await client.create_task(name=fresh("trigger"), target=queue, schedule=LATER)
    started = await client.trigger(task.id)
    assert isinstance(started, StartedTask)
    run = await client.run(task.id, started.run_id)
    assert (run.id, run.task_id, run.cause, run.status) == (started.run_id, task.id, "manual", "queued")
    assert [one.id for one in (await client.runs(task.id)).items] == [run.id]


async def test_a_ledger_is_read(client: Any) -> None:
    task = await client.create_task(name=fresh("counted"), target=NOOP, schedule={"every": "1h"})
    since, until = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, 12, tzinfo=UTC)
    found = await client.ledger(task.id, since=since, until=until)
    assert (found.task_id, found.since, found.until) == (task.id, since, until)
    assert (
        found.nominal == found.fired + found.caught_up + sum(found.skipped.values()) + found.to_come + found.differing
    )
    with pytest.raises(NotFound):
        await client.ledger("there-is-none")


async def test_an_answer_is_read(client: Any) -> None:
    task = await client.create_task(name=fresh("asked"), target=NOOP, schedule={"every": "1h"})
    at = datetime(2020, 1, 1, tzinfo=UTC)
    found = await client.why(task.id, at)
    assert (found.task_id, found.at, found.outcome) == (task.id, at, "not_a_fire_time")
    assert found.answer


async def test_a_deleted_task_is_gone(client: Any) -> None:
    task = await client.create_task(name=fresh("delete"), target=NOOP, schedule=LATER)
    assert await client.delete(task.id) is None
    with pytest.raises(Gone) as raised:
        await client.get_task(task.id)
    assert isinstance(raised.value, NotFound)


@pytest.mark.parametrize("task_id", ["nothing-here", "a/b", "a?b", "a b", "ä"])
async def test_an_unknown_task_is_not_found(client: Any, task_id: str) -> None:
    with pytest.raises(NotFound) as raised:
        await client.get_task(task_id)
    assert raised.value.status == 404


@pytest.mark.parametrize("task_id", ["", ".", ".."])
async def test_an_id_that_would_name_another_path_is_not_sent(client: Any, task_id: str) -> None:
    with pytest.raises(Invalid):
        await client.get_task(task_id)


async def test_a_refusal_names_every_field(client: Any) -> None:
    with pytest.raises(Invalid) as raised:
        await client.create_task(name="", target={"type": "odd"})
    pointers = {error.pointer for error in raised.value.errors}
    assert "/name" in pointers
    assert len(pointers) > 1
    assert all(pointer in str(raised.value) for pointer in pointers)


async def test_what_happened_to_a_task(client: Any) -> None:
    task = await client.create_task(name=fresh("history"), target=NOOP, schedule=LATER)
    first = (await client.events(task.id)).items[0]
    assert "created" in first.type
    assert (first.version, first.actor) == (1, "anonymous")
    assert first.time is not None


async def test_a_preview_gives_fire_times(client: Any) -> None:
    preview = await client.preview({"every": "1h"}, 1)
    assert [time.at.tzinfo is not None for time in preview.fire_times] == [True]


async def test_a_calendar_is_put_read_listed_and_deleted(client: Any) -> None:
    name = fresh("closed")
    made = await client.put_calendar(name, dates=[date(2030, 12, 24), "2030-12-31"])
    assert (made.name, made.days, made.used_by) == (name, [date(2030, 12, 24), date(2030, 12, 31)], [])
    assert (await client.get_calendar(name, until=date(2030, 12, 30))).days == [date(2030, 12, 24)]
    assert (await client.get_calendar(name, since="2030-12-30")).days == [date(2030, 12, 31)]
    other = await client.put_calendar(name, CalendarSpec(dates=["2030-05-01"], note="why"), note="else")
    assert (other.version, other.note) == (made.version + 1, "else")
    listed = [item async for item in client.iter_calendars()]
    assert [item.day_count for item in listed if item.name == name] == [1]
    assert (await client.list_calendars(limit=1)).items
    await client.delete_calendar(name)
    with pytest.raises(NotFound):
        await client.get_calendar(name)
    with pytest.raises(TypeError):
        await client.put_calendar(name, days=[])


async def test_a_limit_is_put_read_listed_and_deleted(client: Any) -> None:
    name = "key:" + fresh("customer")
    made = await client.put_limit(name, concurrency=2, rate={"count": 10, "per": "PT1S", "burst": 3}, note="why")
    assert (made.name, made.concurrency, made.rate.count, made.rate.burst, made.note) == (name, 2, 10, 3, "why")
    assert (await client.get_limit(name)).version == made.version
    assert (await client.put_limit(name, concurrency=3, if_match=made.version)).rate is None
    assert [item.concurrency async for item in client.iter_limits() if item.name == name] == [3]
    assert (await client.list_limits(limit=1)).items
    await client.delete_limit(name)
    with pytest.raises(NotFound):
        await client.get_limit(name)


async def test_health_of_a_server_that_is_well(client: Any) -> None:
    health = await client.health()
    assert health.status == "UP"
    assert health.components


async def test_there_may_be_no_dead_letters(client: Any) -> None:
    assert (await client.dead_letters(task_id=fresh("none"))).items == []
