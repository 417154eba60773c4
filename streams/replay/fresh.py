"""Folds and projects the log afresh, in memory, for some of its streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from taskscheduler.commands.ports import Entry
from taskscheduler.domain.decision import Verdict, accepted_as, fold
from taskscheduler.domain.definition import lane_of
from taskscheduler.domain.entities import empty, id_of
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import Instant
from taskscheduler.projections.projector import project
from taskscheduler.streams.calendar_uses import Use, uses_of
from taskscheduler.streams.claimable import place_of
from taskscheduler.streams.outbox import has_steps, note
from taskscheduler.streams.replay.fresh_rows import FreshRows
from taskscheduler.streams.replay.steps import FreshSteps, add_step
from taskscheduler.streams.replay.sums import Sums, hash_of
from taskscheduler.streams.replica import Kept, chain_of
from taskscheduler.streams.rocksdb import claim_tables, outbox_table, state_store, timer_table, use_table


class Fresh:
    """The states of some streams of one partition, and what the read models show of them. Begins with no record.

    `rows` is None when nothing is projected.
    """

    def __init__(self, *, projects: bool) -> None:
        self.tasks: dict[str, Kept] = {}
        self._steps = FreshSteps()
        self.rows = FreshRows() if projects else None
        self._changed: set[str] = set()
        self._hashes: dict[str, int] = {}

    def fold(self, entries: Iterable[Entry]) -> None:
        """Take in the next records."""
        tasks, rows = self.tasks, self.rows
        for entry in entries:
            record = entry.record
            if record is None:
                continue
            task_id = id_of(record.stream)
            kept = tasks.get(task_id) or Kept(empty(task_id))
            after, verdict = fold(kept.state, record, entry.appended_at)
            if verdict is not Verdict.ACCEPTED:
                continue
            tasks[task_id] = Kept(after, record.wakeup, chain_of(kept.chain, record.record_id))
            self._changed.add(task_id)
            if has_steps(record.events):
                note(self._steps, task_id, record.events)
            if rows is not None:
                accepted = accepted_as(
                    entry.partition, entry.position, entry.appended_at, record, kept.state, after, kept.wakeup
                )
                rows.apply(project(accepted), entry.position)

    def add_states(self, sums: Sums, *, parts: bool) -> None:
        """Add up what a replica keeps of these streams; `parts`: one by one, for sums that keep those apart."""
        if parts:
            for task_id, kept in self.tasks.items():
                for row in replica_rows(task_id, kept):
                    sums.add(task_id, *row)
                for step in self._steps.rows(task_id):
                    add_step(sums, *step)
            return
        for task_id in self._changed:
            state = sum(hash_of(*row) for row in replica_rows(task_id, self.tasks[task_id]))
            steps = sum(hash_of(outbox_table.FAMILY, *row) for row in self._steps.rows(task_id))
            self._hashes[task_id] = state + steps
        self._changed.clear()
        for task_id, hashed in self._hashes.items():
            sums.add_hash(task_id, "", hashed)

    def add_timers(self, sums: Sums) -> None:
        """Add up what those keep of these streams who fold envelopes alone."""
        for task_id, kept in self.tasks.items():
            sums.add_hash(task_id, "", Timer(kept.state.version, kept.wakeup, kept.chain).hashed)


class Timer(NamedTuple):
    """What whoever folds envelopes alone keeps of a stream."""

    version: int
    wakeup: Instant | None
    chain: str

    @property
    def hashed(self) -> int:
        """64 bits over all of it."""
        return hash_of("timers", b"", f"{self.version} {self.wakeup} {self.chain}".encode())


def replica_rows(task_id: str, kept: Kept) -> Iterator[tuple[str, bytes, bytes]]:
    """What lies on disk of the state of a stream in a replica that decides: family, key and value of each row."""
    yield from state_store.rows_of(task_id, kept)
    task = kept.state
    if kept.wakeup is not None:
        yield timer_table.FAMILY, *timer_table.row_of(kept.wakeup, task_id, task.version)
    if not isinstance(task, Task):
        return
    for calendar, version in uses_of(task).items():
        yield use_table.FAMILY, *use_table.row_of(calendar, Use(task_id, version))
    if task.definition is not None:
        for run in task.runs.values():
            if run.status == "queued":
                lane, item = lane_of(task.definition), place_of(task.definition, task_id, run)
                yield "claimable", claim_tables.key_of(lane, item), b""
