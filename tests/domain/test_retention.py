"""What has been kept long enough is dropped, by events."""

from __future__ import annotations

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.state import Task, wakeup
from tests.domain.scenario import DAY, HOURLY, START, at, created, define, every

POLICY = msg.Policy(keep_runs=10 * DAY, keep_deleted=5 * DAY)


def days(count: float) -> int:
    return START + int(count * DAY)


def test_the_end_of_a_run_plans_its_expiry() -> None:
    task = created(policy=POLICY).wake("0:00").claim().complete("0:01")
    task.then("succeeded #1", "expire at 240:01", retention=True)
    assert wakeup(task.task) == at("240:01")
    task.wake(days(9)).then()
    task.wake("240:01").then("expired before 0:01, next 264:01")
    task.wake("264:01").then("expired before 24:01, next -")
    assert wakeup(task.task) is None


def test_runs_that_go_on_ending_are_looked_at_once_a_day() -> None:
    task = created(every(DAY), policy=POLICY)
    found = []
    for day in range(1, 16):
        task.wake(days(day)).claim().complete(days(day) + 1000)
        found += [event for event in task.events(True) if event.startswith("expire")]
    assert found == [
        "expire at 264:00:01",
        *(f"expired before {24 * day}:00:01, next {24 * day + 264}:00:01" for day in range(1, 6)),
    ]


def test_an_active_run_is_not_dropped() -> None:
    task = created(HOURLY, policy=POLICY, timeout=20 * DAY).wake("1:00").claim(lease=20 * DAY).wake("2:00")
    task.wake("242:00")
    assert "expired before 1:00, next 266:00" in task.events()


def test_a_deleted_task_is_purged_and_its_version_goes_on() -> None:
    task = created(HOURLY, policy=POLICY).when(msg.Trigger(), "0:10", key="k").claim().complete("0:11")
    task.when(msg.Delete(), "0:30").then("deleted", "expire at 120:30", retention=True)
    assert wakeup(task.task) == at("120:30")
    version = task.task.version
    task.when(msg.Trigger(), "120:29").refused(errors.TaskGone)
    task.wake("120:30").then("purged", retention=True)
    assert task.task == Task("a", version=version + 1, recorded_at=at("120:30"))
    assert wakeup(task.task) is None
    task.when(msg.Trigger(), "120:31").refused(errors.TaskNotFound)
    task.when(msg.Create(define(HOURLY)), "120:32").then("created, next 121:00", retention=True)
    assert (task.task.version, task.task.created_version, task.task.revision) == (version + 2, version + 2, 1)


def test_creating_when_the_purge_is_due_but_not_triggered() -> None:
    task = created(HOURLY, policy=POLICY).when(msg.Trigger(), "0:10").claim().complete("0:11")
    task.when(msg.Delete(), "0:30").when(msg.Create(define(HOURLY)), "120:29").refused(errors.TaskExists)
    task.when(msg.Create(define(HOURLY)), "120:30").then("purged", "created, next 121:00", retention=True)
