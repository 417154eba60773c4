"""A task that keeps failing pauses itself."""

from __future__ import annotations

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import DefinitionPatch
from tests.domain.scenario import DAY, HOUR, HOURLY, Retry, Scenario, at, created, one_time


def fails(task: Scenario, time: str) -> Scenario:
    return task.wake(time).claim().fail(at(time) + 60_000, retryable=False)


def test_it_pauses_with_the_failure_that_was_one_too_many() -> None:
    task = created(HOURLY, pause_on_failure=2)
    fails(task, "1:00").then("failed #1, gave_up").status("scheduled")
    assert task.task.failures_in_row == 1
    fails(task, "2:00").then("failed #1, gave_up", "paused itself").status("paused").wakes(None)
    pause = task.task.pause
    assert pause is not None
    assert (pause.by, pause.at) == ("scheduler", at("2:01"))
    assert pause.note == "the last 2 runs failed (pause_on_failure is 2); the last error was E: why"


def test_only_failures_in_a_row_count() -> None:
    task = fails(created(HOURLY, pause_on_failure=2), "1:00")
    task.wake("2:00").claim().complete("2:01")
    assert task.task.failures_in_row == 0
    fails(task, "3:00").status("scheduled")
    fails(task, "4:00").status("paused")


def test_resume_begins_to_count_anew() -> None:
    task = fails(created(HOURLY, pause_on_failure=1), "1:00").when(msg.Resume(), "1:30").status("scheduled")
    assert task.task.failures_in_row == 0
    fails(task, "2:00").then("failed #1, gave_up", "paused itself")


def test_an_attempt_that_is_tried_again_is_no_failed_run() -> None:
    task = created(HOURLY, pause_on_failure=1, retry=Retry(max_attempts=2, jitter=0.0)).wake("1:00")
    task.claim().fail("1:01").then("failed #1, retry 1:01:01")
    assert task.task.failures_in_row == 0
    task.wake("1:01:01").claim(token="u").fail("1:02", token="u").then("failed #2, attempts_exhausted", "paused itself")


def test_a_run_that_times_out_pauses_before_the_next_is_made() -> None:
    task = created(HOURLY, pause_on_failure=1, timeout=HOUR, retry=Retry(max_attempts=1)).wake("1:00")
    task.claim(lease=HOUR).wake("2:00").then("timed_out #1, attempts_exhausted", "paused itself").wakes(None)
    task.when(msg.Resume(missed="latest"), "2:10").then("resumed, missed latest", "queued catch_up 2:00", "next 3:00")


def test_runs_of_every_cause_count() -> None:
    task = created(HOURLY, pause_on_failure=3).when(msg.Trigger(), "0:10").claim().fail("0:11", retryable=False)
    task.when(msg.Retry(), "0:12").claim().fail("0:13", retryable=False).status("scheduled")
    task.when(msg.Backfill(at("-2:00"), at("0:00")), "0:14").claim().fail("0:15", retryable=False)
    task.then("failed #1, gave_up", "paused itself")


def test_a_cancelled_run_is_neither() -> None:
    task = fails(created(HOURLY, pause_on_failure=2, overlap="cancel_other"), "1:00").wake("2:00").wake("3:00")
    assert task.task.failures_in_row == 1


def test_there_is_nothing_to_pause_when_nothing_is_to_come() -> None:
    task = fails(created(one_time("1:00"), pause_on_failure=1), "1:00").then("failed #1, gave_up").status("failed")
    assert task.task.failures_in_row == 1
    early = created(one_time("9:00"), pause_on_failure=1).when(msg.Trigger(), "0:10").claim()
    early.fail("0:11", retryable=False).then("failed #1, gave_up", "paused itself")
    early.when(msg.Resume(), "10:00").then("resumed", "queued schedule 9:00", "next -")


def test_the_number_may_change_and_holds_from_the_next_failure_on() -> None:
    task = fails(fails(created(HOURLY), "1:00"), "2:00").status("scheduled")
    task.when(msg.Update(DefinitionPatch(pause_on_failure=1)), "2:30").then("updated, next 3:00")
    fails(task, "3:00").status("paused")
    assert task.task.failures_in_row == 3
    task.when(msg.Update(DefinitionPatch(pause_on_failure=None)), "3:30").when(msg.Resume(), "3:40")
    fails(task, "4:00").status("scheduled")


def test_one_that_is_paused_already_keeps_its_note() -> None:
    task = created(HOURLY, pause_on_failure=1).wake("1:00").when(msg.Pause("tea"), "1:01").claim()
    task.fail("1:02", retryable=False).then("failed #1, gave_up")
    assert task.task.pause is not None
    assert task.task.pause.note == "tea"


def test_a_long_error_is_cut_in_the_note() -> None:
    task = created(HOURLY, pause_on_failure=1, timeout=DAY).wake("1:00").claim()
    task.fail("1:01", retryable=False, message="x" * 1_024)
    assert task.task.pause is not None
    assert len(task.task.pause.note) == 1_000
