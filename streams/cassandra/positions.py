"""Up to where each partition of the log is projected."""

from __future__ import annotations

from collections.abc import Mapping

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.cassandra.session import Session


class ViewsBehind(ViewsUnavailable):
    """The read models did not come in time to where the reader has to see them."""


class Positions:
    """The positions of one generation. They only ever grow: the timestamp of one is the position itself."""

    def __init__(self, session: Session, generation: int) -> None:
        self._session = session
        self._generation = generation
        self._keyspace = session.keyspace

    async def read(self) -> dict[int, int]:
        """By partition; those of which nothing was projected yet are missing."""
        rows = await self._session.read(
            f"SELECT partition, position FROM {self._keyspace}.positions WHERE generation = ?",
            (_int(self._generation),),
        )
        return dict(rows)

    async def save(self, positions: Mapping[int, int]) -> None:
        """Everything up to these is written."""
        cql = (
            f"INSERT INTO {self._keyspace}.positions (generation, partition, position) VALUES (?, ?, ?) "
            "USING TIMESTAMP ?"
        )
        prepared = await self._session.prepare(cql)
        generation = _int(self._generation)
        await self._session.write(
            [
                (prepared, (generation, _int(partition), _long(position), _long(position)))
                for partition, position in positions.items()
            ],
            generation,
        )


def parse_token(token: str) -> dict[int, int]:
    """The positions by partition in a token, `partition:position` with commas between. Raises ValueError."""
    found: dict[int, int] = {}
    for part in token.split(","):
        partition, _, position = part.strip().partition(":")
        if not (partition.isascii() and partition.isdigit() and position.isascii() and position.isdigit()):
            raise ValueError(f"{part!r} is no part of a consistency token")
        found[int(partition)] = max(int(position), found.get(int(partition), 0))
    return found


def _int(number: int) -> bytes:
    return number.to_bytes(4, "big", signed=True)


def _long(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
