"""Fire times missed while nothing ran: all, the latest or none of them, within window and limit."""

from __future__ import annotations

import pytest

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch
from taskscheduler.domain.state import MAX_ACTIVE_RUNS
from tests.domain.scenario import DAY, HOUR, HOURLY, MINUTE, Scenario, created, every


def hourly(policy: str, window: int = 3 * HOUR, limit: int = 100) -> Scenario:
    return created(HOURLY, catch_up=CatchUp(policy, window, limit))  # type: ignore[arg-type]


OLD = ["skipped outside_window 1:00", "skipped outside_window 2:00"]


@pytest.mark.parametrize(
    ("policy", "limit", "settled", "events"),
    [
        ("none", 100, "2:30", ["skipped missed 1:00", "skipped missed 2:00", "next 3:00"]),
        ("none", 100, "3:00", ["skipped missed 1:00", "skipped missed 2:00", "queued schedule 3:00", "next 4:00"]),
        ("latest", 100, "2:30", ["skipped missed 1:00", "queued catch_up 2:00", "next 3:00"]),
        ("latest", 100, "3:00", ["skipped missed 1:00", "skipped missed 2:00", "queued schedule 3:00", "next 4:00"]),
        (
            "latest",
            100,
            "5:30",
            [*OLD, "skipped missed 3:00", "skipped missed 4:00", "queued catch_up 5:00", "next 6:00"],
        ),
        ("all", 100, "1:30", ["next 2:00, backlog 1:00..1:30:00.001", "queued catch_up 1:00", "next 2:00"]),
        (
            "all",
            100,
            "2:30",
            ["next 3:00, backlog 1:00..2:30:00.001", "queued catch_up 1:00", "next 3:00, backlog 2:00..2:30:00.001"],
        ),
        (
            "all",
            100,
            "5:30",
            [
                *OLD,
                "next 6:00, backlog 3:00..5:30:00.001",
                "queued catch_up 3:00",
                "next 6:00, backlog 4:00..5:30:00.001",
            ],
        ),
        (
            "all",
            2,
            "5:30",
            [
                *OLD,
                "skipped missed 3:00",
                "next 6:00, backlog 4:00..5:30:00.001",
                "queued catch_up 4:00",
                "next 6:00, backlog 5:00..5:30:00.001",
            ],
        ),
        (
            "all",
            1,
            "3:00",
            [
                "skipped missed 1:00",
                "skipped missed 2:00",
                "next 4:00, backlog 3:00..3:00:00.001",
                "queued catch_up 3:00",
                "next 4:00",
            ],
        ),
    ],
)
def test_what_becomes_of_missed_times(policy: str, limit: int, settled: str, events: list[str]) -> None:
    hourly(policy, limit=limit).wake(settled).then(*events)


@pytest.mark.parametrize(
    ("policy", "events"),
    [
        ("latest", ["skipped outside_window 1:00", "skipped outside_window 2:00", "next 3:00"]),
        ("all", ["skipped outside_window 1:00", "skipped outside_window 2:00", "next 3:00"]),
    ],
)
def test_nothing_in_the_window(policy: str, events: list[str]) -> None:
    hourly(policy, window=10 * MINUTE).wake("2:30").then(*events)


@pytest.mark.parametrize(
    ("policy", "events"),
    [
        ("latest", ["skipped outside_window 0:01", "queued schedule 0:02", "next 0:03"]),
        (
            "all",
            [
                "skipped outside_window 0:01",
                "next 0:03, backlog 0:02..0:02:30.001",
                "queued catch_up 0:02",
                "next 0:03",
            ],
        ),
    ],
)
def test_a_window_shorter_than_lateness_does_not_take_what_is_not_missed(policy: str, events: list[str]) -> None:
    task = created(every(MINUTE), catch_up=CatchUp(policy, 0, 100))  # type: ignore[arg-type]
    task.wake("0:02:30").then(*events)


def test_what_is_due_and_over_the_limit_overlaps() -> None:
    created(every(20_000), catch_up=CatchUp("all", HOUR, 1)).wake("0:01:30").then(
        "skipped missed 0:00:20",
        "skipped overlap 0:00:40",
        "skipped overlap 0:01",
        "next 0:01:40, backlog 0:01:20..0:01:30.001",
        "queued catch_up 0:01:20",
        "next 0:01:40",
    )


def test_a_hundred_skips_are_rows_of_their_own_and_more_are_one_for_each_reason() -> None:
    created(every(MINUTE), catch_up=CatchUp("none")).wake("1:41:30").then(
        *(f"skipped missed {m // 60}:{m % 60:02}" for m in range(1, 101)), "queued schedule 1:41", "next 1:42"
    )
    created(every(MINUTE), catch_up=CatchUp("none")).wake("1:42:30").then(
        "skipped missed 0:01..1:41 x101", "queued schedule 1:42", "next 1:43"
    )
    task = created(every(MINUTE), catch_up=CatchUp("latest", 20 * MINUTE, 100)).wake("2:02:30")
    task.then(
        "skipped outside_window 0:01..1:42 x102", "skipped missed 1:43..2:01 x19", "queued schedule 2:02", "next 2:03"
    )
    assert task.task.counts.skipped == 121


def test_years_of_missed_times_are_one_row() -> None:
    task = created(every(1000), catch_up=CatchUp("none")).wake("87600:00:30.500")
    task.then(
        "skipped missed 0:00:01..87599:59:30 x315359970",
        "queued schedule 87599:59:31",
        "skipped overlap 87599:59:32..87600:00:30 x59",
        "next 87600:00:31",
    )


def test_a_backlog_runs_one_after_another() -> None:
    task = hourly("all").wake("3:30").status("running")
    task.claim().complete("3:31").then("succeeded #1", "queued catch_up 2:00", "next 4:00, backlog 3:00..3:30:00.001")
    task.claim().fail("3:32", retryable=False).then("failed #1, gave_up", "queued catch_up 3:00", "next 4:00")
    task.claim().complete("3:33").then("succeeded #1").status("scheduled").wakes("4:00")
    task.wake("4:00").then("queued schedule 4:00", "next 5:00")


def test_a_fire_time_during_a_backlog_overlaps_and_keeps_the_backlog() -> None:
    hourly("all").wake("2:30").wake("3:00").then("skipped overlap 3:00", "next 4:00, backlog 2:00..2:30:00.001")


def test_missed_times_next_to_a_backlog_join_it_within_window_and_limit() -> None:
    task = hourly("all", window=5 * HOUR, limit=3).wake("3:30")
    task.then("next 4:00, backlog 1:00..3:30:00.001", "queued catch_up 1:00", "next 4:00, backlog 2:00..3:30:00.001")
    task.wake("5:30").then("skipped missed 2:00", "next 6:00, backlog 3:00..5:30:00.001")
    task.wake("9:30").then(
        "skipped outside_window 3:00",
        "skipped outside_window 4:00",
        "skipped missed 5:00",
        "skipped missed 6:00",
        "next 10:00, backlog 7:00..9:30:00.001",
    )


def test_a_backlog_apart_from_newly_missed_times_gives_way() -> None:
    task = hourly("all").wake("2:30").wake("3:00").wake("4:30")
    task.then("skipped missed 2:00", "next 5:00, backlog 4:00..4:30:00.001")


def test_a_backlog_waits_while_paused() -> None:
    task = hourly("all").wake("2:30").when(msg.Pause(), "2:31").then("paused")
    task.claim().complete("2:32").then("succeeded #1").wakes(None)
    task.when(msg.Resume(), "2:33").then("resumed", "queued catch_up 2:00", "next 3:00")


@pytest.mark.parametrize(
    ("command", "events"),
    [
        (msg.Update(DefinitionPatch(schedule=every(DAY))), ["skipped missed 2:00", "next 3:00", "updated, next 24:00"]),
        (msg.Update(DefinitionPatch(name="x")), ["updated, next 3:00"]),
        (msg.Cancel(), ["run cancelled", "skipped missed 2:00", "next 3:00", "cancelled"]),
        (msg.Delete(), ["run cancelled", "skipped missed 2:00", "next 3:00", "deleted"]),
    ],
)
def test_a_backlog_that_will_not_run_is_accounted_for(command: msg.Command, events: list[str]) -> None:
    hourly("all").wake("2:30").when(command, "2:31").then(*events)


def test_a_manual_run_holds_the_backlog_up() -> None:
    task = hourly("all").wake("2:30").when(msg.Trigger(), "2:31")
    first, manual = task.task.runs.values()
    task.claim("2:32", first).complete("2:33", task.task.runs[first.id]).then("succeeded #1")
    task.claim("2:34", manual).complete("2:35", task.task.runs[manual.id])
    task.then("succeeded #1", "queued catch_up 2:00", "next 3:00")


@pytest.mark.parametrize("policy", ["latest", "all", "none"])
def test_the_clock_may_stand_far_ahead(policy: str) -> None:
    task = hourly(policy).wake("100000:30")
    assert task.task.counts.skipped + task.task.counts.fired >= 100_000 - 3


def test_the_latest_is_not_caught_up_where_too_many_runs_are_active() -> None:
    task = created(HOURLY, overlap="allow_all", catch_up=CatchUp("latest", HOUR))
    for _ in range(MAX_ACTIVE_RUNS):
        task.when(msg.Trigger(), "0:30")
    task.wake("1:30").then("skipped too_many_active 1:00", "next 2:00")
