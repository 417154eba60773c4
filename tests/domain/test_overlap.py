"""What becomes of a fire time that comes while a run is active, by the overlap policy."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch, Overlap
from taskscheduler.domain.plan import MOST_BUFFERED
from taskscheduler.domain.schedule import Every, Schedule
from taskscheduler.domain.state import MAX_ACTIVE_RUNS
from tests.domain.scenario import HOUR, HOURLY, MINUTE, START, Scenario, at, created, every, one_time

LONG = 100 * HOUR
"""A timeout and a lease under which no run ends by itself."""


def running(overlap: Overlap, schedule: Schedule = HOURLY, **fields: object) -> Scenario:
    """A task whose run for 1:00 has been claimed."""
    made = created(schedule, overlap=overlap, timeout=LONG, **fields)
    return made.wake("1:00").then("queued schedule 1:00", "next 2:00").claim(lease=LONG)


def test_buffer_one_lets_one_wait_for_the_end_of_the_run() -> None:
    task = running("buffer_one").wake("2:00").then("next 3:00, backlog 2:00..2:00:00.001").wakes("3:00")
    task.wake("3:00").then("skipped overlap 3:00", "next 4:00, backlog 2:00..2:00:00.001")
    task.complete("3:10").then("succeeded #1", "queued schedule 2:00", "next 4:00")
    task.wake("4:00").then("next 5:00, backlog 4:00..4:00:00.001")


def test_buffer_all_lets_all_wait_the_oldest_first() -> None:
    task = running("buffer_all").wake("2:00").then("next 3:00, backlog 2:00..2:00:00.001")
    task.wake("3:00").then("next 4:00, backlog 2:00..3:00:00.001")
    task.complete("3:10").then("succeeded #1", "queued schedule 2:00", "next 4:00, backlog 3:00..3:00:00.001")
    task.claim(lease=LONG).complete("3:20").then("succeeded #1", "queued schedule 3:00", "next 4:00")
    task.claim(lease=LONG).complete("3:30").then("succeeded #1").status("scheduled")


def test_what_waits_is_bounded() -> None:
    task = created(every(MINUTE), overlap="buffer_all", timeout=LONG).wake("0:01").claim(lease=LONG)
    for minute in range(2, MOST_BUFFERED + 2):
        task.wake(START + minute * MINUTE)
    task.wake(START + (MOST_BUFFERED + 2) * MINUTE)
    [skipped, advanced] = task.events()
    assert skipped.startswith("skipped overlap")
    assert "backlog 0:02.." in advanced


def test_cancel_other_cancels_what_is_active() -> None:
    task = running("cancel_other").wake("2:00").then("run cancelled", "queued schedule 2:00", "next 3:00")
    assert task.task.last_finished is not None
    assert (task.task.last_finished.status, task.task.last_finished.reason) == ("cancelled", "overlap")
    assert task.run.scheduled_for == at("2:00")


def test_the_holder_of_a_cancelled_attempt_is_told_at_its_next_heartbeat() -> None:
    task = running("cancel_other")
    held = task.run
    task.wake("2:00").when(msg.Renew(held.id, 1, "t"), "2:01")
    assert task.decided is not None and task.decided.cancel_requested


def test_allow_all_runs_them_beside_each_other() -> None:
    task = running("allow_all").wake("2:00").then("queued schedule 2:00", "next 3:00")
    task.when(msg.Trigger(), "2:30").then("queued manual 2:30")
    task.wake("3:00").then("queued schedule 3:00", "next 4:00")
    assert len(task.task.runs) == 4


def test_allow_all_is_bounded_too() -> None:
    task = created(every(MINUTE), overlap="allow_all")
    for minute in range(1, MAX_ACTIVE_RUNS + 1):
        task.wake(START + minute * MINUTE)
    assert len(task.task.runs) == MAX_ACTIVE_RUNS
    task.wake(START + (MAX_ACTIVE_RUNS + 1) * MINUTE)
    assert task.events()[0].startswith("skipped too_many_active")


@pytest.mark.parametrize(
    ("overlap", "events"),
    [
        ("skip", ["queued schedule 0:00:20", "skipped overlap 0:00:40", "skipped overlap 0:01", "next 0:01:20"]),
        (
            "buffer_one",
            ["queued schedule 0:00:20", "skipped overlap 0:01", "next 0:01:20, backlog 0:00:40..0:00:40.001"],
        ),
        ("buffer_all", ["queued schedule 0:00:20", "next 0:01:20, backlog 0:00:40..0:01:00.001"]),
        (
            "cancel_other",
            ["queued schedule 0:01", "skipped overlap 0:00:20", "skipped overlap 0:00:40", "next 0:01:20"],
        ),
        (
            "allow_all",
            ["queued schedule 0:00:20", "queued schedule 0:00:40", "queued schedule 0:01", "next 0:01:20"],
        ),
    ],
)
def test_of_several_that_have_come_at_once(overlap: Overlap, events: list[str]) -> None:
    late = created(every(20_000), overlap=overlap).wake("0:01")
    assert late.events() == events


@pytest.mark.parametrize(
    ("overlap", "events"),
    [
        ("skip", ["skipped overlap 2:00", "next -"]),
        ("buffer_one", ["next -, backlog 2:00..2:00:00.001"]),
        ("buffer_all", ["next -, backlog 2:00..2:00:00.001"]),
        ("cancel_other", ["run cancelled", "queued schedule 2:00", "next -"]),
        ("allow_all", ["queued schedule 2:00", "next -"]),
    ],
)
def test_a_one_time_task_beside_a_run_by_hand(overlap: Overlap, events: list[str]) -> None:
    task = created(one_time("2:00"), overlap=overlap, timeout=LONG).when(msg.Trigger(), "1:00").claim(lease=LONG)
    task.wake("2:00").then(*events)
    if overlap.startswith("buffer"):
        task.complete("2:10").then("succeeded #1", "queued schedule 2:00", "next -")


def test_what_waits_is_missed_when_the_schedule_changes() -> None:
    task = running("buffer_all").wake("2:00").wake("3:00")
    task.when(msg.Update(DefinitionPatch(schedule=Every(2 * HOUR, START, anchored=True))), "3:30")
    task.then("skipped missed 2:00", "skipped missed 3:00", "next 4:00", "updated, next 4:00")


def test_missed_fire_times_are_caught_up_all_at_once_where_runs_may_overlap() -> None:
    task = created(HOURLY, overlap="allow_all", catch_up=CatchUp("all", 5 * HOUR)).wake("3:30")
    assert [said for said in task.events() if said.startswith("queued")] == [
        "queued catch_up 1:00",
        "queued catch_up 2:00",
        "queued catch_up 3:00",
    ]
    assert task.task.backlog is None


def test_no_more_runs_are_made_at_once_than_the_schedule_may_make() -> None:
    task = created(replace(every(20_000), max_runs=2), overlap="allow_all").wake("0:01")
    task.then("queued schedule 0:00:20", "queued schedule 0:00:40", "skipped missed 0:01", "next -")
