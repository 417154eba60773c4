"""Creation, fire times, overlap and lateness."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, as_made
from tests.domain.scenario import DAY, HOUR, HOURLY, MINUTE, START, at, created, define, every, given, one_time


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        (OneTime(at=0), "0:10"),
        (one_time("7:30"), "7:30"),
        (one_time("0:00"), "0:00"),
        (OneTime(at=0, kind="delay", delay=90_000), "0:11:30"),
        (every(20 * MINUTE), "0:30"),
        (Every(every=20 * MINUTE, anchor=at("0:05"), anchored=True), "0:25"),
        (Every(every=20 * MINUTE, anchor=at("5:00"), anchored=True), "5:20"),
        (Every(every=20 * MINUTE, anchor=START - DAY, anchored=True), "0:20"),
        (HOURLY, "1:00"),
        (Cron("10 * * * *"), "1:10"),
        (Cron("0 2 * * *", "Europe/Berlin"), "1:00"),
    ],
)
def test_the_first_fire_time(schedule: Schedule, first: str) -> None:
    made = created(schedule, "0:10").then(f"created, next {first}").wakes(first).status("scheduled")
    assert (made.task.version, made.task.revision, made.task.created_at) == (1, 1, at("0:10"))


@pytest.mark.parametrize(
    ("schedule", "first", "following"),
    [
        (OneTime(at=0), "0:10", "-"),
        (one_time("7:30"), "7:30", "-"),
        (OneTime(at=0, kind="delay", delay=90_000), "0:11:30", "-"),
        (every(20 * MINUTE), "0:30", "0:50"),
        (HOURLY, "1:00", "2:00"),
    ],
)
def test_a_fire_makes_a_run(schedule: Schedule, first: str, following: str) -> None:
    fired = created(schedule, "0:10").wake(first)
    fired.then(f"queued schedule {first}", f"next {following}").wakes(following).status("running")
    assert fired.run.nominal_at == at(first)
    assert (fired.run.status, fired.run.available_at) == ("queued", at(first))


def test_a_cron_whose_year_is_over_ends() -> None:
    day = datetime.fromtimestamp(START / 1000, UTC)
    twice = created(Cron(f"0 0 1,2 {day.day} {day.month} ? {day.year}")).then("created, next 1:00")
    twice.wake("1:00").then("queued schedule 1:00", "next 2:00").claim().complete()
    twice.wake("2:00").then("queued schedule 2:00", "next -").claim().complete()
    twice.status("completed").wakes(None)


def test_h_is_resolved_when_the_schedule_is_given_and_kept() -> None:
    made = created(Cron("H H(3-4) * * *", "Europe/Berlin"))
    assert made.task.definition is not None
    schedule = made.task.definition.schedule
    assert isinstance(schedule, Cron)
    assert schedule.cron == "H H(3-4) * * *"
    assert schedule.resolved is not None
    assert re.fullmatch(r"[0-5]?[0-9] [34] \* \* \*", schedule.resolved)
    made.when(msg.Update(DefinitionPatch(schedule=Cron("H H(3-4) * * *", "Europe/Berlin")))).then()
    created(Cron("0 0 31 H(2-2) *")).refused(errors.Invalid)


def test_nothing_happens_before_it_is_due() -> None:
    created(one_time("7:30")).wake("7:29:59.999").then().status("scheduled")


def test_a_repeated_trigger_decides_nothing() -> None:
    created(HOURLY).wake("1:00").then("queued schedule 1:00", "next 2:00").wake("1:00").then()


def test_cron_records_the_zone_data_it_used_and_others_none() -> None:
    assert created(HOURLY).decided.events[0].tzdata is not None  # type: ignore[union-attr]
    assert created(every(HOUR)).decided.events[0].tzdata is None  # type: ignore[union-attr]


@pytest.mark.parametrize("late", ["7:30", "9:00", "800:00"])
def test_a_one_time_task_runs_however_late(late: str) -> None:
    created(one_time("7:30"), catch_up=CatchUp(policy="none")).wake(late).then("queued schedule 7:30", "next -")


def test_a_one_time_task_ends_completed_or_failed() -> None:
    created().wake("0:00").claim().complete("0:01").then("succeeded #1").status("completed").wakes(None)
    created().wake("0:00").claim().fail("0:01", retryable=False).then("failed #1, gave_up").status("failed")


def test_a_recurring_task_goes_on_after_a_failed_run() -> None:
    created(HOURLY).wake("1:00").claim().fail("1:01", retryable=False).status("scheduled")


def test_a_fire_time_while_a_run_is_active_is_skipped() -> None:
    busy = created(HOURLY).wake("1:00").wake("2:00").then("skipped overlap 2:00", "next 3:00").status("running")
    busy.claim("2:01").complete("2:02").then("succeeded #1")
    busy.wake("3:00").then("queued schedule 3:00", "next 4:00")
    assert (busy.task.counts.fired, busy.task.counts.skipped) == (2, 1)


def test_a_one_time_fire_during_a_manual_run_is_skipped() -> None:
    created(one_time("2:00")).when(msg.Trigger(), "1:00").wake("2:00").then("skipped overlap 2:00", "next -")


@pytest.mark.parametrize(
    ("settled", "events"),
    [
        ("1:01", ["queued schedule 1:00", "next 2:00"]),
        ("1:01:00.001", ["queued catch_up 1:00", "next 2:00"]),
    ],
)
def test_a_fire_time_is_missed_over_a_minute_after(settled: str, events: list[str]) -> None:
    created(HOURLY).wake(settled).then(*events)


def test_of_several_times_not_missed_yet_the_first_fires() -> None:
    created(every(20_000)).wake("0:01").then(
        "queued schedule 0:00:20", "skipped overlap 0:00:40", "skipped overlap 0:01", "next 0:01:20"
    )


def test_creating_again_is_refused() -> None:
    created(HOURLY).when(msg.Create(define(HOURLY)), "0:01").refused(errors.TaskExists)


def test_what_is_asked_of_no_task_is_refused() -> None:
    for command in (
        msg.Update(msg.DefinitionPatch(name="x")),
        msg.Cancel(),
        msg.Delete(),
        msg.Pause(),
        msg.Resume(),
        msg.Trigger(),
        msg.Retry(),
    ):
        given().when(command).refused(errors.TaskNotFound)
    given().when(msg.Claim("r", "w", "t", 1)).refused(errors.NotClaimable)
    given().when(msg.Renew("r", 1, "t")).refused(errors.ClaimLost)
    given().when(msg.Complete("r", 1, "t")).refused(errors.ClaimLost)
    given().wake().then()
    given().when(msg.Lose("r", 1, "t")).then()


def test_a_trigger_runs_now_whatever_the_schedule_says() -> None:
    task = created(one_time("7:30")).when(msg.Trigger(), "1:00").then("queued manual 1:00").wakes("7:30")
    assert task.decided is not None
    assert task.decided.run_id == task.run.id
    assert task.run.nominal_at is None
    task.when(msg.Trigger(), "1:01").then("queued manual 1:01")


def test_runs_made_at_the_same_instant_by_equal_chance_have_different_ids() -> None:
    task = created(one_time("7:30"))
    for _ in range(3):
        task.seed = 1
        task.when(msg.Trigger(), "1:00")
    assert len(task.task.runs) == 3


def test_active_runs_are_bounded() -> None:
    task = created(one_time("7:30"))
    for _ in range(MAX_ACTIVE_RUNS):
        task.when(msg.Trigger(), "1:00")
    task.when(msg.Trigger(), "1:00").refused(errors.WrongState)
    task.wake("7:30").then("skipped too_many_active 7:30", "next -")
    assert len(task.task.runs) == MAX_ACTIVE_RUNS


def test_the_task_as_it_was_made() -> None:
    task = created(one_time("7:30"), name="first")
    made = task.task
    task.when(msg.Update(msg.DefinitionPatch(name="second", schedule=HOURLY)), "1:00").when(msg.Trigger(), "1:30")
    assert task.task.definition != made.definition
    again = as_made(task.task)
    for field in ("definition", "version", "revision", "created_at", "updated_at", "next_fire", "counts", "status"):
        assert getattr(again, field) == getattr(made, field), field
