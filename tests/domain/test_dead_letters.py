"""Runs that failed for good: run again although others have ended since, and taken off the list."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.events import DeadLetterPurged, Upstream
from taskscheduler.domain.retry import Retry
from tests.domain.scenario import HOURLY, Scenario, created

ONCE = Retry(max_attempts=1)


def failed() -> tuple[Scenario, str]:
    """A task, and a run of it that failed before another one succeeded."""
    task = created(HOURLY, retry=ONCE).when(msg.Trigger(), "0:01").claim()
    run_id = task.run.id
    task.fail().when(msg.Trigger(), "0:02").claim().complete("0:03")
    return task, run_id


def test_one_that_is_not_the_last_can_be_run_again() -> None:
    task, run_id = failed()
    task.when(msg.Retry(), "0:04").refused(errors.WrongState)
    task.when(msg.Retry(run_id), "0:04").then("queued retry 0:04")
    assert (task.run.retry_of, task.run.cause) == (run_id, "retry")


def test_its_retry_follows_what_it_followed() -> None:
    task, run_id = failed()
    upstream = {"b": Upstream("r9", "succeeded", 7, '"x"', False, 2)}
    task.when(msg.Retry(run_id, "b", upstream), "0:04")
    assert (task.run.caused_by, task.run.upstream, task.run.depth) == ("b", upstream, 3)


def test_it_is_not_run_again_twice_at_once() -> None:
    task, run_id = failed()
    task.when(msg.Retry(run_id), "0:04")
    first = task.run
    task.when(msg.Retry(run_id), "0:04").refused(errors.WrongState)
    assert first.id in str(task.refusal)
    task.claim().fail("0:05").when(msg.Retry(run_id), "0:06").then("queued retry 0:06")
    assert task.run.retry_of == run_id


@pytest.mark.parametrize("end", ["complete", "run"])
def test_what_has_not_failed_is_not_run_again(end: str) -> None:
    task = created(HOURLY, retry=ONCE).when(msg.Trigger(), "0:01").claim()
    run_id = task.run.id
    if end == "complete":
        task.complete("0:02")
    task.when(msg.Retry(run_id), "0:03").refused(errors.WrongState)


def test_it_is_taken_off_the_list_even_when_its_task_is_cancelled() -> None:
    task, run_id = failed()
    task.when(msg.Cancel(), "0:04").when(msg.Retry(run_id), "0:05").refused(errors.WrongState)
    before = task.task
    task.when(msg.PurgeDeadLetter(run_id, 7, "E"), "0:06").then("purged")
    assert task.decided is not None
    assert task.decided.events == (DeadLetterPurged(task.now, run_id, 7, "E", "ada"),)
    assert task.task.last_finished == before.last_finished
    task.when(msg.Delete(), "0:07").when(msg.PurgeDeadLetter(run_id, 7, "E"), "0:08").refused(errors.TaskGone)
