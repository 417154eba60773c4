"""What is compared with a log: the replicas that decide, and the read models of an embedded server."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from taskscheduler.projections.events import EVENTS
from taskscheduler.projections.projector import TABLES
from taskscheduler.streams.replay.jobs import Jobs
from taskscheduler.streams.replay.kept import row_sums, state_sums
from taskscheduler.streams.replay.sums import Sums
from taskscheduler.streams.replay.verify import Look

STALE = "it was made by other rules than this release's, and is made anew when that starts"


_HALVES = ({EVENTS.name}, {table.name for table in TABLES if table is not EVENTS})
"""Tables that take about as long to read."""


class Replica:
    """What decides: its states, timers, waiting runs and steps, in a directory for each partition that it follows."""

    def __init__(self, name: str, folders: Mapping[int, Path]) -> None:
        self.name = name
        self._folders = dict(sorted(folders.items()))

    def look(self, jobs: Jobs, only: Collection[str] | None) -> Look:
        """Each directory as it stands at one position. Raises DataRefused."""
        held = jobs.all(state_sums, [(path, only) for path in self._folders.values()])
        by_partition = dict(zip(self._folders, held, strict=True))
        sums = Sums()
        sums.merge(one.sums for one in held)
        return Look(
            "state",
            {partition: one.position.position for partition, one in by_partition.items()},
            sums.of,
            {partition: one.position.record_id for partition, one in by_partition.items()},
            wrong=STALE if any(one.stale for one in held) else None,
        )


class Absent:
    """What should be somewhere and is not: `why` says where it was looked for."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def look(self, jobs: Jobs, only: Collection[str] | None) -> Look:
        """Nothing."""
        return Look("state", absent=self._why)


class EmbeddedRows:
    """The read models in the directory of an embedded server."""

    name = "read models"

    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self, jobs: Jobs, only: Collection[str] | None) -> Look:
        """As they stand at one position, which is that of the replica beside them. Raises DataRefused."""
        held = jobs.all(row_sums, [(self._path, tables, only) for tables in _HALVES])
        if len({one.position.position for one in held}) > 1:
            # A server went on between the two openings; what one opening shows is of one moment.
            held = jobs.all(row_sums, [(self._path, set().union(*_HALVES), only)])
        sums = Sums()
        sums.merge(one.sums for one in held)
        first = held[0]
        return Look(
            "rows",
            {0: first.position.position},
            sums.of,
            {0: first.position.record_id},
            wrong=STALE if first.stale else None,
        )
