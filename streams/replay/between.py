"""What the read models may show of tasks that change while they are looked at: what the log says of any version since.

Each table is looked at by itself, since what comes of one record is not written at one moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from taskscheduler.domain.entities import id_of
from taskscheduler.projections.projector import TABLES
from taskscheduler.streams.replay.folding import Place, opened
from taskscheduler.streams.replay.fresh import Fresh
from taskscheduler.streams.replay.sums import Sums, joined


def between(place: Place, partition: int, position: int, until: int, tasks: Collection[str]) -> dict[str, set[int]]:
    """By task and table the sums of some tasks at a position of the log and at every one after it up to `until`."""
    return asyncio.run(_between(place, partition, position, until, tasks))


async def _between(
    place: Place, partition: int, position: int, until: int, tasks: Collection[str]
) -> dict[str, set[int]]:
    fresh: dict[str, Fresh] = {}
    found: dict[str, set[int]] = {}
    async with opened(place) as source, contextlib.aclosing(source.entries(partition, 0, until)) as batches:
        async for entries in batches:
            for entry in entries:
                if entry.record is None or (task_id := id_of(entry.record.stream)) not in tasks:
                    continue
                mine = fresh.setdefault(task_id, Fresh(projects=True))
                if entry.position > position:
                    _add(found, task_id, mine)
                mine.fold([entry])
    for task_id, mine in fresh.items():
        _add(found, task_id, mine)
    return found


def _add(found: dict[str, set[int]], task_id: str, fresh: Fresh) -> None:
    assert fresh.rows is not None
    sums = Sums([task_id])
    fresh.rows.sums(sums)
    for table in TABLES:
        name = joined(task_id, table.name)
        found.setdefault(name, set()).add(sums.of.get(name, 0))
