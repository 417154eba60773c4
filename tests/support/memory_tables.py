"""The tables of timers, waiting runs, holdings and uses of calendars, as sorted dicts."""

from __future__ import annotations

from taskscheduler.domain.definition import Lane
from taskscheduler.streams.calendar_uses import Use
from taskscheduler.streams.claimable import Claimable
from taskscheduler.streams.holders import Holding
from taskscheduler.streams.timers import Timer


class TimerRows:
    """Implements TimerTable."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], int] = {}
        self.reads = 0

    def put(self, due: int, task_id: str, version: int) -> None:
        self.rows[due, task_id] = version

    def delete(self, due: int, task_id: str) -> None:
        self.rows.pop((due, task_id), None)

    def get(self, due: int, task_id: str) -> int | None:
        return self.rows.get((due, task_id))

    def count_due(self, now: int, limit: int) -> int:
        return min(limit, sum(due <= now for due, *_ in self.first(len(self.rows), None)))

    def first(self, limit: int, after: Timer | None) -> list[Timer]:
        self.reads += 1
        rows = sorted(row for row in self.rows if after is None or row > after[:2])
        return [(due, task_id, self.rows[due, task_id]) for due, task_id in rows[:limit]]


class ClaimRows:
    """Implements ClaimTable."""

    def __init__(self) -> None:
        self.rows: set[tuple[Lane, Claimable]] = set()

    def put(self, lane: Lane, item: Claimable) -> None:
        self.rows.add((lane, item))

    def delete(self, lane: Lane, item: Claimable) -> None:
        self.rows.discard((lane, item))

    def has(self, lane: Lane, item: Claimable) -> bool:
        return (lane, item) in self.rows

    def first(self, lane: Lane, limit: int, after: Claimable | None) -> list[Claimable]:
        return sorted(i for row, i in self.rows if row == lane and (after is None or i > after))[:limit]

    def lanes(
        self, group: str, kind: str | None, after: Lane | None, limit: int, each: int
    ) -> list[tuple[Lane, Claimable]]:
        found = [row for row in self.rows if row[0].group == group and kind in (None, row[0].kind)]
        there = sorted(row for row in found if after is None or row[0] > after)
        return [row for n, row in enumerate(there) if n < each or there[n - each][0] != row[0]][:limit]

    def kinds(self, group: str) -> set[str]:
        return {lane.kind for lane, _ in self.rows if lane.group == group}


class HolderRows:
    """Implements HolderTable."""

    def __init__(self) -> None:
        self.rows: dict[Holding, int] = {}

    def put(self, holding: Holding, number: int) -> None:
        self.rows[holding] = number

    def delete(self, holding: Holding) -> None:
        self.rows.pop(holding, None)

    def find(self, worker: str, request: str | None) -> list[tuple[Holding, int]]:
        return [(h, n) for h, n in sorted(self.rows.items()) if h.worker == worker and request in (None, h.request)]


class UseRows:
    """Implements UseTable."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], int] = {}

    def put(self, calendar: str, use: Use) -> None:
        self.rows[calendar, use.task_id] = use.version

    def delete(self, calendar: str, task_id: str) -> None:
        self.rows.pop((calendar, task_id), None)

    def of(self, calendar: str, after: str, limit: int) -> list[Use]:
        rows = sorted(self.rows.items())
        return [Use(task, version) for (name, task), version in rows if name == calendar and task > after][:limit]

    def calendars(self) -> list[str]:
        return sorted({name for name, _ in self.rows})
