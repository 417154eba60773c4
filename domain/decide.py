"""Deciding: what a command makes of a task. Pure; raises only domain errors."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from msgspec.structs import replace

from taskscheduler.domain import backfill, chains, dead_letters, errors, uniqueness
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.calendar_use import follow
from taskscheduler.domain.claim_limits import granted
from taskscheduler.domain.decided import Decided, replayed
from taskscheduler.domain.definition import Definition, DefinitionPatch, lane_of
from taskscheduler.domain.draft import Draft, resolved, tzdata_of
from taskscheduler.domain.evolve import KEY_LIFETIME
from taskscheduler.domain.fires import catch_up, drop_owed, purge_owed
from taskscheduler.domain.resume import resume
from taskscheduler.domain.schedule import first_fire
from taskscheduler.domain.selecting import holds, retagged
from taskscheduler.domain.settle import fail_attempt, lose, plan_retention, release, settle
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, Released, Run, Task
from taskscheduler.domain.unique import UNIQUE_STREAM
from taskscheduler.domain.update import update
from taskscheduler.domain.values import SECOND, Instant

MAX_KEYS = 2_000
"""Idempotency-Keys remembered for one task."""

ERROR_MESSAGE_LIMIT = 1_024

BEATS_UNWRITTEN = 8
"""Heartbeats that come within this part of the heartbeat timeout after one that is on the log are not written."""
PROGRESS_EVERY = SECOND
"""Progress reaches the log no more often, as far as it renews the lease."""


class _Reply:
    """What a command tells its caller beside the state."""

    __slots__ = ("backfill_id", "cancel_requested", "lease_until", "refused", "run_id")

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.backfill_id: str | None = None
        self.lease_until: Instant | None = None
        self.cancel_requested = False
        self.refused: errors.DomainError | None = None


class _Past(NamedTuple):
    """How an attempt ended, and whether its holder has reported since."""

    outcome: str
    reported: bool


def decide(task: Task, command: msg.TaskCommand, context: msg.Context, policy: msg.Policy) -> Decided:
    """Settle what is due, then apply the command. Raises a DomainError when it is refused."""
    if (known := replayed(task, context)) is not None:
        return known
    draft, reply = Draft(task, context, policy), _Reply()
    settle(draft)
    _apply(draft, command, context, reply)
    key = context.key
    # A refusal is no result to repeat, and a sign of life is the same however often it comes.
    if key is not None and reply.refused is None and not isinstance(command, msg.Renew):
        _room_for_a_key(draft)
        verb = type(command).__name__.lower()
        draft.add(
            ev.KeyUsed(
                at=draft.now,
                key=key.key,
                fingerprint=key.fingerprint,
                verb=verb,
                run_id=reply.run_id,
                backfill_id=reply.backfill_id,
            )
        )
    if draft.events:
        catch_up(draft)
        backfill.fill(draft)
        chains.pass_on(draft, task)
        uniqueness.pass_on(draft, task)
        plan_retention(draft)
    return Decided(
        events=tuple(draft.events),
        state=draft.task,
        run_id=reply.run_id,
        backfill_id=reply.backfill_id,
        lease_until=reply.lease_until,
        cancel_requested=reply.cancel_requested,
        refused=reply.refused,
    )


def _apply(draft: Draft, command: msg.TaskCommand, context: msg.Context, reply: _Reply) -> None:
    match command:
        case msg.Wake():
            pass
        case msg.Follow():
            if draft.task.exists and draft.task.cancelled_at is None:
                follow(draft, command.calendar)
        case msg.Selected():
            _existing(draft.task)
            if not holds(command.selection, draft.task, command.made_by):
                raise errors.NotSelected("the task is no longer one of those that the operation is about")
            _apply(draft, command.command, context, reply)
        case msg.Hear():
            if command.sender.startswith(UNIQUE_STREAM):
                _hear_unique(draft, command)
            else:
                chains.hear(draft, _changeable(draft.task), command)
        case msg.Taken():
            chains.taken(draft, command)
        case msg.Claim():
            _claim(draft, command, reply)
        case msg.Revoke():
            _revoke(draft, command)
        case msg.Complete():
            _complete(draft, command, reply)
        case msg.Fail():
            _fail(draft, command, reply)
        case msg.Create():
            _create(draft, command)
        case msg.Renew():
            _renew(draft, command, reply)
        case msg.Release():
            past = _past_attempt(draft.task, command.run_id, command.number, command.token_hash)
            if past is None:
                release(draft, _held(draft.task, command.run_id, command.number, command.token_hash))
            elif past.outcome != "released":
                raise errors.ClaimLost(f"the attempt has ended as {past.outcome}: there is nothing to give back")
        case msg.Lose():
            run = draft.task.runs.get(command.run_id)
            if run is not None and _holds(run, command.number, command.token_hash):
                lose(draft, run)
        case _:
            definition = _existing(draft.task)
            if context.if_match is not None and context.if_match != draft.task.revision:
                raise errors.RevisionMismatch(
                    f"the task is at revision {draft.task.revision}, which If-Match does not name; read it again"
                )
            _change(draft, definition, command, context, reply)


def _change(draft: Draft, definition: Definition, command: msg.Change, context: msg.Context, reply: _Reply) -> None:
    now, actor = draft.now, context.actor
    if isinstance(command, msg.Delete):
        _end(draft, actor)
        draft.add(ev.TaskDeleted(at=now, by=actor))
        return
    if isinstance(command, msg.PurgeDeadLetter):
        dead_letters.purge(draft, command, actor)
        return
    _changeable(draft.task)
    match command:
        case msg.Retag():
            update(draft, definition, msg.Update(DefinitionPatch(tags=retagged(definition.tags, command))))
        case msg.Update():
            update(draft, definition, command)
        case msg.Cancel():
            if draft.task.status in ("completed", "failed"):
                raise errors.WrongState(f"the task is {draft.task.status}: there is nothing to cancel")
            _end(draft, actor)
            draft.add(ev.TaskCancelled(at=now, by=actor))
        case msg.Pause(note=note):
            if draft.task.pause is None:
                draft.add(ev.TaskPaused(at=now, by=actor, note=note))
        case msg.Resume():
            if draft.task.pause is not None:
                resume(draft, command, actor)
                settle(draft)
        case msg.Backfill():
            reply.backfill_id = backfill.request(draft, definition, command, actor)
        case msg.CancelBackfill(backfill_id=backfill_id):
            backfill.cancel(draft, backfill_id, actor)
        case msg.PurgeOwed():
            purge_owed(draft)
        case msg.Trigger():
            _room_for_a_run(draft.task)
            reply.run_id = draft.queue("manual", now)
        case msg.Retry():
            reply.run_id = _retry(draft, command)
        case _:
            assert_never(command)


def _existing(task: Task) -> Definition:
    if task.definition is None:
        raise errors.TaskNotFound(f"there is no task {task.id!r}")
    if task.deleted_at is not None:
        raise errors.TaskGone(f"the task {task.id!r} was deleted")
    return task.definition


def _changeable(task: Task) -> Definition:
    definition = _existing(task)
    if task.cancelled_at is not None:
        raise errors.WrongState("the task is cancelled; create a new one instead")
    return definition


def _create(draft: Draft, command: msg.Create) -> None:
    if draft.task.deleted_at is not None:
        raise errors.TaskExists(
            f"the id {draft.task.id!r} is that of a deleted task, and is kept while that can be read; choose another id"
        )
    if draft.task.definition is not None:
        raise errors.TaskExists(f"there is a task {draft.task.id!r} already; choose another id or PATCH that one")
    schedule = resolved(draft, command.definition.schedule, draft.now, draft.now)
    definition = replace(command.definition, schedule=schedule)
    fire = first_fire(schedule, draft.now)
    draft.add(ev.TaskCreated(at=draft.now, definition=definition, next_fire=fire, tzdata=tzdata_of(schedule)))


def _end(draft: Draft, actor: str) -> None:
    """Cancel what runs and account for what has come but did not run."""
    backfill.cancel_runs_and_end_all(draft, actor)
    drop_owed(draft, draft.now + 1)


def _hear_unique(draft: Draft, command: msg.Hear) -> None:
    _changeable(draft.task)
    for told in command.steps:
        if told.number <= draft.task.heard.get(command.sender, 0):
            continue
        if uniqueness.hear(draft, command.sender, told):
            _end(draft, uniqueness.ACTOR)
            draft.add(ev.TaskCancelled(at=draft.now, by=uniqueness.ACTOR))


def _retry(draft: Draft, command: msg.Retry) -> str:
    if command.run_id is not None:
        _room_for_a_run(draft.task)
        return dead_letters.retry(draft, command, command.run_id)
    last = draft.task.last_run
    if last is not None and last.status == "skipped":
        last = draft.task.last_finished or last
    if last is None or last.status != "failed":
        said = "it has no run" if last is None else f"its last run is {last.status}"
        raise errors.WrongState(f"only a failed run can be retried: {said}")
    _room_for_a_run(draft.task)
    return draft.queue("retry", draft.now, retry_of=last.id, follows=last)


def _room_for_a_run(task: Task) -> None:
    if len(task.runs) >= MAX_ACTIVE_RUNS:
        raise errors.WrongState(f"the task has {MAX_ACTIVE_RUNS} active runs; wait for some to end or cancel it")


def _room_for_a_key(draft: Draft) -> None:
    used = draft.task.keys
    if len(used) >= MAX_KEYS and sum(k.at > draft.now - KEY_LIFETIME for k in used.values()) >= MAX_KEYS:
        raise errors.TooManyKeys(f"this task remembers {MAX_KEYS} Idempotency-Keys; try later or without one")


def _claim(draft: Draft, command: msg.Claim, reply: _Reply) -> None:
    run = draft.task.runs.get(command.run_id)
    definition = draft.task.definition
    if run is None or run.status != "queued" or definition is None:
        raise errors.NotClaimable(f"the run {command.run_id} is not waiting to be claimed")
    if command.lane is not None and command.lane != lane_of(definition):
        raise errors.NotClaimable(f"the target of the task was changed: the run {command.run_id} waits elsewhere")
    grants = granted(definition, run, command.under)
    deadline = draft.now + definition.timeout
    if run.deadline is not None and run.deadline < deadline:
        deadline = run.deadline
    heartbeat = definition.heartbeat_timeout
    if heartbeat is not None and heartbeat > command.lease:
        heartbeat = None
    reply.run_id = run.id
    reply.lease_until = min(draft.now + (command.lease if heartbeat is None else heartbeat), deadline)
    draft.add(
        ev.AttemptClaimed(
            at=draft.now,
            run_id=run.id,
            number=len(run.attempts) + 1,
            worker=command.worker,
            token_hash=command.token_hash,
            lease=command.lease,
            lease_until=reply.lease_until,
            deadline=deadline,
            request=command.request,
            heartbeat=heartbeat,
            grants=grants,
        )
    )


def _revoke(draft: Draft, command: msg.Revoke) -> None:
    run = draft.task.runs.get(command.run_id)
    if run is not None and len(run.attempts) < command.number and run.revoked == command.revoked:
        draft.add(ev.GrantsRevoked(at=draft.now, run_id=run.id))


def _renew(draft: Draft, command: msg.Renew, reply: _Reply) -> None:
    released = _released(draft.task, command.run_id, command.number, command.token_hash)
    if released is not None:
        reply.cancel_requested, reply.lease_until = True, released.until
        return
    attempt = _held(draft.task, command.run_id, command.number, command.token_hash).attempts[-1]
    reply.lease_until = attempt.lease_until
    # The log hears of a lease at most once per half of it, so that heartbeats cost nothing in between. What a task says
    # about its heartbeats is meant more exactly.
    extended = max(min(draft.now + attempt.hold, attempt.deadline), attempt.lease_until)
    written_at = attempt.lease // 2 if attempt.heartbeat is None else attempt.hold - attempt.hold // BEATS_UNWRITTEN
    due = extended > attempt.lease_until and attempt.lease_until - draft.now <= written_at
    # Progress is for people to follow: news of it are worth more of them.
    news = command.progress is not None and command.progress != attempt.progress
    if due or (news and draft.now - (attempt.lease_until - attempt.hold) >= PROGRESS_EVERY):
        draft.add(
            ev.AttemptRenewed(
                at=draft.now,
                run_id=command.run_id,
                number=command.number,
                lease_until=extended,
                progress=command.progress,
            )
        )
        reply.lease_until = extended


def _complete(draft: Draft, command: msg.Complete, reply: _Reply) -> None:
    past = _past_attempt(draft.task, command.run_id, command.number, command.token_hash)
    if past is not None:
        if past.outcome == "succeeded":
            return
        late = ev.ReportedLate(
            at=draft.now, run_id=command.run_id, number=command.number, outcome="succeeded", result=command.result
        )
        reply.refused = _evidence(draft, past, late)
        return
    run = _held(draft.task, command.run_id, command.number, command.token_hash)
    draft.add(ev.AttemptSucceeded(at=draft.now, run_id=run.id, number=command.number, result=command.result))


def _fail(draft: Draft, command: msg.Fail, reply: _Reply) -> None:
    error = command.error
    if len(error.message) > ERROR_MESSAGE_LIMIT:
        error = ev.Error(error.type, error.message[: ERROR_MESSAGE_LIMIT - 1] + "…")
    past = _past_attempt(draft.task, command.run_id, command.number, command.token_hash)
    if past is not None:
        if past.outcome == "failed":
            return
        late = ev.ReportedLate(
            at=draft.now, run_id=command.run_id, number=command.number, outcome="failed", error=error
        )
        reply.refused = _evidence(draft, past, late)
        return
    run = _held(draft.task, command.run_id, command.number, command.token_hash)
    fail_attempt(draft, run, "failed", error, retryable=command.retryable, retry_after=command.retry_after)


def _evidence(draft: Draft, past: _Past, late: ev.ReportedLate) -> errors.ClaimLost:
    """Keep the first late report; a repeated one is no news."""
    if not past.reported:
        draft.add(late)
    return errors.ClaimLost(f"the attempt has ended as {past.outcome}; what was reported is kept as evidence only")


def _past_attempt(task: Task, run_id: str, number: int, token_hash: str) -> _Past | None:
    run = task.runs.get(run_id)
    if run is None:
        last = task.last_finished
        run = last if last is not None and last.id == run_id else None
    for attempt in run.attempts if run is not None else ():
        if attempt.number == number and attempt.token_hash == token_hash and attempt.outcome is not None:
            return _Past(attempt.outcome, attempt.late_report)
    for ended in task.unheard:
        if (ended.run_id, ended.number, ended.token_hash) == (run_id, number, token_hash):
            return _Past(ended.outcome, False)
    return None if _released(task, run_id, number, token_hash) is None else _Past("cancelled", False)


def _released(task: Task, run_id: str, number: int, token_hash: str) -> Released | None:
    released = task.released.get(run_id)
    holds = released is not None and released.number == number and released.token_hash == token_hash
    return released if holds else None


def _held(task: Task, run_id: str, number: int, token_hash: str) -> Run:
    run = task.runs.get(run_id)
    if run is None or not _holds(run, number, token_hash):
        raise errors.ClaimLost("the claim no longer holds the attempt: its lease ran out or the run has ended")
    return run


def _holds(run: Run, number: int, token_hash: str) -> bool:
    attempt = run.active_attempt
    return attempt is not None and attempt.number == number and attempt.token_hash == token_hash
