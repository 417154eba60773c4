"""A reader of the merged log that trusts nobody: no limit is ever exceeded, at any place of it."""

from __future__ import annotations

from collections import Counter

from taskscheduler.commands.ports import Entry
from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Verdict, fold
from taskscheduler.domain.entities import Entity, empty, id_of
from taskscheduler.domain.limit import Limit, evolve
from taskscheduler.domain.limit_definition import limits_of, own_limit
from taskscheduler.domain.state import Task


class LimitAudit:
    """`read` takes in what landed. `strict` names limits that stand since before the first claim."""

    def __init__(self, strict: frozenset[str]) -> None:
        self.strict = strict
        self.states: dict[str, Entity] = {}
        self.active: dict[str, dict[str, tuple[str, str, int]]] = {}
        """By limit and grant, the attempt that is active."""
        self.most: Counter[str] = Counter()
        self.starts: dict[str, list[int]] = {}
        self.counts: Counter[str] = Counter()
        self._at = 0

    def read(self, merged: list[Entry]) -> None:
        """Raises AssertionError where a limit is exceeded, or an attempt runs outside of one that it is under."""
        for entry in merged[self._at :]:
            assert entry.record is not None
            id = id_of(entry.record.stream)
            before = self.states.get(id) or empty(id)
            after, verdict = fold(before, entry.record, entry.appended_at)
            self.states[id] = after
            self.counts[str(verdict)] += 1
            if verdict is Verdict.ACCEPTED:
                for event in entry.record.events:
                    self.counts[ev.tag_of(event)] += 1
                if isinstance(after, Task):
                    assert isinstance(before, Task)
                    self._task(before, after, entry)
                elif isinstance(after, Limit):
                    assert isinstance(before, Limit)
                    self._limit(before, after, entry)
        self._at = len(merged)

    def _task(self, before: Task, after: Task, entry: Entry) -> None:
        assert entry.record is not None
        for event in entry.record.events:
            if isinstance(event, ev.AttemptClaimed):
                self._claimed(before, event)
        for run_id in {*before.runs, *after.runs}:
            was, now = before.runs.get(run_id), after.runs.get(run_id)
            old = None if was is None else was.active_attempt
            new = None if now is None else now.active_attempt
            if old is not None and (new is None or new.number != old.number):
                for name, grant in old.grants.items():
                    assert self.active[name].pop(grant, None) == (after.id, run_id, old.number)
            if new is not None and (old is None or old.number != new.number):
                for name, grant in new.grants.items():
                    self._begin(name, grant, (after.id, run_id, new.number))

    def _claimed(self, task: Task, event: ev.AttemptClaimed) -> None:
        assert task.definition is not None
        own = own_limit(task.definition)
        names = limits_of(task.definition)
        assert set(event.grants) <= set(names), f"{event} holds slots of limits that it is not under"
        needed = {name for name in names if name in self.strict} | ({own[0]} if own is not None else set())
        assert needed <= set(event.grants), f"{event} begins outside of {needed - set(event.grants)}"

    def _begin(self, name: str, grant: str, attempt: tuple[str, str, int]) -> None:
        limit = self.states[f"limit/{name}"]
        assert isinstance(limit, Limit)
        slot = limit.slots.get(grant)
        assert slot is not None, f"{attempt} begins under a slot of {name} that is not held"
        assert (slot.grant.task_id, slot.grant.run_id, slot.grant.number) == attempt
        active = self.active.setdefault(name, {})
        assert grant not in active
        active[grant] = attempt
        self.most[name] = max(self.most[name], len(active))
        self._check(name, limit)

    def _limit(self, before: Limit, after: Limit, entry: Entry) -> None:
        assert entry.record is not None
        for event in entry.record.events:
            before = evolve(before, event)
            if isinstance(event, ev.SlotsGranted):
                most = before.most(event.own)
                if event.held:
                    assert most is not None and len(before.slots) <= most, f"{after.name} grants more than {most}"
                self.starts.setdefault(after.name, []).extend([event.at] * len(event.grants))
        self._check(after.name, after)

    def _check(self, name: str, limit: Limit) -> None:
        loose = set(self.active.get(name, ())) - set(limit.slots)
        assert not loose, f"{[self.active[name][grant] for grant in loose]} are active and hold no slot of {name}"

    def waiting(self) -> int:
        """Runs that have not ended."""
        return sum(len(state.runs) for state in self.states.values() if isinstance(state, Task))

    def held(self) -> int:
        """Slots that are held."""
        return sum(len(state.slots) for state in self.states.values() if isinstance(state, Limit))
