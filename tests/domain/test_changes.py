"""Updates, pauses and ends, and that none of them makes a fire time vanish."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch
from taskscheduler.domain.schedule import OneTime
from tests.domain.scenario import DAY, HOUR, HOURLY, MINUTE, at, created, every, one_time

SKIP = "skipped paused"


def patch(**fields: object) -> msg.Update:
    return msg.Update(DefinitionPatch(**fields))  # type: ignore[arg-type]


def test_an_update_changes_what_it_names() -> None:
    task = created(HOURLY, tags={"a": "b"}).when(patch(name="new"), "0:30").then("updated, next 1:00")
    assert task.task.definition is not None
    assert (task.task.definition.name, task.task.definition.tags) == ("new", {"a": "b"})
    assert (task.task.revision, task.task.version, task.task.updated_at) == (2, 2, at("0:30"))


def test_an_update_that_changes_nothing_is_none() -> None:
    task = created(HOURLY, name="same").when(patch(name="same", schedule=HOURLY), "0:30").then()
    assert (task.task.revision, task.task.version) == (1, 1)


@pytest.mark.parametrize(
    ("schedule", "events", "wakes"),
    [
        (one_time("5:00"), ["updated, next 5:00"], "5:00"),
        (OneTime(at=0, kind="delay", delay=HOUR), ["updated, next 1:30"], "1:30"),
        (OneTime(at=0), ["updated, next 0:30", "queued schedule 0:30", "next -"], None),
        (one_time("0:10"), ["updated, next 0:10", "queued schedule 0:10", "next -"], None),
        (every(HOUR), ["updated, next 1:00"], "1:00"),
    ],
)
def test_a_new_schedule_counts_from_the_update(schedule: object, events: list[str], wakes: str | None) -> None:
    created(one_time("7:30")).when(patch(schedule=schedule), "0:30").then(*events).wakes(wakes)


def test_an_interval_without_an_anchor_keeps_the_creation_as_one() -> None:
    created(every(HOUR), "0:10").when(patch(schedule=every(2 * HOUR)), "0:30").then("updated, next 2:10")


def test_a_finished_one_time_task_given_a_new_schedule_is_scheduled_again() -> None:
    task = created().wake("0:00").claim().complete("0:01").status("completed")
    task.when(patch(name="x"), "0:02").then("updated, next -").status("completed")
    task.when(patch(schedule=one_time("5:00")), "0:03").then("updated, next 5:00").status("scheduled")
    task.wake("5:00").then("queued schedule 5:00", "next -")


@pytest.mark.parametrize(
    ("command", "events"),
    [
        (patch(schedule=every(DAY)), ["queued schedule 1:00", "next 2:00", "updated, next 24:00"]),
        (patch(name="x"), ["queued schedule 1:00", "next 2:00", "updated, next 2:00"]),
        (msg.Pause(), ["queued schedule 1:00", "next 2:00", "paused"]),
        (msg.Cancel(), ["queued schedule 1:00", "next 2:00", "run cancelled", "cancelled"]),
        (msg.Delete(), ["queued schedule 1:00", "next 2:00", "run cancelled", "deleted"]),
        (msg.Trigger(), ["queued schedule 1:00", "next 2:00", "queued manual 1:00:30"]),
    ],
)
def test_what_comes_between_due_and_trigger_settles_first(command: msg.Command, events: list[str]) -> None:
    created(HOURLY).when(command, "1:00:30").then(*events)


def test_a_paused_task_skips_its_fire_times_and_does_not_catch_them_up() -> None:
    task = created(HOURLY, catch_up=CatchUp("all", DAY)).when(msg.Pause("why"), "0:30").then("paused")
    task.wakes(None).status("paused").wake("2:30").then()
    skips = [f"{SKIP} 1:00", f"{SKIP} 2:00", f"{SKIP} 3:00"]
    task.when(msg.Resume(), "3:30").then(*skips, "next 4:00", "resumed").status("scheduled").wakes("4:00")
    assert task.task.counts.skipped == 3


def test_a_pause_says_who_when_and_why() -> None:
    task = created(HOURLY).when(msg.Pause("why"), "0:30", actor="ada")
    assert task.task.pause is not None
    assert (task.task.pause.note, task.task.pause.by, task.task.pause.at) == ("why", "ada", at("0:30"))
    task.when(msg.Pause("again"), "0:31").then()
    assert task.task.pause.note == "why"
    task.when(msg.Resume(), "0:32").then("resumed").when(msg.Resume(), "0:33").then()


def test_a_one_time_task_paused_over_its_time_runs_after_the_pause() -> None:
    task = created(one_time("1:00")).when(msg.Pause(), "0:30").wake("1:00").then().wakes(None)
    task.when(msg.Resume(), "9:00").then("resumed", "queued schedule 1:00", "next -")


@pytest.mark.parametrize(
    ("command", "events"),
    [
        (msg.Cancel(), [f"{SKIP} 1:00", "next -", "cancelled"]),
        (msg.Delete(), [f"{SKIP} 1:00", "next -", "deleted"]),
        (patch(schedule=one_time("9:00")), [f"{SKIP} 1:00", "next -", "updated, next 9:00"]),
        (patch(name="x"), ["updated, next 1:00"]),
    ],
)
def test_a_one_time_fire_that_a_pause_covered_does_not_vanish(command: msg.Command, events: list[str]) -> None:
    created(one_time("1:00")).when(msg.Pause(), "0:30").when(command, "2:00").then(*events)


def test_before_its_time_a_paused_one_time_task_can_be_moved() -> None:
    task = created(one_time("1:00")).when(msg.Pause(), "0:30")
    task.when(patch(schedule=one_time("9:00")), "0:40").then("updated, next 9:00")


def test_a_run_goes_on_while_its_task_is_paused() -> None:
    created(HOURLY).wake("1:00").when(msg.Pause(), "1:01").claim("1:02").complete("1:03").then("succeeded #1")


def test_cancel_ends_active_runs_and_what_they_report_later_is_evidence() -> None:
    task = created(one_time("9:00"))
    for token in ("a", "b"):
        task.when(msg.Trigger(), "1:00").claim(token=token, lease=30_000)
    queued = task.when(msg.Trigger(), "1:00").run
    first, second = list(task.task.runs.values())[:2]
    task.when(msg.Cancel(), "1:00:10").then(*["run cancelled"] * 3, "cancelled").status("cancelled").wakes(None)
    assert task.task.counts.cancelled == 3
    assert task.task.runs == {}
    for run, token in ((first, "a"), (second, "b")):
        task.renew("1:00:11", run, token)
        assert task.decided is not None
        assert (task.decided.cancel_requested, task.decided.lease_until) == (True, at("1:00:30"))
        task.complete("1:00:12", run, token, number=1)
        assert task.events() == ["late #1 succeeded"]
        assert type(task.refusal) is errors.ClaimLost
        task.complete("1:00:13", run, token, number=1).refused(errors.ClaimLost)
    task.claim("1:00:14", queued).refused(errors.NotClaimable)


def test_nothing_more_is_done_to_a_cancelled_task() -> None:
    task = created(HOURLY).when(msg.Cancel(), "0:30")
    for command in (patch(name="x"), msg.Cancel(), msg.Pause(), msg.Resume(), msg.Trigger(), msg.Retry()):
        task.when(command, "0:31").refused(errors.WrongState)
    task.wake("9:00").then()
    task.when(msg.Delete(), "9:01").then("deleted")


def test_only_what_goes_on_can_be_cancelled() -> None:
    created().wake("0:00").claim().complete().when(msg.Cancel()).refused(errors.WrongState)
    created().wake("0:00").claim().fail(retryable=False).when(msg.Cancel()).refused(errors.WrongState)
    created().when(msg.Cancel()).then("queued schedule 0:00", "next -", "run cancelled", "cancelled")


def test_a_deleted_task_is_gone() -> None:
    task = created(HOURLY).wake("1:00").claim().when(msg.Delete(), "1:01").then("run cancelled", "deleted")
    for command in (patch(name="x"), msg.Cancel(), msg.Delete(), msg.Pause(), msg.Trigger(), msg.Retry()):
        task.when(command, "1:02").refused(errors.TaskGone)
    task.wake("9:00").then()
    assert not task.task.exists


@pytest.mark.parametrize("command", [patch(name="x"), msg.Cancel(), msg.Delete(), msg.Pause(), msg.Trigger()])
def test_if_match_names_the_revision(command: msg.Command) -> None:
    task = created(HOURLY).when(patch(name="y"), "0:10")
    task.when(command, "0:20", if_match=1).refused(errors.RevisionMismatch)
    task.when(command, "0:20", if_match=2)
    assert task.refusal is None


def test_retry_runs_the_last_failed_run_again() -> None:
    task = created().wake("0:00").claim().fail(retryable=False).status("failed")
    failed = task.task.last_run
    assert failed is not None
    task.when(msg.Retry(), "0:05").then("queued retry 0:05").status("running")
    assert (task.run.retry_of, task.run.nominal_at, task.run.attempts) == (failed.id, None, ())
    task.when(msg.Retry(), "0:06").refused(errors.WrongState)
    task.claim().complete("0:07").status("completed").when(msg.Retry()).refused(errors.WrongState)
    created(HOURLY).when(msg.Retry()).refused(errors.WrongState)


def test_a_failed_run_can_be_retried_though_others_were_skipped_meanwhile() -> None:
    task = created(HOURLY).wake("1:00").claim(lease=3 * HOUR)
    failed = task.run
    task.when(patch(timeout=3 * HOUR), "1:01").wake("2:00").then(
        "timed_out #1, retry 2:00:01.050", "skipped overlap 2:00", "next 3:00"
    )
    task.wake("2:00:02").claim().fail("2:01", retryable=False)
    task.when(msg.Retry(), "2:05").then("queued retry 2:05")
    assert task.run.retry_of == failed.id


def test_a_skipped_time_is_the_last_run_shown() -> None:
    task = created(HOURLY, timeout=DAY).wake("1:00").claim(lease=5 * HOUR).wake("2:00")
    last = task.task.last_run
    assert last is not None
    assert (last.status, last.reason, last.nominal_at) == ("skipped", "overlap", at("2:00"))
    task.wake("3:00").complete("3:01").wake("4:00")
    assert task.task.last_run == task.run


@pytest.mark.parametrize("minutes", [1, 5])
def test_a_repeated_report_is_no_loss_though_times_were_skipped_meanwhile(minutes: int) -> None:
    task = created(every(MINUTE), timeout=DAY).wake("0:01").claim(lease=HOUR)
    run = task.run
    for minute in range(2, 2 + minutes):
        task.wake(f"0:{minute:02}")
    task.complete("0:10", run, number=1).complete("0:10:01", run, number=1)
    assert task.refusal is None
