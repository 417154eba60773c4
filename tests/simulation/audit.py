"""A reader of the log that trusts nobody: after every accepted decision it checks the promises, at a constant cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided
from taskscheduler.domain.decision import Record, Verdict, fold
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.state import MAX_BACKFILLS, Task, wakeup
from taskscheduler.streams.codec import decode_record
from tests.simulation.account import Account
from tests.simulation.log import Log
from tests.simulation.nominal import Nominal


class Said(NamedTuple):
    """What became of a command that was accepted: where, and the run or the backfill it made."""

    version: int
    run_id: str | None
    backfill_id: str | None


class Audit:
    """`read` goes on where it was. `done`, `nothing` and `refused` check what callers are told."""

    def __init__(self, log: Log, times: Callable[[Schedule], Nominal], policy: msg.Policy) -> None:
        self.log = log
        self._new = lambda task_id: Account(task_id, times, policy)
        self.tasks: dict[str, Task] = {}
        self.accounts: dict[str, Account] = {}
        self.asked: dict[str, tuple[msg.Command, ...]] = {}
        """The commands that a record was decided for, by record id."""
        self.verdicts: list[Verdict] = []
        self.counts: Counter[str] = Counter()
        self.keys: dict[tuple[str, str], Said] = {}

    def read(self) -> list[tuple[Record, Task]]:
        """Fold what is new and check it; the accepted records, each with the state after it."""
        accepted: list[tuple[Record, Task]] = []
        for appended_at, task_id, record in self.log.entries[len(self.verdicts) :]:
            after, verdict = fold(self.state(task_id), record, appended_at)
            self.verdicts.append(verdict)
            self.counts[verdict] += 1
            if verdict is not Verdict.ACCEPTED:
                continue
            self.tasks[task_id] = after
            assert record.valid_until is None or appended_at <= record.valid_until, f"{record} came too late"
            commands = self.asked.pop(record.record_id, None)
            assert commands is not None, f"{record} was accepted twice"
            self.account(task_id).record(record, commands, after)
            for event in record.events:
                self.counts[_what(event)] += 1
                if isinstance(event, ev.KeyUsed):
                    assert (task_id, event.key) not in self.keys, (
                        f"{event.verb} under {event.key} was carried out twice"
                    )
                    self.keys[task_id, event.key] = Said(after.version, event.run_id, event.backfill_id)
            accepted.append((record, after))
        return accepted

    def state(self, task_id: str) -> Task:
        return self.tasks.get(task_id) or Task(task_id)

    def account(self, task_id: str) -> Account:
        account = self.accounts.get(task_id)
        if account is None:
            account = self.accounts[task_id] = self._new(task_id)
        return account

    def done(self, task_id: str, command: msg.Command, key: msg.Key | None, decided: Decided) -> None:
        """A caller is told that its command was carried out: it is on the log, once, with what it was told."""
        account = self.account(task_id)
        if key is not None:
            said = self.keys.get((task_id, key.key))
            assert said is not None, f"{command} was acknowledged and is lost"
            assert said.run_id == decided.run_id, f"{command} made the run {said.run_id}, not {decided.run_id}"
            assert said.backfill_id == decided.backfill_id, f"{command} made {said.backfill_id}"
        if isinstance(command, msg.Trigger | msg.Retry):
            assert decided.run_id in account.attempts.made, f"{command} was acknowledged, and its run is lost"
        if isinstance(command, msg.Complete | msg.Fail) and decided.refused is None:
            meant = "succeeded" if isinstance(command, msg.Complete) else "failed"
            outcome = account.attempts.outcomes.get((command.run_id, command.number))
            assert outcome == meant, f"{command} was acknowledged, but the attempt is {outcome}"

    def nothing(self, task_id: str, command: msg.Command, state: Task, now: int) -> None:
        """A decider found, in its `state`, that there is nothing to be done."""
        meant = self.account(task_id).meant
        match command:
            case msg.Wake():
                due = wakeup(state)
                assert due is None or due > now, f"{task_id} was due at {due}, and a Wake at {now} decides nothing"
            case msg.Pause():
                assert meant.paused, "a pause was taken for none"
            case msg.Resume():
                assert not meant.paused, "the end of a pause was taken for none"
            case msg.Update():
                same = meant.updated(command, now) == (meant.definition, meant.planned)
                assert same, "an update was taken for none"
            case msg.Renew() | msg.Lose() | msg.Complete() | msg.Fail():
                pass
            case _:
                raise AssertionError(f"{command} decides nothing")

    def refused(self, task_id: str, command: msg.Command, error: DomainError, now: int) -> None:
        """A decider that has read the whole log refuses at `now`: what was accepted so far gives the reason."""
        account = self.account(task_id)
        meant, attempts = account.meant, account.attempts
        match error:
            case errors.TaskNotFound():
                right = meant.definition is None
            case errors.TaskGone():
                right = meant.deleted_at is not None
            case errors.TaskExists():
                right = meant.definition is not None
            case errors.WrongState():
                right = meant.cancelled or self._has_nothing(task_id, command, now)
            case errors.BackfillNotFound():
                right = isinstance(command, msg.CancelBackfill)
                right = right and command.backfill_id not in self.state(task_id).backfills
            case errors.Invalid():
                right = _is_invalid(account, command, now)
            case errors.NotClaimable():
                assert isinstance(command, msg.Claim)
                held = attempts.active.get(command.run_id)
                waited = held is not None and held.due is not None and held.due <= now
                right = held is None or held.status != "queued" or waited
            case errors.ClaimLost():
                assert isinstance(command, msg.Complete | msg.Fail | msg.Renew)
                held = attempts.active.get(command.run_id)
                mine = held is not None and held.status == "running" and held.token == command.token_hash
                right = not mine or (held is not None and held.lease_until <= now)
            case _:
                right = False
        assert right, f"{command} was refused: {error}"

    def _has_nothing(self, task_id: str, command: msg.Command, now: int) -> bool:
        """Whether there is nothing that the command could change."""
        account, state = self.account(task_id), self.state(task_id)
        fires, attempts, backfills = account.fires, account.attempts, account.backfills
        match command:
            case msg.Retry():
                return True
            case msg.Cancel():
                to_come = fires.open or fires.next_due() is not None or account.meant.planned is not None
                return not (to_come or attempts.active or backfills.waiting())
            case msg.PurgeOwed():
                due = attempts.earliest_due()
                return state.backlog is None or (due is not None and due <= now)
            case msg.Backfill():
                return sum(backfill.status == "running" for backfill in state.backfills.values()) >= MAX_BACKFILLS
            case msg.CancelBackfill(backfill_id=backfill_id):
                page = backfills.pages[backfill_id]
                return page.next is None and backfill_id not in backfills.active.values()
            case _:
                return False

    def sweep(self, now: int, patience: int) -> None:
        """Nothing that was due before `patience` ago waits still. For times when all has been well for as long."""
        for task_id, account in self.accounts.items():
            due = wakeup(self.state(task_id))
            assert due is None or due > now - patience, f"{task_id} was due at {due} and is forgotten at {now}"
            if not account.paused:
                overdue = account.fires.overdue(now - patience)
                assert not overdue, f"the fire times {overdue} of {task_id} are forgotten at {now}"
            for run_id, held in account.attempts.active.items():
                assert held.due is None or held.due > now - patience, f"{run_id} of {task_id} is forgotten at {now}"

    def replay(self) -> bytes:
        """What a fold of the whole log, from its bytes, gives; it is what is live, bit for bit."""
        tasks: dict[str, Task] = {}
        for (appended_at, task_id, _), data in zip(self.log.entries, self.log.data, strict=True):
            record = decode_record(data)
            tasks[task_id], _ = fold(tasks.get(task_id) or Task(task_id), record, appended_at)
        encoded = msgspec.msgpack.encode(tasks)
        known = {task_id: self.state(task_id) for task_id in tasks}
        assert encoded == msgspec.msgpack.encode(known), "a fold of the whole log gives another state"
        return encoded


def _is_invalid(account: Account, command: msg.Command, now: int) -> bool:
    match command:
        case msg.Backfill():
            definition = account.meant.definition
            return definition is not None and not account.backfills.asked(definition.schedule, command)
        case msg.Update(effective_from=int(effective_from)):
            return effective_from <= now
        case _:
            return False


def _what(event: ev.Event) -> str:
    """What an event is counted as."""
    match event:
        case ev.FiresSkipped(reason=reason):
            return f"skipped {reason}"
        case ev.RunQueued(cause=cause):
            return f"queued {cause}"
        case ev.RunCancelled(by="overlap"):
            return "cancelled by overlap"
        case ev.TaskPaused(by="scheduler"):
            return "paused itself"
        case ev.TaskResumed(missed=missed):
            return f"resumed {missed}"
        case ev.AttemptFailed(outcome=outcome, reason=reason):
            return f"attempt {outcome} {reason}"
        case ev.RunFailed(reason=reason):
            return f"run failed {reason}"
        case _:
            return ev.tag_of(event)
