"""Backfills: runs for fire times that are over, beside those that the schedule makes."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.backfill import MAX_BACKFILL_RUNS, MOST_BACKFILLED
from taskscheduler.domain.definition import DefinitionPatch
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.schedule import AnyOf, Schedule, count_between
from taskscheduler.domain.state import MAX_BACKFILLS
from tests.domain.scenario import DAY, HOUR, HOURLY, MINUTE, Cron, at, created, every, one_time, replace


def over(first: str, until: str, overlap: str = "buffer_all") -> msg.Backfill:
    return msg.Backfill(at(first), at(until), overlap)  # type: ignore[arg-type]


def test_runs_are_made_one_after_another() -> None:
    task = created(HOURLY).wake("1:00").claim().complete("1:01")
    task.when(over("-3:00", "0:00"), "1:30").then(
        "backfill -3:00..0:00 x3", "queued backfill -3:00", "backfill at -2:00, 1 fired"
    )
    run = task.run
    assert (run.cause, run.nominal_at, run.scheduled_for) == ("backfill", at("-3:00"), at("-3:00"))
    task.claim().complete("1:31").then("succeeded #1", "queued backfill -2:00", "backfill at -1:00, 2 fired")
    task.claim().fail("1:32", retryable=False)
    task.then("failed #1, gave_up", "queued backfill -1:00", "backfill at -, 3 fired").wakes("2:00")
    [backfill] = task.task.backfills.values()
    assert (backfill.status, backfill.remaining, backfill.active, backfill.failed) == ("running", 0, 1, 1)
    task.claim().complete("1:33").then("succeeded #1")
    assert [b.status for b in task.task.backfills.values()] == ["completed"]
    assert (task.task.counts.fired, task.task.counts.skipped) == (4, 0)


def test_many_at_once_leave_room_for_the_schedule() -> None:
    task = created(every(MINUTE), overlap="allow_all")
    task.when(msg.Pause(), "0:00:30").when(msg.Resume(), "20:00:30")
    task.when(over("0:00", "20:00", "allow_all"))
    assert len(task.task.runs) == MAX_BACKFILL_RUNS
    [backfill] = task.task.backfills.values()
    assert (backfill.total, backfill.fired, backfill.active) == (1199, MAX_BACKFILL_RUNS, MAX_BACKFILL_RUNS)
    task.claim().complete("20:00:40").then("succeeded #1", "queued backfill 8:21", "backfill at 8:22, 501 fired")
    task.wake("20:01").then("queued schedule 20:01", "next 20:02")
    # Another one has no room as long as this one takes it all.
    task.when(over("0:00", "0:02", "allow_all"), "20:01:10").then("backfill 0:00..0:02 x1")


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"])
def test_its_runs_are_no_overlap_for_the_schedule(overlap: str) -> None:
    task = created(HOURLY, overlap=overlap).when(over("-3:00", "0:00"), "0:30")
    task.wake("1:00").then("queued schedule 1:00", "next 2:00")
    assert len(task.task.runs) == 2


def test_runs_of_the_schedule_hold_no_backfill_up() -> None:
    task = created(HOURLY).wake("1:00").when(over("-3:00", "-1:00"), "1:10")
    task.then("backfill -3:00..-1:00 x2", "queued backfill -3:00", "backfill at -2:00, 1 fired")


def test_what_is_owed_does_not_wait_for_a_backfill() -> None:
    task = created(HOURLY, overlap="buffer_all").wake("1:00").when(over("-3:00", "0:00"), "1:30")
    first, _ = task.task.runs.values()
    task.wake("2:00").then("next 3:00, backlog 2:00..2:00:00.001")
    task.claim("2:10", first).complete("2:11", task.task.runs[first.id])
    task.then("succeeded #1", "queued schedule 2:00", "next 3:00")


def test_max_runs_is_not_used_up() -> None:
    bounded = replace(HOURLY, max_runs=2)
    task = created(bounded).when(over("-9:00", "0:00", "allow_all"), "0:30").wakes("1:00")
    task.wake("1:00").then("queued schedule 1:00", "next 2:00").claim().complete("1:01")
    task.wake("2:00").then("queued schedule 2:00", "next -").claim().complete("2:01")
    task.when(over("1:00", "2:00"), "2:30").then(
        "backfill 1:00..2:00 x1", "queued backfill 1:00", "backfill at -, 1 fired"
    )


def test_jitter_does_not_put_off_what_is_over() -> None:
    task = created(replace(HOURLY, jitter=30 * MINUTE)).when(over("-2:00", "0:00", "allow_all"), "0:10")
    assert [run.scheduled_for for run in task.task.runs.values()] == [at("-2:00"), at("-1:00")]


def test_a_paused_task_makes_none_until_it_is_resumed() -> None:
    task = created(HOURLY).when(msg.Pause(), "0:10").when(over("-2:00", "0:00"), "0:20").then("backfill -2:00..0:00 x2")
    task.wake("0:25").then().when(msg.Resume(), "0:30")
    task.then("resumed", "queued backfill -2:00", "backfill at -1:00, 1 fired").when(msg.Pause(), "0:31")
    task.claim().complete("0:32").then("succeeded #1")
    task.when(msg.Resume(), "0:40").then("resumed", "queued backfill -1:00", "backfill at -, 2 fired")


def test_it_keeps_the_schedule_it_was_asked_with() -> None:
    task = created(HOURLY).when(over("-4:00", "0:00"), "0:10")
    task.when(msg.Update(DefinitionPatch(schedule=Cron("30 * * * *"))), "0:20").then("updated, next 0:30")
    task.claim().complete("0:21").then("succeeded #1", "queued backfill -3:00", "backfill at -2:00, 2 fired")
    # A new one goes by the schedule in force, for times at which another was.
    task.when(over("-1:00", "0:00", "allow_all"), "0:22")
    task.then("backfill -1:00..0:00 x1", "queued backfill -1:30", "backfill at -, 1 fired")


def test_cancel_ends_it_and_its_runs_alone() -> None:
    task = created(HOURLY).wake("1:00").when(over("-5:00", "0:00", "allow_all"), "1:30")
    [backfill_id] = task.task.backfills
    task.when(over("-9:00", "-5:00"), "1:31").when(msg.CancelBackfill(backfill_id), "1:32")
    task.then(*["run cancelled"] * 5, "backfill cancelled, 0 left")
    assert [run.cause for run in task.task.runs.values()] == ["schedule", "backfill"]
    other = list(task.task.backfills)[1]
    task.when(msg.CancelBackfill(other), "1:33").then("run cancelled", "backfill cancelled, 3 left")
    assert [(b.status, b.remaining, b.active) for b in task.task.backfills.values()] == [
        ("cancelled", 0, 0),
        ("cancelled", 3, 0),
    ]
    task.when(msg.CancelBackfill(other), "1:34").refused(errors.WrongState)
    task.when(msg.CancelBackfill("none"), "1:34").refused(errors.BackfillNotFound)


def test_one_whose_last_runs_are_cancelled_with_the_task_is_cancelled() -> None:
    task = created(HOURLY).when(over("-2:00", "0:00", "allow_all"), "0:30").when(msg.Cancel(), "0:31")
    task.then("run cancelled", "run cancelled", "backfill task_ended, 0 left", "cancelled")
    [backfill] = task.task.backfills.values()
    assert (backfill.status, backfill.remaining, backfill.reason) == ("cancelled", 0, "task_ended")


@pytest.mark.parametrize(("command", "ended"), [(msg.Cancel(), "cancelled"), (msg.Delete(), "deleted")])
def test_the_end_of_the_task_is_that_of_its_backfills(command: msg.Command, ended: str) -> None:
    task = created(HOURLY).when(over("-5:00", "0:00"), "0:30").when(command, "0:31")
    task.then("run cancelled", "backfill task_ended, 4 left", ended)


def test_cancel_other_leaves_a_backfill_alone() -> None:
    task = created(HOURLY, overlap="cancel_other").wake("1:00").when(over("-2:00", "0:00"), "1:30")
    task.wake("2:00").then("run cancelled", "queued schedule 2:00", "next 3:00")
    assert sorted(run.cause for run in task.task.runs.values()) == ["backfill", "schedule"]


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (over("0:00", "0:00"), "/to"),
        (over("-1:00", "2:30"), "/to"),
        (msg.Backfill(at("0:00") - 3_661 * DAY, at("0:00")), "/from"),
        (over("-2:01", "-2:59"), "/from"),
    ],
)
def test_a_range_that_cannot_be_run_is_refused(command: msg.Backfill, pointer: str) -> None:
    task = created(HOURLY).when(command, "0:30").refused(errors.Invalid)
    assert isinstance(task.refusal, errors.Invalid)
    assert task.refusal.pointer == pointer


def test_a_hundred_thousand_fire_times_and_no_more() -> None:
    task = created(Cron("* * * * *")).when(msg.Backfill(at("0:00") - 100_001 * MINUTE, at("0:00")), "0:30")
    task.refused(errors.Invalid)
    task.when(msg.Backfill(at("0:00") - 100_000 * MINUTE, at("0:00")), "0:31")
    assert task.refusal is None
    assert [b.total for b in task.task.backfills.values()] == [100_000]


def test_too_many_are_refused_without_counting_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0

    def count(schedule: Schedule, start: int, end: int) -> int:
        nonlocal counted
        counted += (found := count_between(schedule, start, end))
        return found

    monkeypatch.setattr("taskscheduler.domain.backfill.count_between", count)
    often = AnyOf((Cron("*/2 * * * *"), Cron("1-59/2 * * * *")))
    created(often).when(msg.Backfill(at("0:00") - 3_650 * DAY, at("0:00")), "0:30").refused(errors.Invalid)
    assert counted < 4 * MOST_BACKFILLED


def test_so_many_at_once_and_those_that_ended_make_room() -> None:
    task = created(HOURLY)
    for _ in range(MAX_BACKFILLS):
        task.when(over("-1:00", "0:00"), "0:30")
    task.when(over("-1:00", "0:00"), "0:31").refused(errors.WrongState)
    first, second, *_ = task.task.backfills
    task.when(msg.CancelBackfill(second), "0:32").when(over("-1:00", "0:00"), "0:33")
    assert len(task.task.backfills) == MAX_BACKFILLS
    assert first in task.task.backfills
    assert second not in task.task.backfills


def test_a_cancelled_task_refuses_and_a_finished_one_does_not() -> None:
    created(HOURLY).when(msg.Cancel(), "0:10").when(over("-1:00", "0:00"), "0:20").refused(errors.WrongState)
    task = created(one_time("0:10")).wake("0:10").claim().complete("0:11").status("completed")
    task.when(over("0:00", "0:20"), "0:30").status("running").claim().complete("0:31").status("completed")


def test_a_repeated_request_begins_none() -> None:
    task = created(HOURLY).when(over("-2:00", "0:00"), "0:30", key="k")
    task.when(over("-2:00", "0:00"), "0:31", key="k").then()
    assert task.decided is not None
    assert [task.decided.backfill_id] == list(task.task.backfills)


def test_its_runs_are_kept_as_long_as_others() -> None:
    old = msg.Backfill(at("0:00") - 100 * DAY, at("0:00") - 100 * DAY + 2 * HOUR, "allow_all")
    task = created(HOURLY, timeout=90 * DAY).when(old, "0:30")
    first, second = task.task.runs.values()
    assert first.scheduled_for == at("0:00") - 100 * DAY
    assert run_id_floor(at("0:30")) < first.id < second.id < run_id_floor(at("0:31"))
    task.claim("0:31", first, lease=90 * DAY).claim("0:31", second, token="u", lease=90 * DAY)
    task.complete("0:40", first, number=1).wake(at("0:40") + 30 * DAY)
    expired = [event for event in task.events(retention=True) if event.startswith("expired")]
    assert expired == ["expired before 0:30, next 744:40"]
