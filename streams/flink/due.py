"""What the job keeps of a stream and makes of it: the fold over envelopes, and the one timer.

Nothing here knows of Flink. Every step gives the state after it; `timer` in it is the one timer that is to be set.
"""

from __future__ import annotations

import msgspec

from taskscheduler.domain.decision import Envelope, Verdict, judge
from taskscheduler.domain.values import MINUTE, SECOND, Instant, Millis
from taskscheduler.streams.kafka.messages import Trigger
from taskscheduler.streams.replica import chain_of
from taskscheduler.streams.timers import FIRST_REPEAT, LONGEST_REPEAT

BEHIND: Millis = 5 * SECOND
"""A repeat that comes so late tells that this job is behind, not that nobody answers."""

LIVE: Millis = SECOND
"""A record that is read so soon after it was appended is news; an older one may have been answered further on."""

LONGEST_HOLD: Millis = MINUTE

LAST_TIMER: Instant = 2**62
"""Timers are 64 bits wide, the instants of a record are not."""


class Repeats(msgspec.Struct, frozen=True, gc=False):
    """How long to wait for an answer before a trigger is given again: `first`, doubling to `longest`."""

    first: Millis = FIRST_REPEAT
    longest: Millis = LONGEST_REPEAT


class Watched(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The state of a stream.

    It is read back by later releases of the job: fields may be added, with defaults, and none may change its meaning.
    `timer` is when the timer fires, `waited` how long after the last trigger that is; 0 before the first trigger.
    """

    version: int = 0
    wakeup: Instant | None = None
    chain: str = ""
    timer: Instant | None = None
    waited: Millis = 0


def judged(watched: Watched, envelope: Envelope, appended_at: Instant, now: Instant) -> tuple[Watched, Verdict]:
    """The state after a record and the verdict on it, which are those of every other reader."""
    verdict = judge(watched.version, envelope, appended_at)
    if verdict is not Verdict.ACCEPTED:
        return watched, verdict
    wakeup, timer, waited = envelope.wakeup, watched.timer, watched.waited
    if wakeup != watched.wakeup:
        timer = None if wakeup is None else min(max(wakeup, now + _hold(appended_at, now)), LAST_TIMER)
        waited = 0
    return Watched(watched.version + 1, wakeup, chain_of(watched.chain, envelope.record_id), timer, waited), verdict


def fired(watched: Watched, stream: str, at: Instant, now: Instant, repeats: Repeats) -> tuple[Watched, Trigger | None]:
    """The state after the timer at `at` fired, and the trigger to give, if any."""
    if watched.timer != at or watched.wakeup is None:
        return watched, None
    waited = min(2 * watched.waited, repeats.longest) if watched.waited else repeats.first
    if watched.waited and now - at > BEHIND:
        # The answer may be on the log, not yet read. More triggers would only put its reading off further.
        trigger, waited = None, watched.waited
    else:
        trigger = Trigger(stream, watched.version, watched.wakeup, now)
    return Watched(watched.version, watched.wakeup, watched.chain, now + waited, waited), trigger


def _hold(appended_at: Instant, now: Instant) -> Millis:
    # Read from afar, a stream that is due was most likely answered long ago. A log is read more than ten times as fast
    # as it was written, so in a tenth of the distance the answer is read too.
    distance = now - appended_at
    return 0 if distance < LIVE else min(distance // 10, LONGEST_HOLD)
