"""Finds rows by a part of a text through the groups of three characters in it."""

from __future__ import annotations

import asyncio

from taskscheduler.streams.cassandra.bounds import Bounds
from taskscheduler.streams.cassandra.layout import Layout, Piece, wires
from taskscheduler.streams.cassandra.session import Session

SIZE = 3
FEW = 256
"""Ids per shard that are read of each group at first."""

MANY = 4_096
"""Ids per shard that are read of the rarest groups when none has just a few."""

LOOKED_AT = 8
"""Groups of a long text that are looked at."""

CANDIDATES = 2_000
"""More rows than this are not worth looking at one by one."""


def grams(text: str) -> set[str]:
    """The groups of three characters in a text, case ignored; none in a shorter one."""
    folded = text.casefold()
    return {folded[at : at + SIZE] for at in range(len(folded) - SIZE + 1)}


async def candidates(session: Session, layout: Layout, shards: int, part: str) -> list[str] | None:
    """The ids in all groups of `part` that were worth reading; None where they are too many or it has no group."""
    wanted = sorted(grams(part))
    if not wanted:
        return None
    step = max(1, len(wanted) // LOOKED_AT)
    wanted = wanted[::step][:LOOKED_AT]

    async def ids(gram: str, limit: int) -> tuple[set[str], bool, str]:
        cql = layout.select(Bounds())
        found = await asyncio.gather(
            *[
                session.read(cql, (*wires(Piece((gram,), shard).key), limit.to_bytes(4, "big")))
                for shard in range(shards)
            ]
        )
        # Where the same number of ids reaches further, there are fewer of them.
        reach = min(part[-1][-1] for part in found if len(part) == limit) if any(len(p) == limit for p in found) else ""
        return {row[-1] for part in found for row in part}, not reach, reach

    first = await asyncio.gather(*[ids(gram, FEW) for gram in wanted])
    whole = [found for found, complete, _ in first if complete]
    if not whole:
        rarest = sorted(zip(wanted, first, strict=True), key=lambda pair: pair[1][2], reverse=True)[:2]
        again = await asyncio.gather(*[ids(gram, MANY) for gram, _ in rarest])
        whole = [found for found, complete, _ in again if complete]
    if not whole:
        return None
    left = set.intersection(*whole)
    return sorted(left) if len(left) <= CANDIDATES else None
