"""Runs that wait too long, fall silent or take too long in all: each ends by its own timer, with its own reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import DefinitionPatch
from taskscheduler.domain.evolve import MOST_UNHEARD
from taskscheduler.domain.retry import Retry, after_failure, delay
from taskscheduler.domain.settle import HEARD_FOR
from tests.domain.scenario import HOUR, HOURLY, MINUTE, Scenario, at, created

STEADY = Retry(jitter=0)
SECOND = 1_000


def queued(**fields: object) -> Scenario:
    return created(**{"retry": STEADY, **fields}).wake("0:00")  # type: ignore[arg-type]


def test_a_run_that_nobody_claims_fails() -> None:
    task = queued(queue_timeout=MINUTE).wakes("0:01").wake("0:00:59.999").then()
    task.wake("0:01").then("run failed, queue_timeout, QueueTimeout").status("failed").wakes(None)
    last = task.task.last_run
    assert last is not None
    assert (last.reason, last.attempts, last.finished_at) == ("queue_timeout", (), at("0:01"))
    assert last.error is not None
    assert last.error.message == "the run was not claimed within its queue timeout"
    assert (task.task.counts.failed, task.task.dues) == (1, {})


def test_a_claim_in_time_ends_the_waiting() -> None:
    task = queued(queue_timeout=MINUTE).claim("0:00:59.999", lease=30_000).wakes("0:01:29.999")
    assert task.run.claim_by is None
    task.complete("0:01:10").status("completed")


def test_a_claim_that_comes_too_late_gets_nothing() -> None:
    task = queued(queue_timeout=MINUTE)
    task.claim("0:01").refused(errors.NotClaimable)


def test_each_retry_waits_anew() -> None:
    task = queued(queue_timeout=MINUTE).claim("0:00:50").fail("0:05").wakes("0:05:01")
    task.wake("0:05:01").then("requeued").wakes("0:06:01")
    task.wake("0:06:01").then("run failed, queue_timeout, QueueTimeout")
    last = task.task.last_run
    assert last is not None
    assert [attempt.outcome for attempt in last.attempts] == ["failed"]


def test_a_run_that_was_not_claimed_can_be_retried_and_may_pause_the_task() -> None:
    task = (
        created(HOURLY, queue_timeout=MINUTE, pause_on_failure=1).wake("1:00").then("queued schedule 1:00", "next 2:00")
    )
    task.wake("1:01").then("run failed, queue_timeout, QueueTimeout", "paused itself")
    task.when(msg.Retry(), "1:02").then("queued retry 1:02").wakes("1:03")


def test_silence_ends_an_attempt_before_its_lease_does() -> None:
    task = queued(heartbeat_timeout=10 * SECOND).claim("0:00", lease=30_000)
    task.then("claimed #1, lease 0:00:10, deadline 0:05").wakes("0:00:10")
    assert task.decided is not None
    assert task.decided.lease_until == at("0:00:10")
    task.wake("0:00:09.999").then().wake("0:00:10").then("timed_out #1, retry 0:00:11")
    error = task.run.attempts[0].error
    assert error is not None
    assert error.type == "HeartbeatTimeout"
    task.wake("0:00:11").then("requeued")


def test_a_lease_that_is_shorter_is_lost_as_ever() -> None:
    task = queued(heartbeat_timeout=MINUTE).claim("0:00", lease=30_000).then("claimed #1, lease 0:00:30, deadline 0:05")
    task.wake("0:00:30").then("lost #1, retry 0:00:31")


@pytest.mark.parametrize(
    ("when", "events"),
    [
        ("0:00:00.999", []),
        ("0:00:01", ["renewed #1, lease 0:00:09"]),
        ("0:00:07.999", ["renewed #1, lease 0:00:15.999"]),
    ],
)
def test_heartbeats_reach_the_log_as_often_as_the_timeout_needs(when: str, events: list[str]) -> None:
    queued(heartbeat_timeout=8 * SECOND).claim("0:00", lease=HOUR).renew(when).then(*events)


def test_an_attempt_that_is_heard_from_goes_on() -> None:
    task = queued(heartbeat_timeout=8 * SECOND, timeout=MINUTE).claim("0:00", lease=HOUR)
    for second in range(7, 60, 7):
        task.renew(f"0:00:{second}")
        assert task.refusal is None
    task.wakes("0:01").wake("0:01").then("timed_out #1, retry 0:01:01")
    error = task.run.attempts[0].error
    assert error is not None
    assert error.type == "TimedOut"


def test_the_deadline_ends_a_run_that_waits() -> None:
    task = queued(deadline=MINUTE, queue_timeout=HOUR).wakes("0:01")
    task.wake("0:01").then("run failed, deadline, DeadlineExceeded").status("failed")


def test_the_deadline_ends_a_run_that_runs_and_it_is_not_retried() -> None:
    task = queued(deadline=MINUTE).claim("0:00:30").then("claimed #1, lease 0:01, deadline 0:01").wakes("0:01")
    task.wake("0:01").then("timed_out #1, deadline").status("failed")
    last = task.task.last_run
    assert last is not None
    assert last.attempts[0].error is not None
    assert (last.reason, last.attempts[0].error.type) == ("deadline", "DeadlineExceeded")


def test_the_deadline_is_the_reason_although_no_attempt_is_left() -> None:
    queued(deadline=MINUTE, retry=Retry(max_attempts=1)).claim("0:00").wake("0:01").then("timed_out #1, deadline")


def test_the_timeout_of_an_attempt_may_come_first() -> None:
    task = queued(deadline=HOUR, timeout=MINUTE).claim("0:00").then("claimed #1, lease 0:01, deadline 0:01")
    task.wake("0:01").then("timed_out #1, retry 0:01:01")


def test_no_attempt_is_planned_at_or_after_the_deadline() -> None:
    task = queued(deadline=MINUTE).claim("0:00").fail("0:00:59").then("failed #1, deadline").status("failed")
    error = task.task.last_run.attempts[0].error  # type: ignore[union-attr]
    assert error is not None
    assert error.type == "E"
    queued(deadline=MINUTE).claim("0:00").fail("0:00:58").then("failed #1, retry 0:00:59")


def test_what_comes_to_light_after_the_deadline_is_not_retried() -> None:
    queued(deadline=MINUTE).claim("0:00", lease=30_000).wake("0:10").then("lost #1, deadline")
    task = queued(deadline=MINUTE).claim("0:00").fail("0:00:30").wake("0:10")
    task.then("run failed, deadline, DeadlineExceeded")


def test_a_changed_deadline_is_that_of_later_runs() -> None:
    task = queued(deadline=MINUTE).when(msg.Update(DefinitionPatch(deadline=HOUR, queue_timeout=1)), "0:00:30")
    task.wakes("0:01").wake("0:01").then("run failed, deadline, DeadlineExceeded")
    task.when(msg.Update(DefinitionPatch(deadline=None, queue_timeout=None)), "0:02").when(msg.Trigger(), "0:02")
    task.wakes(None)


@pytest.mark.parametrize(
    ("fields", "over"),
    [
        ({"timeout": MINUTE}, "timed_out #1, retry 0:01:01"),
        ({"heartbeat_timeout": MINUTE}, "timed_out #1, retry 0:01:01"),
        ({"deadline": MINUTE}, "timed_out #1, deadline"),
        ({"timeout": MINUTE, "retry": Retry(max_attempts=1)}, "timed_out #1, attempts_exhausted"),
    ],
)
@pytest.mark.parametrize("report", ["complete", "fail"])
def test_whoever_reports_too_late_is_told_and_heard_once(fields: dict[str, object], over: str, report: str) -> None:
    task = created(HOURLY, **{"retry": STEADY, **fields}).when(msg.Trigger(), "0:00").claim("0:00", lease=HOUR)  # type: ignore[arg-type]
    run = task.run
    task.wake("0:01").then(over)
    # Later runs have ended since: the one that timed out is neither active nor the last.
    if run.id in task.task.runs:
        task.wake("0:01:01").claim("0:01:02", token="u").complete("0:01:03", token="u")
    task.when(msg.Trigger(), "0:10").claim(token="v").complete(token="v")
    said = "succeeded" if report == "complete" else "failed"
    getattr(task, report)("0:20", run, number=1)
    assert type(task.refusal) is errors.ClaimLost
    assert task.events() == [f"late #1 {said}"]
    getattr(task, report)("0:21", run, number=1)
    assert type(task.refusal) is errors.ClaimLost
    assert task.decided is None or task.events() == []
    assert task.task.counts.succeeded == (2 if "retry" in over else 1)


def test_only_the_last_are_listened_to_and_not_for_ever() -> None:
    task = created(HOURLY, timeout=MINUTE, retry=Retry(max_attempts=1), overlap="allow_all")
    runs = []
    for number in range(MOST_UNHEARD + 1):
        task.when(msg.Trigger(), "0:00").claim(token=f"t{number}", lease=HOUR)
        runs.append((task.run, f"t{number}"))
    task.wake("0:01")
    assert len(task.task.unheard) == MOST_UNHEARD
    heard = sorted(runs, key=lambda pair: pair[0].id)
    kept = {one.run_id for one in task.task.unheard}
    [forgotten] = [run for run, _ in runs if run.id not in kept]
    assert forgotten.id == heard[0][0].id
    unheard = task.task.unheard[0]
    assert unheard.until == at("0:01") + HEARD_FOR
    other = task.when(msg.Trigger(), at("0:02") + HEARD_FOR).claim(lease=HOUR).wake(at("0:04") + HEARD_FOR)
    assert [one.run_id for one in other.task.unheard] == [other.task.last_run_id]


def test_only_named_errors_are_retried() -> None:
    only = Retry(retry_on=("Busy", "Lost"), jitter=0)
    queued(retry=only).claim("0:00").fail("0:01", type="Bad").then("failed #1, gave_up")
    queued(retry=only).claim("0:00").fail("0:01", type="Busy").then("failed #1, retry 0:01:01")
    queued(retry=only).claim("0:00", lease=1000).wake("0:00:01").then("lost #1, retry 0:00:02")
    queued(retry=only, timeout=MINUTE).claim("0:00").wake("0:01").then("timed_out #1, gave_up")


@pytest.mark.parametrize(
    ("jitter", "delays"),
    [("full", [0, 2_000, 3_999]), ("equal", [2_000, 3_000, 3_999]), (0.5, [2_000, 4_000, 5_999])],
)
def test_kinds_of_jitter(jitter: float, delays: list[int]) -> None:
    policy = Retry(initial=1_000, jitter=jitter)
    assert [delay(policy, 3, chance) for chance in (0.0, 0.5, 0.99999)] == pytest.approx(delays, abs=1)


def test_jitter_never_hurries_what_asked_to_wait() -> None:
    full = replace(STEADY, jitter="full")
    said = after_failure(
        full, 1, first_started=0, now=0, error_type="E", retryable=True, retry_after=7_000, chance=0.1, deadline=7_001
    )
    assert said == 7_000
