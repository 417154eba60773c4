"""A change of the schedule from a stated instant on."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch
from taskscheduler.domain.schedule import OneTime, Schedule, next_after
from tests.domain.scenario import DAY, HOUR, HOURLY, MINUTE, Cron, Scenario, at, created, every, one_time, replace

QUARTER = Cron("15 * * * *")


def planned(since: str, schedule: Schedule = QUARTER, **fields: object) -> msg.Update:
    return msg.Update(DefinitionPatch(schedule=schedule, **fields), at(since))  # type: ignore[arg-type]


def test_the_old_schedule_holds_before_it_and_the_new_one_from_it_on() -> None:
    task = created(HOURLY).when(planned("2:00"), "0:30").then("updated, next 1:00, from 2:00 on 2:15").wakes("1:00")
    assert (task.task.revision, task.task.upcoming) == (2, at("1:00"))
    task.wake("1:00").then("queued schedule 1:00", "next 2:00").claim().complete("1:01").wakes("2:00")
    assert task.task.upcoming == at("2:15")
    task.wake("2:00").then("switched at 2:00, next 2:15").wakes("2:15")
    assert (task.task.revision, task.task.pending) == (2, None)
    task.wake("2:15").then("queued schedule 2:15", "next 3:15")


def test_a_fire_time_at_the_very_instant_is_the_new_ones() -> None:
    task = (
        created(HOURLY)
        .when(planned("1:00", Cron("*/30 * * * *")), "0:10")
        .then("updated, next 1:00, from 1:00 on 1:00")
    )
    task.wake("1:00").then("switched at 1:00, next 1:00", "queued schedule 1:00", "next 1:30")


def test_what_was_not_attended_to_is_settled_by_each() -> None:
    task = created(HOURLY, catch_up=CatchUp("latest", DAY)).when(planned("2:30"), "0:30").wake("4:30")
    task.then(
        "skipped missed 1:00",
        "queued catch_up 2:00",
        "next 3:00",
        "switched at 2:30, next 3:15",
        "skipped missed 3:15",
        "skipped overlap 4:15",
        "next 5:15",
    )


def test_what_is_owed_then_is_skipped_as_by_any_change() -> None:
    task = created(HOURLY, overlap="buffer_all").wake("1:00").wake("2:00").when(planned("2:30"), "2:10").wake("2:30")
    task.then("skipped missed 2:00", "next 3:00", "switched at 2:30, next 3:15")


def test_what_was_missed_before_it_begins_to_be_caught_up_as_before_any_change() -> None:
    task = created(HOURLY, catch_up=CatchUp("all", DAY)).when(planned("3:30"), "0:30").wake("3:40")
    task.then(
        "next 4:00, backlog 1:00..3:30",
        "queued catch_up 1:00",
        "next 4:00, backlog 2:00..3:30",
        "skipped missed 2:00",
        "skipped missed 3:00",
        "next 4:00",
        "switched at 3:30, next 4:15",
    )


def test_where_runs_may_overlap_all_that_was_missed_before_it_runs() -> None:
    task = created(HOURLY, catch_up=CatchUp("all", DAY), overlap="allow_all").when(planned("3:30"), "0:30")
    task.wake("3:40")
    assert [run.nominal_at for run in task.task.runs.values()] == [at("1:00"), at("2:00"), at("3:00")]
    assert task.task.counts.skipped == 0


def test_jitter_puts_no_fire_time_beyond_the_change() -> None:
    spread = replace(HOURLY, jitter=50 * MINUTE)
    task = created(spread)
    definition = task.task.definition
    assert definition is not None
    put_off = next_after(definition.schedule, at("1:00") - 1)
    assert put_off is not None and at("1:02") < put_off < at("1:50")
    task.when(planned("1:01", QUARTER), "0:30").wake("1:01")
    assert task.events()[0] == "queued schedule 1:01"
    assert (task.run.nominal_at, task.events()[2]) == (at("1:00"), "switched at 1:01, next 1:15")


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        (OneTime(at=0), "2:00"),
        (OneTime(at=0, kind="delay", delay=HOUR), "3:00"),
        (one_time("9:00"), "9:00"),
        (every(3 * HOUR), "3:00"),
    ],
)
def test_what_is_relative_counts_from_it(schedule: Schedule, first: str) -> None:
    task = created(HOURLY).when(planned("2:00", schedule), "0:30").then(f"updated, next 1:00, from 2:00 on {first}")
    task.wake("1:00").claim().complete("1:01").wake("2:00")
    assert task.task.next_fire == (None if first == "2:00" else at(first))


def test_another_one_replaces_it_and_so_does_one_from_now_on() -> None:
    task = created(HOURLY).when(planned("2:00"), "0:30")
    task.when(planned("5:00", every(HOUR)), "0:31").then("updated, next 1:00, from 5:00 on 5:00")
    task.when(planned("5:00", every(HOUR)), "0:32").then()
    task.when(msg.Update(DefinitionPatch(schedule=QUARTER)), "0:33").then("updated, next 1:15").wakes("1:15")
    assert (task.task.pending, task.task.revision) == (None, 4)


def test_the_present_schedule_sent_again_holds_for_good() -> None:
    task = created(HOURLY).when(planned("2:00"), "0:30").when(msg.Update(DefinitionPatch(schedule=HOURLY)), "0:31")
    task.then("updated, next 1:00")
    assert task.task.pending is None


def test_it_can_be_taken_back() -> None:
    drop = msg.Update(DefinitionPatch(), drop_pending=True)
    task = created(HOURLY).when(planned("2:00"), "0:30").when(drop, "0:31").then("updated, next 1:00").wakes("1:00")
    task.when(drop, "0:32").then()
    assert task.task.revision == 3


def test_other_changes_leave_it() -> None:
    task = created(HOURLY).when(planned("2:00", name="later"), "0:30")
    assert task.task.definition is not None
    assert (task.task.definition.name, task.task.definition.schedule) == ("later", HOURLY)
    task.when(msg.Update(DefinitionPatch(name="n")), "0:31").then("updated, next 1:00, from 2:00 on 2:15")


def test_it_survives_a_pause() -> None:
    task = created(HOURLY).when(planned("2:30"), "0:30").when(msg.Pause(), "0:40").wakes("2:30").wake("2:30")
    task.then("skipped paused 1:00", "skipped paused 2:00", "next 3:00", "switched at 2:30, next 3:15").wakes(None)
    task.when(msg.Resume(missed="all"), "3:30")
    task.then("resumed, missed all", "next 4:15, backlog 3:15..3:30:00.001", "queued catch_up 3:15", "next 4:15")


def test_a_task_with_nothing_else_to_come_is_scheduled() -> None:
    task = created(one_time("0:10")).wake("0:10").claim().complete("0:11").status("completed")
    task.when(planned("2:00"), "0:30").status("scheduled").wakes("2:00").when(msg.Cancel(), "0:31").then("cancelled")
    task.wakes(None)
    assert task.task.pending is None


def test_a_new_schedule_counts_its_own_runs() -> None:
    task = created(replace(HOURLY, max_runs=1)).when(planned("2:00", replace(QUARTER, max_runs=1)), "0:30")
    task.wake("1:00").then("queued schedule 1:00", "next -").claim().complete("1:01").status("scheduled")
    task.wake("2:00").then("switched at 2:00, next 2:15").wake("2:15").then("queued schedule 2:15", "next -")


def refusal(task: Scenario) -> str:
    assert isinstance(task.refusal, errors.Invalid)
    return task.refusal.pointer


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (planned("0:30"), "/effective_from"),
        (planned("0:29"), "/effective_from"),
        (msg.Update(DefinitionPatch(schedule=QUARTER), at("0:30") + 3_660 * DAY + 1), "/effective_from"),
        (msg.Update(DefinitionPatch(name="n"), at("2:00")), "/effective_from"),
        (planned("2:00", one_time("1:59")), "/schedule/at"),
        (planned("2:00", replace(QUARTER, end_at=at("1:30"))), "/schedule/end_at"),
        (planned("2:00", Cron("0 0 0 1 1 ? 2025")), "/schedule/cron"),
    ],
)
def test_what_cannot_take_force_is_refused(command: msg.Update, pointer: str) -> None:
    assert refusal(created(HOURLY).when(command, "0:30")) == pointer


@pytest.mark.parametrize("claimed", [True, False])
def test_a_run_takes_what_holds_when_it_is_claimed(claimed: bool) -> None:
    task = created(HOURLY, timeout=10 * MINUTE).wake("1:00")
    if claimed:
        task.claim("1:01")
    task.when(msg.Update(DefinitionPatch(timeout=20 * MINUTE)), "1:02")
    if claimed:
        assert task.run.attempts[0].deadline == at("1:11")
        task.fail("1:03").wake("1:04")
    task.claim("1:05", token="u")
    assert task.run.attempts[-1].deadline == at("1:25")
