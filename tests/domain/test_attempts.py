"""Claims, leases, deadlines, outcomes, retries, and what is reported late."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import ERROR_MESSAGE_LIMIT
from taskscheduler.domain.definition import DefinitionPatch, Lane, QueueTarget
from taskscheduler.domain.events import Error
from taskscheduler.domain.retry import LARGEST_DELAY, GiveUp, Retry, after_failure, delay
from tests.domain.scenario import HOUR, HOURLY, MINUTE, Scenario, at, created

STEADY = Retry(jitter=0)


def queued(retry: Retry = STEADY, timeout: int = 5 * MINUTE) -> Scenario:
    return created(retry=retry, timeout=timeout).wake("0:00")


def test_a_claim_takes_a_queued_run() -> None:
    task = queued().claim("0:01", lease=30_000).then("claimed #1, lease 0:01:30, deadline 0:06").wakes("0:01:30")
    assert task.decided is not None
    assert (task.decided.run_id, task.decided.lease_until) == (task.run.id, at("0:01:30"))
    attempt = task.run.active_attempt
    assert attempt is not None
    assert (attempt.worker, attempt.token_hash, attempt.started_at) == ("w", "t", at("0:01"))


def test_a_lease_ends_no_later_than_the_deadline() -> None:
    queued(timeout=10_000).claim("0:01", lease=30_000).then("claimed #1, lease 0:01:10, deadline 0:01:10")


def test_only_one_claim_is_taken() -> None:
    task = queued().claim("0:01", token="a").claim("0:01", token="b").refused(errors.NotClaimable)
    task.complete("0:02", token="a").when(msg.Claim(task.task.last_run_id or "", "w", "c", 1))
    task.refused(errors.NotClaimable)


def test_a_claim_after_cancel_is_refused() -> None:
    task = queued()
    run = task.run
    task.when(msg.Cancel(), "0:01").claim("0:01", run).refused(errors.NotClaimable)


@pytest.mark.parametrize(
    ("when", "events"),
    [
        ("0:00:14.999", []),
        ("0:00:15", ["renewed #1, lease 0:00:45"]),
        ("0:00:29", ["renewed #1, lease 0:00:59"]),
    ],
)
def test_a_lease_is_renewed_in_its_second_half(when: str, events: list[str]) -> None:
    task = queued().claim("0:00", lease=30_000).renew(when).then(*events)
    assert task.decided is not None
    assert task.decided.lease_until == task.run.attempts[-1].lease_until


def test_a_lease_is_not_renewed_beyond_the_deadline() -> None:
    task = queued(timeout=40_000).claim("0:00", lease=30_000)
    task.renew("0:00:20").then("renewed #1, lease 0:00:40").renew("0:00:35").then()
    task.wake("0:00:40").then("timed_out #1, retry 0:00:41")


def test_progress_is_kept_until_there_is_newer() -> None:
    task = queued(timeout=HOUR).claim("0:00", lease=30_000)
    task.when(msg.Renew(task.run.id, 1, "t", '{"done":1}'), "0:00:20").renew("0:00:40")
    assert task.run.attempts[-1].progress == '{"done":1}'


@pytest.mark.parametrize(("number", "token"), [(1, "x"), (2, "t"), (0, "t")])
def test_only_the_holder_is_heard(number: int, token: str) -> None:
    task = queued().claim("0:01")
    run_id = task.run.id
    task.when(msg.Renew(run_id, number, token), "0:02").refused(errors.ClaimLost)
    task.when(msg.Complete(run_id, number, token), "0:02").refused(errors.ClaimLost)
    task.when(msg.Fail(run_id, number, token, Error("E", "why")), "0:02").refused(errors.ClaimLost)
    task.when(msg.Lose(run_id, number, token), "0:02").then()
    assert task.run.status == "running"


def test_the_end_of_the_lease_loses_the_attempt() -> None:
    task = queued().claim("0:00", lease=30_000).wake("0:00:29.999").then()
    task.wake("0:00:30").then("lost #1, retry 0:00:31").wakes("0:00:31").status("running")
    assert task.run.status == "retrying"
    task.wake("0:00:31").then("requeued").claim("0:00:32").then("claimed #2, lease 0:05:32, deadline 0:05:32")


def test_the_deadline_ends_the_attempt() -> None:
    queued().claim("0:01").wake("0:05:59.999").then().wake("0:06").then("timed_out #1, retry 0:06:01")


def test_a_known_loss_need_not_wait_for_the_lease() -> None:
    task = queued().claim("0:00")
    task.when(msg.Lose(task.run.id, 1, "t"), "0:00:01").then("lost #1, retry 0:00:02")


def test_failure_is_retried_until_the_attempts_are_used_up() -> None:
    task = queued().claim("0:00").fail("0:00:10").then("failed #1, retry 0:00:11")
    task.wake("0:00:11").claim("0:00:12").fail("0:00:13").then("failed #2, retry 0:00:15")
    task.wake("0:00:15").claim("0:00:16").fail("0:00:17").then("failed #3, attempts_exhausted").status("failed")
    last = task.task.last_run
    assert last is not None
    assert [a.outcome for a in last.attempts] == ["failed"] * 3
    assert (last.status, last.reason, last.finished_at) == ("failed", "attempts_exhausted", at("0:00:17"))
    assert task.task.counts.failed == 1


def test_lost_and_timed_out_attempts_count() -> None:
    task = queued(Retry(max_attempts=2, jitter=0)).claim("0:00", lease=1000).wake("0:00:01").wake("0:00:02")
    task.claim("0:00:02").wake("1:00").then("timed_out #2, attempts_exhausted")


def test_a_retry_without_delay_is_queued_at_once() -> None:
    queued(Retry(initial=0, jitter=0)).claim().fail("0:00:01").then("failed #1, retry 0:00:01", "requeued").wakes(None)


def test_the_policy_in_force_decides() -> None:
    task = queued().claim("0:00").when(msg.Update(DefinitionPatch(retry=Retry(max_attempts=1))), "0:00:01")
    task.fail("0:00:02").then("failed #1, attempts_exhausted")


@pytest.mark.parametrize(
    ("retry", "failure", "event"),
    [
        (STEADY, {"retryable": False}, "failed #1, gave_up"),
        (Retry(give_up_on=("Bad", "E")), {"type": "E"}, "failed #1, gave_up"),
        (Retry(give_up_on=("Bad",), jitter=0), {"type": "E"}, "failed #1, retry 0:02:01"),
        (Retry(max_attempts=1), {}, "failed #1, attempts_exhausted"),
        (STEADY, {"retry_after": 10_000}, "failed #1, retry 0:02:10"),
        (STEADY, {"retry_after": 10}, "failed #1, retry 0:02:01"),
        (Retry(jitter=0, max=5000), {"retry_after": HOUR}, "failed #1, retry 1:02"),
        (Retry(jitter=0, max_elapsed=2 * MINUTE + 1000), {}, "failed #1, retry 0:02:01"),
        (Retry(jitter=0, max_elapsed=2 * MINUTE + 999), {}, "failed #1, deadline"),
    ],
)
def test_what_follows_a_failure(retry: Retry, failure: dict[str, object], event: str) -> None:
    queued(retry).claim("0:00").fail("0:02", **failure).then(event)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Retry(jitter=0), [1000, 2000, 4000, 8000]),
        (Retry(jitter=0, multiplier=3, max=10_000), [1000, 3000, 9000, 10_000]),
        (Retry(jitter=0, backoff="linear"), [1000, 2000, 3000, 4000]),
        (Retry(jitter=0, backoff="linear", max=2500), [1000, 2000, 2500, 2500]),
        (Retry(jitter=0, backoff="fixed", initial=700), [700, 700, 700, 700]),
        (Retry(jitter=0, initial=0), [0, 0, 0, 0]),
    ],
)
def test_delays(policy: Retry, delays: list[int]) -> None:
    assert [delay(policy, attempt, 0.7) for attempt in range(1, 5)] == delays


def test_jitter_goes_either_way_and_never_beyond_the_most() -> None:
    policy = Retry(jitter=0.5, backoff="fixed", initial=1000, max=1200)
    assert [delay(policy, 1, chance) for chance in (0.0, 0.25, 0.5, 1.0)] == [500, 750, 1000, 1200]
    assert delay(Retry(jitter=1, initial=1000), 1, 0.0) == 0


def test_huge_attempt_numbers_do_not_overflow() -> None:
    assert delay(Retry(multiplier=1000, max=HOUR, jitter=0), 5000, 0.5) == HOUR


def test_asked_waits_are_bounded() -> None:
    said = after_failure(
        STEADY, 1, first_started=0, now=0, error_type="E", retryable=True, retry_after=10**15, chance=0.5
    )
    assert said == LARGEST_DELAY
    assert not isinstance(said, GiveUp)


def test_long_messages_are_cut() -> None:
    task = queued().claim().fail("0:01", message="x" * 5000)
    error = task.run.attempts[0].error
    assert error is not None
    assert len(error.message) == ERROR_MESSAGE_LIMIT
    assert error.message.endswith("x…")


def test_a_repeated_report_changes_nothing() -> None:
    task = queued().claim("0:00")
    run = task.run
    task.fail("0:00:01", run, number=1).fail("0:00:02", run, number=1).then("requeued")
    task.claim("0:00:03", token="u").complete("0:00:04", run, token="u", number=2).then("succeeded #2")
    task.complete("0:00:05", run, token="u", number=2).then()
    assert task.task.counts.succeeded == 1


@pytest.mark.parametrize("report", ["complete", "fail"])
def test_a_late_report_is_evidence_once(report: str) -> None:
    task = queued().claim("0:00", lease=1000)
    run, outcome = task.run, "succeeded" if report == "complete" else "failed"
    task.wake("0:00:01").wake("0:00:02").claim("0:00:03", token="u")
    for events in ([f"late #1 {outcome}"], []):
        getattr(task, report)("0:00:04", run, number=1)
        assert task.events() == events
        assert type(task.refusal) is errors.ClaimLost
    assert task.run.status == "running"
    task.complete("0:00:05", token="u").then("succeeded #2")


def test_a_report_under_a_key_is_refused_again_when_it_was_refused() -> None:
    task = queued().claim("0:00", lease=1000)
    run = task.run
    task.wake("0:00:01")
    for _ in range(2):
        task.when(msg.Complete(run.id, 1, "t"), "0:00:01.500", key="k")
        assert type(task.refusal) is errors.ClaimLost
    assert task.task.keys == {}


def test_a_report_at_the_deadline_comes_too_late() -> None:
    task = queued(timeout=10_000).claim("0:00").complete("0:00:10")
    assert task.events() == ["timed_out #1, retry 0:00:11", "late #1 succeeded"]
    assert type(task.refusal) is errors.ClaimLost


def test_runs_are_independent_of_each_other() -> None:
    task = created(HOURLY)
    for token in ("a", "b", "c"):
        task.when(msg.Trigger(), "0:01").claim("0:01", token=token, lease=30_000)
    a, b, _ = task.task.runs.values()
    task.complete("0:01:10", b, token="b", number=1).then("succeeded #1")
    task.renew("0:01:20", a, token="a", number=1).then("renewed #1, lease 0:01:50").wakes("0:01:30")
    task.wake("0:01:30")
    assert task.decided is not None
    assert [type(e).__name__ for e in task.decided.events] == ["AttemptFailed"]
    assert [run.status for run in task.task.runs.values()] == ["running", "retrying"]


def test_a_claim_of_what_waits_elsewhere_by_now_is_refused() -> None:
    task = created(target=QueueTarget("mail", "send")).wake("0:00")
    task.when(msg.Update(DefinitionPatch(target=QueueTarget("post", "send"))), "0:01")
    for lane in (Lane("queue:mail", "send"), Lane("queue:post", "carry"), Lane("noop")):
        task.when(msg.Claim(task.run.id, "w", "t", MINUTE, None, lane), "0:02").refused(errors.NotClaimable)
    task.when(msg.Claim(task.run.id, "w", "t", MINUTE, None, Lane("queue:post", "send")), "0:02")
    assert task.run.status == "running"
