"""Which attempts a worker holds: to give a repeated claim request the same claims, and to know after a restart what
the server's own dispatch held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskscheduler.domain.decision import Accepted, AnyAccepted, of_tasks
from taskscheduler.domain.events import AttemptClaimed, AttemptFailed, AttemptReleased, AttemptSucceeded, RunCancelled

_ENDS = (AttemptSucceeded, AttemptFailed, AttemptReleased, RunCancelled)


class Holding(NamedTuple):
    """An attempt in somebody's hands. `request` is the hash of the claim request, or empty."""

    worker: str
    request: str
    task_id: str
    run_id: str


class HolderTable(Protocol):
    """Holdings in order of their fields, each with the number of the attempt."""

    def put(self, holding: Holding, number: int) -> None: ...
    def delete(self, holding: Holding) -> None: ...
    def find(self, worker: str, request: str | None) -> list[tuple[Holding, int]]: ...


class Held(Protocol):
    """Who holds what."""

    def held(self, worker: str, request: str | None = None) -> list[tuple[Holding, int]]: ...


class Holders:
    """An observer of a replica. Attempts without a request are only kept for the workers named in `always`."""

    def __init__(self, table: HolderTable, always: Sequence[str] = ()) -> None:
        self._table = table
        self._always = frozenset(always)

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Note who took and who ended attempts."""
        for change in of_tasks(accepted):
            for event in change.record.events:
                if type(event) is AttemptClaimed:
                    if event.request is not None or event.worker in self._always:
                        holding = Holding(event.worker, event.request or "", change.after.id, event.run_id)
                        self._table.put(holding, event.number)
                elif isinstance(event, _ENDS):
                    self._end(change, event.run_id)

    def held(self, worker: str, request: str | None = None) -> list[tuple[Holding, int]]:
        """What a worker holds, or what one of its requests was given, with the number of the attempt."""
        return self._table.find(worker, request)

    def _end(self, change: Accepted, run_id: str) -> None:
        run = change.before.runs.get(run_id) or change.after.runs.get(run_id)
        attempts = run.attempts if run is not None else ()
        if not attempts and (last := change.after.last_finished) is not None and last.id == run_id:
            attempts = last.attempts
        if attempts:
            last_attempt = attempts[-1]
            if last_attempt.request is not None or last_attempt.worker in self._always:
                self._table.delete(Holding(last_attempt.worker, last_attempt.request or "", change.after.id, run_id))
