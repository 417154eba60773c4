"""Why a task did or did not run, over REST."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx
import pytest
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.api.values import format_instant
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.messages import Follow, Wake
from taskscheduler.domain.values import DAY, HOUR, MINUTE

QUEUE = {"type": "queue", "queue": "mail", "kind": "k"}


class Asking:
    """One task, `a`, and questions about it."""

    def __init__(self, api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode) -> None:
        self.api, self.clock, self.node = api, clock, node
        self.begun = clock.now

    async def create(self, **fields: Any) -> None:
        body = {"id": "a", "name": "a", "target": QUEUE, "schedule": {"every": "10m"}, **fields}
        response = await self.api.post("/api/tasks", json=body)
        assert response.status_code == 201, response.text

    async def pass_time(self, by: int) -> None:
        self.clock.now += by
        await self.node.handler.handle("a", Wake())

    async def do(self, verb: str, **body: Any) -> None:
        response = await self.api.post(f"/api/tasks/a/{verb}", json=body)
        assert response.status_code < 300, response.text

    async def work(self, after: int, **failed: Any) -> None:
        """Claim what waits, and report after a while."""
        claims = await self.api.post("/api/queues/mail/claims", json={"worker": "ann", "lease": "10m"})
        (claim,) = claims.json()["claims"]
        self.clock.now += after
        path = f"/api/claims/{claim['token']}/{'fail' if failed else 'complete'}"
        assert (await self.api.post(path, json=failed)).status_code == 200

    async def why(self, at: int | str) -> dict[str, Any]:
        text = at if isinstance(at, str) else format_instant(at)
        response = await self.api.get("/api/tasks/a/why", params={"at": text})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@pytest.fixture
def asking(api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode) -> Asking:
    return Asking(api, clock, node)


async def test_a_run_is_told_from_its_fire_time_to_its_end(asking: Asking) -> None:
    await asking.create(retry={"max_attempts": 3, "initial": "1m", "jitter": 0})
    due = asking.begun + 10 * MINUTE
    await asking.pass_time(10 * MINUTE)
    waiting = await asking.why(due)
    assert waiting["outcome"] == "fired"
    assert f"waiting for a worker of the queue mail since {format_instant(due)}" in waiting["answer"]
    await asking.work(1_000, error={"type": "Boom", "message": "it broke"})
    assert f"the next one may begin at {format_instant(due + MINUTE + 1_000)}" in (await asking.why(due))["answer"]
    await asking.pass_time(MINUTE)
    await asking.work(2_000)
    told = await asking.why(due)
    assert told["answer"] == (
        f"It fired at {format_instant(due)}, as run {told['run_id']}. ann claimed it at {format_instant(due)}. "
        f"It succeeded at {format_instant(due + MINUTE + 3_000)}, after 2 attempts."
    )
    assert [(event["type"], event["summary"]) for event in told["events"]] == [
        ("task.created.v1", "the task was created by anonymous"),
        ("run.queued.v1", "the run was made (schedule)"),
        ("attempt.claimed.v1", "ann claimed attempt 1"),
        ("attempt.failed.v1", f"attempt 1 failed (Boom), again at {format_instant(due + MINUTE + 1_000)}"),
        ("run.requeued.v1", "the delay was over: it can be claimed again"),
        ("attempt.claimed.v1", "ann claimed attempt 2"),
        ("attempt.succeeded.v1", "attempt 2 succeeded"),
    ]
    history = (await asking.api.get("/api/tasks/a/events")).json()["items"]
    versions = {(event["version"], event["type"]) for event in history}
    assert {(event["version"], event["type"]) for event in told["events"]} <= versions


async def test_what_fails_for_good_is_told_with_its_error(asking: Asking) -> None:
    await asking.create(retry={"max_attempts": 1})
    await asking.pass_time(10 * MINUTE)
    await asking.work(1_000, error={"type": "Boom", "message": "it broke"})
    told = await asking.why(asking.begun + 10 * MINUTE)
    assert "after the first attempt (attempts_exhausted): Boom: it broke." in told["answer"]
    await asking.do("retry")
    again = (await asking.api.get("/api/tasks/a/runs")).json()["items"][0]
    told = await asking.why(again["scheduled_for"])
    assert (told["outcome"], told["run_id"], told["nominal_at"]) == ("retried", again["id"], None)
    assert f"retry by hand of the run {again['retry_of']}" in told["answer"]


async def test_a_skip_names_the_run_that_was_in_the_way(asking: Asking) -> None:
    await asking.create()
    await asking.pass_time(10 * MINUTE)
    first = (await asking.why(asking.begun + 10 * MINUTE))["run_id"]
    await asking.pass_time(10 * MINUTE)
    told = await asking.why(asking.begun + 20 * MINUTE)
    assert told["outcome"] == "skipped"
    assert told["answer"] == f"It did not run: the run {first} was still active (overlap skip)."
    assert told["events"][-1]["summary"] == "skipped (overlap)"


async def test_a_skip_beside_others_names_the_run_and_none_of_them(asking: Asking) -> None:
    await asking.create(schedule={"every": "10s"})
    await asking.pass_time(10_000)
    first = (await asking.why(asking.begun + 10_000))["run_id"]
    await asking.pass_time(30_000)
    for seconds in (20, 30, 40):
        assert f"the run {first} was still active" in (await asking.why(asking.begun + seconds * 1_000))["answer"]


async def test_a_run_that_had_ended_was_not_in_the_way(asking: Asking) -> None:
    await asking.create(schedule={"every": "10s"})
    await asking.pass_time(10_000)
    held = await asking.api.post("/api/queues/mail/claims", json={"worker": "bob", "lease": "10m"})
    (claim,) = held.json()["claims"]
    await asking.do("trigger")
    await asking.work(1_000)
    await asking.pass_time(9_000)
    assert f"the run {claim['run_id']} was still active" in (await asking.why(asking.begun + 20_000))["answer"]


async def test_a_later_run_takes_the_place_of_an_earlier_one(asking: Asking) -> None:
    await asking.create(schedule={"every": "10s"}, overlap="cancel_other")
    await asking.pass_time(25_000)
    told = await asking.why(asking.begun + 10_000)
    assert told["answer"] == "It did not run: a run for another fire time took its place (overlap cancel_other)."
    assert (await asking.why(asking.begun + 20_000))["outcome"] == "fired"


async def test_what_was_missed_names_the_silence(asking: Asking) -> None:
    await asking.create(catch_up={"policy": "latest", "window": "2d"})
    await asking.pass_time(26 * HOUR)
    told, now = await asking.why(asking.begun + HOUR), asking.clock.now
    assert told["outcome"] == "skipped"
    assert told["answer"].endswith(
        f"nothing was decided on the task between {format_instant(asking.begun)} and {format_instant(now)}."
    )
    assert "skipped together with 154 others (missed)" in told["events"][-1]["summary"]
    latest = await asking.why(asking.begun + 26 * HOUR)
    assert latest["outcome"] == "fired"
    await asking.work(1_000)
    await asking.pass_time(HOUR + 9 * MINUTE)
    assert (await asking.why(asking.begun + 27 * HOUR))["outcome"] == "caught_up"


async def test_what_is_owed_names_the_run_that_it_waits_for(asking: Asking) -> None:
    await asking.create(catch_up={"policy": "all", "window": "1d"})
    await asking.pass_time(HOUR + MINUTE)
    first, second = await asking.why(asking.begun + 10 * MINUTE), await asking.why(asking.begun + 20 * MINUTE)
    assert first["outcome"] == "caught_up"
    assert "It was missed at" in first["answer"]
    assert second["outcome"] == "owed"
    assert f"The run {first['run_id']} is still active." in second["answer"]
    later = await asking.why(asking.begun + 70 * MINUTE)
    assert later["answer"] == (
        f"It has not come yet: the task is to run at {format_instant(asking.begun + 70 * MINUTE)}."
    )


async def test_a_pause_names_who_and_why(asking: Asking) -> None:
    await asking.create()
    await asking.do("pause", note="moving house")
    due = asking.begun + 10 * MINUTE
    coming = await asking.why(due)
    assert coming["outcome"] == "to_come"
    assert "paused by anonymous" in coming["answer"]
    asking.clock.now += HOUR
    pending = await asking.why(due)
    assert pending["outcome"] == "pending"
    assert "with the note 'moving house'" in pending["answer"]
    await asking.do("resume")
    told = await asking.why(due)
    assert told["outcome"] == "skipped"
    assert f"paused by anonymous since {format_instant(asking.begun)}, with the note 'moving house'" in told["answer"]
    assert "the task was paused by anonymous: moving house" in [event["summary"] for event in told["events"]]
    assert "paused" not in (await asking.why(asking.clock.now + HOUR))["answer"]


async def test_instants_at_which_nothing_was_to_happen(asking: Asking) -> None:
    await asking.create()
    early = await asking.why(asking.begun - HOUR)
    assert early["outcome"] == "not_a_fire_time"
    assert "had not been created yet" in early["answer"]
    assert early["after"] == format_instant(asking.begun + 10 * MINUTE)
    first, second, at = (format_instant(asking.begun + minutes * MINUTE) for minutes in (10, 20, 15))
    between = await asking.why(at)
    assert between["answer"] == (
        f"There is no fire time at {at}. The one before is {first} and the next one is {second}."
    )
    assert (between["before"], between["nominal_at"]) == (first, None)
    await asking.do("trigger")
    assert (await asking.why(asking.clock.now))["outcome"] == "triggered"
    await asking.do("cancel")
    late = await asking.why(asking.begun + 10 * MINUTE)
    assert late["answer"].endswith(f"was cancelled by anonymous at {format_instant(asking.clock.now)}.")
    await asking.api.delete("/api/tasks/a")
    assert "deleted by anonymous" in (await asking.why(asking.begun + 10 * MINUTE))["answer"]


async def test_a_planned_change_is_told_before_and_after(asking: Asking) -> None:
    await asking.create()
    change = asking.begun + HOUR
    body = {
        "schedule": {"every": "1h", "anchor": format_instant(asking.begun)},
        "effective_from": format_instant(change),
    }
    assert (await asking.api.patch("/api/tasks/a", json=body)).status_code == 200
    assert (await asking.why(asking.begun + 50 * MINUTE))["outcome"] == "to_come"
    planned = await asking.why(change + HOUR)
    assert planned["outcome"] == "to_come"
    said = [event["summary"] for event in planned["events"]]
    assert said == [f"another schedule from {format_instant(change)} on was planned by anonymous"]
    assert (await asking.why(change + 10 * MINUTE))["outcome"] == "not_a_fire_time"
    await asking.pass_time(2 * HOUR + 30 * MINUTE)
    assert (await asking.why(change + 10 * MINUTE))["before"] == format_instant(change)
    assert (await asking.why(change + 4 * HOUR))["outcome"] == "to_come"
    taken = [event["type"] for event in (await asking.why(change + HOUR))["events"]]
    assert taken[0] == "schedule.switched.v1"


async def test_a_planned_change_is_told_of_a_task_that_has_nothing_else_to_come(asking: Asking) -> None:
    await asking.create(schedule={"every": "10m", "max_runs": 1})
    body = {"schedule": {"every": "1h"}, "effective_from": format_instant(asking.begun + HOUR)}
    assert (await asking.api.patch("/api/tasks/a", json=body)).status_code == 200
    await asking.pass_time(10 * MINUTE)
    due = (await asking.api.get("/api/tasks/a")).json()["next_fire_at"]
    assert (await asking.why(due))["outcome"] == "to_come"


async def test_a_backfill_is_told_beside_what_became_of_the_time(asking: Asking) -> None:
    await asking.create()
    await asking.do("pause")
    await asking.pass_time(30 * MINUTE)
    await asking.do("resume")
    body = {"from": format_instant(asking.begun), "to": format_instant(asking.begun + 25 * MINUTE)}
    reply = await asking.api.post("/api/tasks/a/backfill", json={**body, "overlap": "allow_all"})
    backfill_id = reply.json()["backfill_id"]
    told = await asking.why(asking.begun + 20 * MINUTE)
    assert told["outcome"] == "skipped"
    assert told["answer"].endswith(f"The backfill {backfill_id} has made a run for it too.")
    assert "backfill" not in (await asking.why(asking.begun + 30 * MINUTE))["answer"]


async def test_a_backfill_over_what_was_no_fire_time_is_told(asking: Asking) -> None:
    await asking.create(schedule={"every": "10m", "anchor": format_instant(asking.begun - DAY)})
    body = {"from": format_instant(asking.begun - HOUR), "to": format_instant(asking.begun - MINUTE)}
    reply = await asking.api.post("/api/tasks/a/backfill", json={**body, "overlap": "allow_all"})
    backfill_id = reply.json()["backfill_id"]
    told = await asking.why(asking.begun - 20 * MINUTE)
    assert (told["outcome"], told["nominal_at"]) == ("backfilled", format_instant(asking.begun - 20 * MINUTE))
    assert told["answer"].endswith(f"the backfill {backfill_id} has made a run for it.")
    assert (await asking.why(asking.begun - 25 * MINUTE))["outcome"] == "not_a_fire_time"


async def test_a_pause_after_failures_names_the_scheduler_and_the_error(asking: Asking) -> None:
    await asking.create(retry={"max_attempts": 1}, pause_on_failure=1)
    await asking.pass_time(10 * MINUTE)
    await asking.work(1_000, error={"type": "Boom", "message": "it broke"})
    told = await asking.why(asking.begun + 20 * MINUTE)
    assert "paused by scheduler" in told["answer"]
    assert "Boom: it broke" in told["answer"]


async def test_a_local_time_that_does_not_exist(asking: Asking) -> None:
    gap = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "dst": {"gap": "skip"}}
    await asking.create(schedule=gap)
    told = await asking.why("2030-03-31T02:30:00+01:00")
    assert told["outcome"] == "not_a_fire_time"
    assert "02:30 on 2030-03-31 does not exist" in told["answer"]
    assert datetime.fromisoformat(told["after"]) == datetime.fromisoformat("2030-04-01T02:30:00+02:00")
    shifted = {**gap, "dst": {"gap": "shift"}}
    assert (await asking.api.patch("/api/tasks/a", json={"schedule": shifted})).status_code == 200
    told = await asking.why("2030-03-31T03:00:00+02:00")
    assert told["outcome"] == "to_come"
    assert "shifted: 02:30 does not exist" in told["answer"]


async def test_a_time_put_off_by_jitter_is_found_by_either_instant(asking: Asking) -> None:
    await asking.create(schedule={"every": "1h", "jitter": "50m"})
    nominal = asking.begun + HOUR
    fire = datetime.fromisoformat((await asking.api.get("/api/tasks/a")).json()["next_fire_at"])
    by_name, by_fire = await asking.why(nominal), await asking.why(fire.isoformat())
    assert by_name["nominal_at"] == by_fire["nominal_at"] == format_instant(nominal)
    assert by_name["answer"] == by_fire["answer"]
    assert f"of jitter after {format_instant(nominal)}" in by_name["answer"]


async def test_a_schedule_that_has_made_its_runs(asking: Asking) -> None:
    await asking.create(schedule={"every": "10m", "max_runs": 1})
    await asking.pass_time(10 * MINUTE)
    told = await asking.why(asking.begun + 20 * MINUTE)
    assert "had made as many runs as its schedule allows" in told["answer"]


async def test_what_is_asked_wrongly_is_told(asking: Asking) -> None:
    assert (await asking.api.get("/api/tasks/a/why?at=2030-01-01T00:00:00Z")).status_code == 404
    await asking.create()
    for query in ("", "?at=now", "?at=2030-01-01"):
        response = await asking.api.get(f"/api/tasks/a/why{query}")
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == ["/at"]


async def test_a_time_that_is_left_out_is_told_with_what_leaves_it_out(asking: Asking) -> None:
    day = format_instant(asking.begun + DAY)[:10]
    reply = await asking.api.put("/api/calendars/closed", json={"dates": [day]})
    assert reply.status_code == 201, reply.text
    until = format_instant(asking.begun + HOUR + MINUTE)
    left_out = [
        {"calendar": "closed"},
        {"date": day},
        {"from": format_instant(asking.begun + HOUR), "to": until},
        {"cron": "* 3 * * *", "timezone": "Asia/Tokyo"},
    ]
    await asking.create(schedule={"every": "10m", "except": left_out})
    told = await asking.why(day + "T12:00:00Z")
    assert told["outcome"] == "not_a_fire_time"
    assert f"leaves it out (a day of the calendar closed, the day {day})" in told["answer"]
    told = await asking.why(asking.begun + HOUR)
    assert f"the time from {format_instant(asking.begun + HOUR)} until before {until}" in told["answer"]
    told = await asking.why(format_instant(asking.begun + 2 * DAY)[:10] + "T18:30:00Z")
    assert "leaves it out (times of the cron expression * 3 * * *)" in told["answer"]
    told = await asking.why(day + "T12:00:01Z")
    assert "leaves it out" not in told["answer"], "it would not be named otherwise either"


async def test_after_a_calendar_has_changed_the_fire_time_before_is_told_all_the_same(asking: Asking) -> None:
    assert (await asking.api.put("/api/calendars/closed", json={"dates": []})).status_code == 201
    await asking.create(schedule={"every": "10m", "except": [{"calendar": "closed"}]})
    await asking.pass_time(15 * MINUTE)
    day = format_instant(asking.begun + 2 * DAY)[:10]
    changed = ExceptCalendar("closed", 2, (day,))
    await asking.node.handler.handle("a", Follow(changed))
    await asking.pass_time(MINUTE)
    told = await asking.why(asking.begun + 18 * MINUTE)
    assert told["before"] == format_instant(asking.begun + 10 * MINUTE)
    assert told["after"] == format_instant(asking.begun + 20 * MINUTE)
    told = await asking.why(asking.begun + 20 * MINUTE)
    said = [event["summary"] for event in told["events"]]
    assert said == ["a calendar that the schedule leaves out was changed, and the task followed"]
