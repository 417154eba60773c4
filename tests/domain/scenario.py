"""given(events).when(command).then(events): scenarios of one task, with events and times written as short text.

Times are `h:mm`, `h:mm:ss` or `h:mm:ss.mmm` after START (a Monday, 00:00 UTC), hours running on past 24.
"""

from __future__ import annotations

from typing import Self

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided, decide
from taskscheduler.domain.decision import apply
from taskscheduler.domain.definition import CatchUp, Definition, HttpTarget, NoopTarget, QueueTarget
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.state import Run, Task, wakeup

START = 1_767_571_200_000  # 2026-01-05T00:00Z

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

NOW = OneTime(at=0)
HOURLY = Cron("0 * * * *")


def at(text: str) -> int:
    """The instant of a time such as `1:30`."""
    hours, minutes, *seconds = text.split(":")
    return START + (int(hours) * 60 + int(minutes)) * MINUTE + round(1000 * float(seconds[0] if seconds else 0))


def clock(instant: int) -> str:
    """The shortest text for an instant."""
    minutes, millis = divmod(instant - START, MINUTE)
    text = f"{minutes // 60}:{minutes % 60:02}"
    if millis:
        text += f":{millis // 1000:02}" + (f".{millis % 1000:03}" if millis % 1000 else "")
    return text


def one_time(text: str) -> OneTime:
    return OneTime(at=at(text), kind="at")


def every(millis: int) -> Every:
    return Every(every=millis, anchor=0)


def define(schedule: Schedule = NOW, **fields: object) -> Definition:
    """A definition with a noop target."""
    return Definition(**{"name": "t", "schedule": schedule, "target": NoopTarget(), **fields})  # type: ignore[arg-type]


def brief(event: ev.Event) -> str:
    """What an event says, in a few words."""
    match event:
        case ev.TaskCreated(next_fire=fire):
            return f"created, next {_or_none(fire)}"
        case ev.TaskUpdated(next_fire=fire, pending=None):
            return f"updated, next {_or_none(fire)}"
        case ev.TaskUpdated(next_fire=fire, pending=ev.Pending() as pending):
            then = f"{clock(pending.effective_from)} on {clock(pending.next_fire)}"
            return f"updated, next {_or_none(fire)}, from {then}"
        case ev.ScheduleSwitched(next_fire=fire, effective_from=since):
            return f"switched at {clock(since)}, next {_or_none(fire)}"
        case ev.BackfillRequested(start=start, until=until, total=total):
            return f"backfill {clock(start)}..{clock(until)} x{total}"
        case ev.BackfillAdvanced(next=following, fired=fired):
            return f"backfill at {_or_none(following)}, {fired} fired"
        case ev.BackfillEnded(reason=why, remaining=left):
            return f"backfill {why}, {left} left"
        case ev.TaskPaused(by="scheduler"):
            return "paused itself"
        case ev.TaskResumed(missed=missed):
            return "resumed" if missed == "skip" else f"resumed, missed {missed}"
        case ev.ScheduleAdvanced(next_fire=fire, backlog=backlog):
            owed = "" if backlog is None else f", backlog {clock(backlog.next)}..{clock(backlog.until)}"
            return f"next {_or_none(fire)}{owed}"
        case ev.RunQueued(cause=cause, scheduled_for=scheduled_for):
            return f"queued {cause} {clock(scheduled_for)}"
        case ev.FiresSkipped(reason=reason, nominal_at=first, nominal_until=last, count=count):
            return f"skipped {reason} {clock(first)}" + ("" if last is None else f"..{clock(last)} x{count}")
        case ev.AttemptClaimed(number=number, lease_until=lease, deadline=deadline):
            return f"claimed #{number}, lease {clock(lease)}, deadline {clock(deadline)}"
        case ev.AttemptRenewed(number=number, lease_until=lease):
            return f"renewed #{number}, lease {clock(lease)}"
        case ev.AttemptSucceeded(number=number):
            return f"succeeded #{number}"
        case ev.AttemptFailed(number=number, outcome=outcome, retry_at=retry, reason=reason):
            return f"{outcome} #{number}, " + (reason or f"retry {_or_none(retry)}")
        case ev.AttemptReleased(number=number):
            return f"released #{number}"
        case ev.ReportedLate(number=number, outcome=outcome):
            return f"late #{number} {outcome}"
        case ev.KeyUsed(key=key, verb=verb):
            return f"key {key} {verb}"
        case ev.RetentionPlanned(expire_at=expire):
            return f"expire at {clock(expire)}"
        case ev.RunsExpired(before=before, next=following):
            return f"expired before {clock(before)}, next {_or_none(following)}"
        case ev.RunFailed(reason=reason, error=error):
            return f"run failed, {reason}, {error.type}"
        case ev.RunCancelled():
            return "run cancelled"
        case ev.RunRequeued():
            return "requeued"
        case _:
            return ev.tag_of(event).split(".")[1]


def _or_none(instant: int | None) -> str:
    return "-" if instant is None else clock(instant)


class Scenario:
    """A task whose decisions are checked one after another."""

    def __init__(self, task: Task, policy: msg.Policy) -> None:
        self.task = task
        self.policy = policy
        self.now = START
        self.decided: Decided | None = None
        self.refusal: DomainError | None = None
        self.seed = 0

    def when(
        self,
        command: msg.Command,
        time: str | int | None = None,
        *,
        key: str | None = None,
        body: str = "",
        if_match: int | None = None,
        actor: str = "ada",
    ) -> Self:
        """Decide; accept what was decided."""
        if time is not None:
            self.now = at(time) if isinstance(time, str) else time
        self.seed += 1
        used = None if key is None else msg.Key(key, body)
        context = msg.Context(self.now, self.seed, actor, used, if_match)
        self.decided = self.refusal = None
        try:
            self.decided = decide(self.task, command, context, self.policy)
        except DomainError as error:
            self.refusal = error
            return self
        self.refusal = self.decided.refused
        if self.decided.events:
            before, self.task = self.task, apply(self.task, self.decided.events, self.now)
            assert self.task == replace(self.decided.task, version=before.version + 1, recorded_at=self.now)
        return self

    def then(self, *said: str, retention: bool = False) -> Self:
        """The decision's events, in order; planned retention is left out unless asked for."""
        assert self.refusal is None, self.refusal
        found = self.events(retention)
        assert found == list(said), f"{found} is not {list(said)}"
        return self

    def events(self, retention: bool = False) -> list[str]:
        assert self.decided is not None, self.refusal
        return [brief(e) for e in self.decided.events if retention or not isinstance(e, ev.RetentionPlanned)]

    def refused(self, kind: type[DomainError]) -> Self:
        """The command was refused and nothing recorded."""
        assert type(self.refusal) is kind, (self.refusal, self.decided)
        assert self.decided is None or not self.decided.events
        return self

    def wakes(self, time: str | None) -> Self:
        """When the task next needs attention, retention aside."""
        found = wakeup(replace(self.task, expire_at=None))
        assert _or_none(found) == (time or "-"), f"it wakes at {_or_none(found)}"
        return self

    def status(self, expected: str) -> Self:
        assert self.task.status == expected, f"it is {self.task.status}"
        return self

    def wake(self, time: str | int | None = None) -> Self:
        return self.when(msg.Wake(), time, actor="scheduler")

    @property
    def run(self) -> Run:
        """The active run made last."""
        return self.task.runs[next(reversed(self.task.runs))]

    def claim(
        self, time: str | int | None = None, run: Run | None = None, token: str = "t", lease: int = 5 * MINUTE
    ) -> Self:
        return self.when(msg.Claim((run or self.run).id, "w", token, lease), time, actor="w")

    def complete(
        self, time: str | int | None = None, run: Run | None = None, token: str = "t", number: int = 0
    ) -> Self:
        held = run or self.run
        return self.when(msg.Complete(held.id, number or len(held.attempts), token, "1"), time)

    def fail(
        self,
        time: str | int | None = None,
        run: Run | None = None,
        *,
        token: str = "t",
        number: int = 0,
        type: str = "E",
        message: str = "why",
        retryable: bool = True,
        retry_after: int | None = None,
    ) -> Self:
        held, error = run or self.run, ev.Error(type, message)
        return self.when(msg.Fail(held.id, number or len(held.attempts), token, error, retryable, retry_after), time)

    def renew(self, time: str | int | None = None, run: Run | None = None, token: str = "t", number: int = 0) -> Self:
        held = run or self.run
        return self.when(msg.Renew(held.id, number or len(held.attempts), token), time)


def given(*events: ev.Event, policy: msg.Policy = msg.Policy()) -> Scenario:
    """A task with a history: each event was a decision of its own."""
    scenario = Scenario(Task("a"), policy)
    for event in events:
        scenario.task = apply(scenario.task, (event,), event.at)
        scenario.now = event.at
    return scenario


def created(
    schedule: Schedule = NOW, time: str = "0:00", policy: msg.Policy = msg.Policy(), **fields: object
) -> Scenario:
    """A task that was just created."""
    return given(policy=policy).when(msg.Create(define(schedule, **fields)), time)


__all__ = [
    "DAY",
    "HOUR",
    "HOURLY",
    "MINUTE",
    "NOW",
    "START",
    "CatchUp",
    "Cron",
    "HttpTarget",
    "QueueTarget",
    "Retry",
    "at",
    "brief",
    "clock",
    "created",
    "define",
    "every",
    "given",
    "one_time",
]
