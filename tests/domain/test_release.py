"""Attempts that are given back before they begin, and progress that is worth a record."""

from __future__ import annotations

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.settle import MOST_RELEASED
from tests.domain.scenario import HOUR, Scenario, at, created

STEADY = Retry(jitter=0, max_attempts=2, initial=1_000)


def queued() -> Scenario:
    return created(retry=STEADY, timeout=HOUR).wake("0:00")


def release(task: Scenario, time: str, number: int = 0, token: str = "t") -> Scenario:
    run = task.run
    return task.when(msg.Release(run.id, number or len(run.attempts), token), time)


def test_a_released_run_waits_again_at_once_in_its_place() -> None:
    task = release(queued().claim("0:01"), "0:02").then("released #1")
    run = task.run
    assert (run.status, run.available_at, run.tries) == ("queued", at("0:01"), 0)
    task.wakes(None)
    task.claim("0:03").complete("0:04").then("succeeded #2")


def test_it_is_no_attempt_of_the_retry_policy() -> None:
    task = release(queued().claim("0:01"), "0:02").claim("0:03").fail("0:04").then("failed #2, retry 0:04:01")
    task = release(task.wake("0:04:01").claim("0:05"), "0:06").then("released #3")
    task.claim("0:07").fail("0:08").then("failed #4, attempts_exhausted")


def test_who_holds_it_no_more_gives_nothing_back() -> None:
    task = release(queued().claim("0:01"), "0:02")
    release(task, "0:03", number=1).then()  # the same again
    task = task.claim("0:04", token="other")
    release(task, "0:05", token="t").refused(errors.ClaimLost)
    release(task, "0:06", number=1).then()
    task.complete("0:07", token="other").then("succeeded #2")


def test_an_outcome_of_a_released_attempt_is_late() -> None:
    task = release(queued().claim("0:01"), "0:02").complete("0:03", number=1)
    assert task.events() == ["late #1 succeeded"]
    assert type(task.refusal) is errors.ClaimLost


def test_what_all_give_back_is_lost_in_the_end() -> None:
    task = queued()
    for number in range(1, MOST_RELEASED + 1):
        task = release(task.claim("0:01"), "0:01").then(f"released #{number}")
    release(task.claim("0:02"), "0:02").then(f"lost #{MOST_RELEASED + 1}, retry 0:02:01")


def test_progress_is_news_once_a_second_and_a_heartbeat_is_not() -> None:
    task = queued().claim("0:01", lease=30_000)
    run = task.run

    def beat(time: str, progress: str | None) -> Scenario:
        return task.when(msg.Renew(run.id, 1, "t", progress), time)

    task = beat("0:01:00.500", '"a"').then()
    task = beat("0:01:02", '"a"').then("renewed #1, lease 0:01:32")
    task = beat("0:01:02.500", '"b"').then()
    task = beat("0:01:04", '"a"').then()
    task = beat("0:01:05", None).then()
    task = beat("0:01:06", '"b"').then("renewed #1, lease 0:01:36")
    assert task.run.attempts[-1].progress == '"b"'
