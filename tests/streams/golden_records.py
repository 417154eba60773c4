"""One record for each event type and version ever written, as it must be read for ever. Add to it; change nothing."""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain.calendar_definition import CalendarDefinition, DateRange, Holidays, ResolvedDays
from taskscheduler.domain.decision import Record
from taskscheduler.domain.definition import CatchUp, Definition, HttpTarget, NoopTarget, QueueTarget
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.limit_definition import Granted, LimitDefinition, Rate
from taskscheduler.domain.operation_definition import OperationDefinition, Selection
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Cron, Every, OneTime
from taskscheduler.domain.steps import Link, RunEnded
from taskscheduler.domain.worker_info import WorkerInfo

AT = 1_767_571_200_000

HTTP = Definition(
    name="Nightly report",
    schedule=Cron("0 2 * * *", "Europe/Berlin"),
    target=HttpTarget(
        url="https://example.org/hook",
        method="PUT",
        headers={"X-Team": "blue"},
        body='{"a":1}',
        expect=("200-299", 304),
    ),
    payload='{"n":[1,2,"ü"]}',
    retry=Retry(
        max_attempts=5,
        backoff="linear",
        initial=2_000,
        multiplier=3.5,
        max=60_000,
        jitter=0.25,
        max_elapsed=600_000,
        give_up_on=("Bad", "Worse"),
    ),
    timeout=90_000,
    catch_up=CatchUp("all", 7_200_000, 10),
    priority=2,
    tags={"team": "blue", "env": "prod"},
)
QUEUE = Definition(
    name="q", schedule=Every(every=60_000, anchor=AT - 5, anchored=True), target=QueueTarget("mail", "send")
)
PLAIN = Definition(name="n", schedule=OneTime(at=AT + 5, kind="delay", delay=5), target=NoopTarget())

CALENDAR = CalendarDefinition(
    timezone="Europe/Berlin",
    dates=("2026-12-24",),
    ranges=(DateRange("2026-12-28", "2026-12-31"),),
    holidays=Holidays("DE", "BE", (2026, 2027), ("public",)),
    ics="BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
    note="für alle",
)

SAMPLES: dict[str, tuple[ev.Event, ...]] = {
    "task.created.v1": (
        ev.TaskCreated(at=AT, definition=HTTP, next_fire=AT + 9, tzdata="2026a"),
        ev.TaskCreated(at=AT, definition=QUEUE, next_fire=AT + 9),
        ev.TaskCreated(at=AT, definition=PLAIN, next_fire=None),
    ),
    "task.updated.v1": (ev.TaskUpdated(at=AT, definition=HTTP, next_fire=AT + 9, tzdata="2026a"),),
    "task.paused.v1": (ev.TaskPaused(at=AT, by="ada", note="für heute"), ev.TaskPaused(at=AT, by="ada")),
    "task.resumed.v1": (ev.TaskResumed(at=AT, by="ada", note="on"),),
    "task.cancelled.v1": (ev.TaskCancelled(at=AT, by="ada"),),
    "task.deleted.v1": (ev.TaskDeleted(at=AT, by="ada"),),
    "task.purged.v1": (ev.TaskPurged(at=AT),),
    "schedule.advanced.v1": (
        ev.ScheduleAdvanced(at=AT, next_fire=AT + 9, backlog=ev.Backlog(AT, AT + 8), tzdata="2026a"),
        ev.ScheduleAdvanced(at=AT, next_fire=None),
    ),
    "run.queued.v1": (
        ev.RunQueued(at=AT, run_id="r1", cause="catch_up", scheduled_for=AT, nominal_at=AT),
        ev.RunQueued(at=AT, run_id="r1", cause="retry", scheduled_for=AT, retry_of="r0"),
    ),
    "fires.skipped.v1": (
        ev.FiresSkipped(at=AT, run_id="r1", nominal_at=AT, reason="overlap"),
        ev.FiresSkipped(at=AT, run_id="r1", nominal_at=AT, reason="missed", nominal_until=AT + 7, count=101),
    ),
    "schedule.switched.v1": (
        ev.ScheduleSwitched(
            at=AT + 9, schedule=Cron("0 3 * * *"), effective_from=AT + 8, next_fire=AT + 9, tzdata="2026a"
        ),
        ev.ScheduleSwitched(at=AT + 9, schedule=OneTime(at=AT + 8, kind="at"), effective_from=AT, next_fire=None),
    ),
    "backfill.requested.v1": (
        ev.BackfillRequested(
            at=AT,
            backfill_id="b1",
            by="ada",
            schedule=Cron("0 2 * * *", "Europe/Berlin"),
            start=AT - 9,
            until=AT,
            overlap="allow_all",
            total=3,
            next=AT - 8,
            tzdata="2026a",
        ),
    ),
    "backfill.advanced.v1": (
        ev.BackfillAdvanced(at=AT, backfill_id="b1", next=AT - 7, fired=1, tzdata="2026a"),
        ev.BackfillAdvanced(at=AT, backfill_id="b1", next=None, fired=3),
    ),
    "backfill.ended.v1": (ev.BackfillEnded(at=AT, backfill_id="b1", by="ada", reason="cancelled", remaining=2),),
    "run.requeued.v1": (ev.RunRequeued(at=AT, run_id="r1"),),
    "attempt.claimed.v1": (
        ev.AttemptClaimed(
            at=AT,
            run_id="r1",
            number=2,
            worker="w1",
            token_hash="0a1b",
            lease=30_000,
            lease_until=AT + 30_000,
            deadline=AT + 90_000,
            request="q1",
        ),
    ),
    "attempt.renewed.v1": (
        ev.AttemptRenewed(at=AT, run_id="r1", number=2, lease_until=AT + 45_000, progress='{"done":0.5}'),
    ),
    "attempt.succeeded.v1": (
        ev.AttemptSucceeded(at=AT, run_id="r1", number=2, result='{"ok":true}'),
        ev.AttemptSucceeded(at=AT, run_id="r1", number=2),
    ),
    "attempt.failed.v1": (
        ev.AttemptFailed(
            at=AT, run_id="r1", number=1, outcome="lost", error=ev.Error("Lost", "gone"), retry_at=AT + 1_000
        ),
        ev.AttemptFailed(
            at=AT, run_id="r1", number=3, outcome="failed", error=ev.Error("E", "why"), reason="attempts_exhausted"
        ),
    ),
    "run.failed.v1": (
        ev.RunFailed(at=AT, run_id="r1", reason="queue_timeout", error=ev.Error("QueueTimeout", "why")),
        ev.RunFailed(at=AT, run_id="r1", reason="deadline", error=ev.Error("DeadlineExceeded", "why")),
    ),
    "attempt.released.v1": (
        ev.AttemptReleased(at=AT, run_id="r1", number=2),
        ev.AttemptReleased(at=AT, run_id="r1", number=2, claim_by=AT + 9),
    ),
    "run.cancelled.v1": (ev.RunCancelled(at=AT, run_id="r1", by="ada"),),
    "attempt.reported_late.v1": (
        ev.ReportedLate(at=AT, run_id="r1", number=1, outcome="succeeded", result="1"),
        ev.ReportedLate(at=AT, run_id="r1", number=1, outcome="failed", error=ev.Error("E", "why")),
    ),
    "key.used.v1": (
        ev.KeyUsed(at=AT, key="k", fingerprint="f", verb="trigger", run_id="r1"),
        ev.KeyUsed(at=AT, key="k", fingerprint="f", verb="pause"),
    ),
    "dead_letter.purged.v1": (
        ev.DeadLetterPurged(at=AT, run_id="r1", failed_at=AT - 9, error_type="http_500", by="ada"),
    ),
    "retention.planned.v1": (ev.RetentionPlanned(at=AT, expire_at=AT + 9),),
    "runs.expired.v1": (ev.RunsExpired(at=AT, before=AT - 9, next=AT + 9), ev.RunsExpired(at=AT, before=AT, next=None)),
    "calendar.defined.v1": (
        ev.CalendarDefined(
            at=AT,
            definition=CALENDAR,
            resolved=ResolvedDays(("2026-12-24/2026-12-31", "2027-01-01"), 9, 2026, 2036, "0.109", "2026a"),
        ),
        ev.CalendarDefined(at=AT, definition=CalendarDefinition(), resolved=ResolvedDays((), count=0)),
    ),
    "calendar.followed.v1": (
        ev.CalendarFollowed(
            at=AT,
            calendar=ExceptCalendar("de-holidays", 7, ("2026-12-24/2026-12-31", "2027-01-01")),
            next_fire=AT + 9,
            tzdata="2026a",
            pending=ev.Pending(Cron("0 2 * * *"), AT + 5, None),
        ),
        ev.CalendarFollowed(at=AT, calendar=ExceptCalendar("none", 8), next_fire=None),
    ),
    "steps.made.v1": (
        ev.StepsMade(at=AT, number=3, to=("b", "c"), step=RunEnded("r1", "succeeded", AT, direct=True, depth=2)),
        ev.StepsMade(at=AT, number=4, to=("d",), step=RunEnded("r1", "failed", AT)),
        ev.StepsMade(at=AT, number=5, to=("u",), step=Link(("then", "after_end"))),
        ev.StepsMade(at=AT, number=6, to=("u",), step=Link()),
    ),
    "steps.taken.v1": (
        ev.StepsTaken(at=AT, up_to={"b": 3, "c": 3}, refused={"c": "gone"}),
        ev.StepsTaken(at=AT, up_to={"b": 4}),
    ),
    "upstream.heard.v1": (
        ev.UpstreamHeard(
            at=AT,
            upstream="a",
            number=3,
            run_id="r1",
            status="succeeded",
            outcome="waits",
            ended_at=AT - 1,
            result='{"n":1}',
            depth=2,
        ),
        ev.UpstreamHeard(
            at=AT,
            upstream="a",
            number=4,
            run_id="r2",
            status="cancelled",
            outcome="ignored",
            ended_at=AT - 1,
            reason="paused",
            row="r9",
            direct=True,
            left_out=True,
        ),
    ),
    "chain.linked.v1": (
        ev.ChainLinked(at=AT, other="a", number=1, kinds=("after_success",)),
        ev.ChainLinked(at=AT, other="a", number=2),
    ),
    "worker.seen.v1": (
        ev.WorkerSeen(
            at=AT,
            info=WorkerInfo("5c1f", ("mail",), ("send",), concurrency=10, version="0.1.0", host="h", pid=7),
            running=3,
            forget_at=AT + 9,
        ),
        ev.WorkerSeen(at=AT, info=WorkerInfo("5c1f", ()), running=0, forget_at=AT + 9),
    ),
    "worker.drain_requested.v1": (ev.WorkerDrainRequested(at=AT, by="ada"),),
    "worker.left.v1": (ev.WorkerLeft(at=AT, forget_at=AT + 9),),
    "worker.forgotten.v1": (ev.WorkerForgotten(at=AT),),
    "operation.started.v1": (
        ev.OperationStarted(
            at=AT,
            definition=OperationDefinition(
                "tag",
                Selection("paused", "night", {"team": "blue"}, AT + 9, ("a", "b")),
                "why",
                "latest",
                {"env": "prod"},
                12,
                True,
            ),
            by="ada",
        ),
        ev.OperationStarted(at=AT, definition=OperationDefinition("cancel", Selection()), by="ada"),
    ),
    "operation.picked.v1": (
        ev.OperationPicked(at=AT, page=1, targets=("a", "b"), cursor="c"),
        ev.OperationPicked(at=AT, page=2, targets=()),
    ),
    "operation.advanced.v1": (
        ev.OperationAdvanced(
            at=AT, page=1, changed=3, unchanged=2, refused={"deleted": 1}, examples={"deleted": "a: it was deleted"}
        ),
        ev.OperationAdvanced(at=AT, page=2),
    ),
    "operation.cancelled.v1": (ev.OperationCancelled(at=AT, by="ada"),),
    "operation.ended.v1": (ev.OperationEnded(at=AT, expire_at=AT + 9),),
    "operation.forgotten.v1": (ev.OperationForgotten(at=AT),),
    "unique.reserved.v1": (
        ev.UniqueReserved(at=AT, task_id="t", until=AT + 9, check_at=AT + 5),
        ev.UniqueReserved(at=AT, task_id="t", number=3),
    ),
    "unique.released.v1": (
        ev.UniqueReleased(at=AT, task_id="t", why="ended", number=4),
        ev.UniqueReleased(at=AT, task_id="t", why="absent"),
        ev.UniqueReleased(at=AT, task_id="t", why="lost", number=4),
    ),
    "unique.heard.v1": (
        ev.UniqueHeard(at=AT, unique="unique/0a1b", number=1),
        ev.UniqueHeard(at=AT, unique="unique/0a1b", number=2, taken_by="t"),
    ),
    "calendar.deleted.v1": (ev.CalendarDeleted(at=AT, by="ada"),),
    "grant.revoked.v1": (ev.GrantsRevoked(at=AT, run_id="r1"),),
    "limit.defined.v1": (
        ev.LimitDefined(at=AT, definition=LimitDefinition(5, Rate(10, 1_000, 3), "for the mail server")),
        ev.LimitDefined(at=AT, definition=LimitDefinition()),
    ),
    "limit.deleted.v1": (ev.LimitDeleted(at=AT, by="ada"),),
    "slots.granted.v1": (
        ev.SlotsGranted(
            at=AT,
            grants=(Granted("g1", "nightly", "r1", 1), Granted("g2", "nightly", "r2", 2, revoked=1)),
            own=2,
            next_start=AT * 1_000 + 9,
        ),
        ev.SlotsGranted(at=AT, grants=(Granted("g3", "nightly", "r3", 1),), held=False),
    ),
    "slots.released.v1": (ev.SlotsReleased(at=AT, ids=("g1", "g2")),),
}


def record_of(tag: str) -> Record:
    """The record that holds the samples of a tag."""
    return Record(
        stream="task/golden",
        record_id=f"i-{tag}",
        expected_version=7,
        recorded_at=AT,
        wakeup=AT + 9,
        valid_until=AT + 30_000,
        actor="ada",
        cause="timer",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        events=SAMPLES[tag],
    )
