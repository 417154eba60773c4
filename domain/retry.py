"""When a failed attempt is tried again."""

from __future__ import annotations

from typing import Literal

import msgspec

from taskscheduler.domain.values import HOUR, SECOND, Instant, Millis

LARGEST_DELAY: Millis = 366 * 24 * HOUR


class Retry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Retry policy. `max_attempts` counts the first one.

    `jitter` is a share (0 to 1) of the delay, either way; or `full`: anything up to the delay, or `equal`: half of the
    delay and anything up to the other half. Only errors of the types in `retry_on` are retried where it names any.
    """

    max_attempts: int = 3
    backoff: Literal["exponential", "linear", "fixed"] = "exponential"
    initial: Millis = SECOND
    multiplier: float = 2.0
    max: Millis = HOUR
    jitter: float | Literal["full", "equal"] = 0.1
    max_elapsed: Millis | None = None
    give_up_on: tuple[str, ...] = ()
    retry_on: tuple[str, ...] = ()

    def takes(self, error_type: str) -> bool:
        """Whether an error of this type may be retried at all."""
        return error_type not in self.give_up_on and (not self.retry_on or error_type in self.retry_on)


def delay(policy: Retry, attempt: int, chance: float) -> Millis:
    """How long after the end of failed attempt number `attempt` (from 1) the next may start.

    `chance` (0 to 1) picks the place within the jitter. The result never exceeds `policy.max`, jitter included.
    """
    match policy.backoff:
        case "fixed":
            base = float(policy.initial)
        case "linear":
            base = float(policy.initial) * attempt
        case "exponential":
            try:
                base = policy.initial * policy.multiplier ** (attempt - 1)
            except OverflowError:
                base = float(policy.max)
    base = min(base, float(policy.max))
    if policy.jitter == "full":
        return int(base * chance)
    if policy.jitter == "equal":
        return int(base / 2 + base / 2 * chance)
    spread = base * policy.jitter * (2.0 * chance - 1.0)
    return int(min(max(0.0, base + spread), float(policy.max)))


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """No further attempt, and why."""

    reason: Literal["attempts_exhausted", "gave_up", "deadline"]


def after_failure(
    policy: Retry,
    attempt: int,
    *,
    first_started: Instant,
    now: Instant,
    error_type: str,
    retryable: bool,
    retry_after: Millis | None,
    chance: float,
    deadline: Instant | None = None,
) -> Instant | GiveUp:
    """The instant of the next attempt, or why there is none.

    `retry_after` (asked for by the target) may lengthen the delay and overrules `max`, within a year; it never
    shortens the delay. `max_elapsed` is counted from the start of the first attempt to the start of the next one,
    which must be before `deadline`.
    """
    if not retryable or not policy.takes(error_type):
        return GiveUp("gave_up")
    if attempt >= policy.max_attempts:
        return GiveUp("attempts_exhausted")
    wait = delay(policy, attempt, chance)
    if retry_after is not None:
        wait = max(wait, min(retry_after, LARGEST_DELAY))
    if policy.max_elapsed is not None and now + wait - first_started > policy.max_elapsed:
        return GiveUp("deadline")
    if deadline is not None and now + wait >= deadline:
        return GiveUp("deadline")
    return now + wait
