"""Makes the read models anew from the log, in a generation beside the one in force, while that is read and written."""

from __future__ import annotations

import asyncio
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.values import Instant
from taskscheduler.streams.cassandra.generation import Generation
from taskscheduler.streams.cassandra.schema import Schema
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.views import CassandraViews
from taskscheduler.streams.projecting import Projecting
from taskscheduler.streams.projection_follower import FarViews

NEAR = 1.0
"""Seconds by which the new generation may be behind the log when it is put in force: records keep coming."""

HANDOVER = 5.0
"""Seconds for which the new generation is still kept up with the log, until projectors and readers have found out."""

LOOK = 0.25


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is: records folded, of how many, at how many per second since the last look."""

    generation: int
    folded: int
    total: int
    rate: float


async def rebuild(
    session: Session,
    log: DecisionLog,
    log_id: str,
    partitions: int,
    scratch: Path,
    *,
    clock: Callable[[], Instant],
    progress: Callable[[Progress], None] = lambda _: None,
    handover: float = HANDOVER,
) -> Generation:
    """Fold the log from its beginning into a new generation, put it in force, drop all others.

    `scratch` is a folder for the states meanwhile; it is removed at the end. One that is cut short leaves what is in
    force alone; called again with the same `scratch` it goes on, with another one it begins anew. Raises
    ViewsUnavailable, and LogUnavailable where the log cannot be reached at the start.
    """
    schema = Schema(session)
    generation = await _begin(schema, log_id, partitions, scratch)
    views = CassandraViews(session, generation)

    async def pinned(known: FarViews | None) -> FarViews | None:
        return None if known is views else views

    projecting = Projecting(log, pinned, scratch, clock=clock)
    try:
        await projecting.assign(range(partitions))
        await _come_near(projecting, log, partitions, generation, progress)
        await schema.switch(generation)
        await asyncio.sleep(handover)
    finally:
        await projecting.stop()
    await schema.drop_others()
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    return generation


async def _begin(schema: Schema, log_id: str, partitions: int, scratch: Path) -> Generation:
    """The generation that an earlier call with this folder has begun, or a new one."""
    in_force = await schema.migrate(log_id, partitions)
    mark = scratch / "generation"
    begun = int(mark.read_text()) if mark.exists() else None
    for other in await schema.others():
        if other.number == begun and other.number > in_force.number and not other.stale:
            return other
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    generation = await schema.create(log_id, partitions)
    await asyncio.to_thread(_mark, mark, generation)
    return generation


def _mark(mark: Path, generation: Generation) -> None:
    mark.parent.mkdir(parents=True)
    mark.write_text(str(generation.number))


async def _come_near(
    projecting: Projecting,
    log: DecisionLog,
    partitions: int,
    generation: Generation,
    progress: Callable[[Progress], None],
) -> None:
    loop = asyncio.get_running_loop()
    before, at = 0, loop.time()
    looks: deque[tuple[float, dict[int, int]]] = deque()
    while True:
        looks.append((loop.time(), {partition: await log.end(partition) for partition in range(partitions)}))
        positions = projecting.saved
        folded, now = sum(positions.values()), loop.time()
        rate = (folded - before) / (now - at) if now > at else 0.0
        progress(Progress(generation.number, folded, sum(looks[-1][1].values()), rate))
        while len(looks) > 1 and looks[1][0] <= now - NEAR:
            looks.popleft()
        seen, ends = looks[0]
        if seen <= now - NEAR and all(positions.get(partition, 0) >= end for partition, end in ends.items()):
            return
        before, at = folded, now
        await asyncio.sleep(LOOK)
