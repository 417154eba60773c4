"""Waiting runs and holdings on RocksDB: ordered tables whose keys say everything."""

from __future__ import annotations

from functools import lru_cache

from taskscheduler.domain.definition import Lane
from taskscheduler.streams.claimable import Claimable
from taskscheduler.streams.holders import Holding
from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable

FAMILIES = ("claimable", "holders")


class RocksClaimTable:
    """Implements ClaimTable. Ids, queues, kinds, hosts and keys hold no zero byte, so it can part them."""

    def __init__(self, buffer: Buffer) -> None:
        self._rows: BufferedTable[bool] = buffer.table("claimable", None, lambda _: True)

    def put(self, lane: Lane, item: Claimable) -> None:
        """Let a run wait."""
        self._rows.insert(key_of(lane, item), True)

    def delete(self, lane: Lane, item: Claimable) -> None:
        """The run waits no more."""
        self._rows.delete(key_of(lane, item))

    def has(self, lane: Lane, item: Claimable) -> bool:
        """Whether the run still waits there."""
        return self._rows.get(key_of(lane, item)) is not None

    def first(self, lane: Lane, limit: int, after: Claimable | None) -> list[Claimable]:
        """The next runs of a lane in order."""
        prefix = _prefix(lane)
        start = prefix if after is None else key_of(lane, after) + b"\0"
        rows = self._rows.scan(start, prefix + b"\xff" * 9, limit=limit)
        return [_parse(key[len(prefix) :]) for key, _ in rows]

    def lanes(
        self, group: str, kind: str | None, after: Lane | None, limit: int, each: int
    ) -> list[tuple[Lane, Claimable]]:
        """The next lanes of a group, or of one kind in it, above `after`: up to `limit` rows, `each` of a lane."""
        whole = f"{group}\0".encode() if kind is None else f"{group}\0{kind}\0".encode()
        start, found = whole if after is None else _end(after), list[tuple[Lane, Claimable]]()
        while len(found) < limit:
            lane, many = None, 0
            for key, _ in self._rows.scan(start, whole[:-1] + b"\1", limit=limit - len(found)):
                row = _row(key)
                many = many + 1 if row[0] == lane else 1
                lane = row[0]
                if many > each:  # what it has beyond is not read row by row
                    start = _end(lane)
                    break
                found.append(row)
            else:
                return found
        return found

    def kinds(self, group: str) -> set[str]:
        """The kinds of work that wait in a group."""
        kinds: set[str] = set()
        start, end = group.encode() + b"\0", group.encode() + b"\1"
        while (found := next(self._rows.scan(start, end, limit=1), None)) is not None:
            kind = found[0].split(b"\0", 2)[1]
            kinds.add(kind.decode())
            start = group.encode() + b"\0" + kind + b"\1"
        return kinds


class RocksHolderTable:
    """Implements HolderTable."""

    def __init__(self, buffer: Buffer) -> None:
        self._rows: BufferedTable[int] = buffer.table(
            "holders", lambda number: number.to_bytes(4, "big"), lambda data: int.from_bytes(data, "big")
        )

    def put(self, holding: Holding, number: int) -> None:
        """Note a holding."""
        self._rows.insert("\0".join(holding).encode(), number)

    def delete(self, holding: Holding) -> None:
        """It is held no more."""
        self._rows.delete("\0".join(holding).encode())

    def find(self, worker: str, request: str | None) -> list[tuple[Holding, int]]:
        """What a worker, or one request of it, holds."""
        prefix = worker if request is None else f"{worker}\0{request}"
        rows = self._rows.scan(prefix.encode() + b"\0", prefix.encode() + b"\1")
        return [(Holding(*key.decode().split("\0")), number) for key, number in rows]


@lru_cache(4_096)
def _prefix(lane: Lane) -> bytes:
    return f"{lane.group}\0{lane.kind}\0{lane.key}\0".encode()


def _end(lane: Lane) -> bytes:
    return _prefix(lane)[:-1] + b"\1"


def key_of(lane: Lane, item: Claimable) -> bytes:
    """Key of a waiting run on disk."""
    return _prefix(lane) + item.order.to_bytes(8, "big") + f"{item.task_id}\0{item.run_id}".encode()


def task_of(key: bytes) -> str:
    """The task of a waiting run, from its key on disk."""
    return _row(key)[1].task_id


def _row(key: bytes) -> tuple[Lane, Claimable]:
    group, kind, lane_key, rest = key.split(b"\0", 3)
    return Lane(group.decode(), kind.decode(), lane_key.decode()), _parse(rest)


def _parse(rest: bytes) -> Claimable:
    task_id, run_id = rest[8:].decode().split("\0")
    return Claimable(int.from_bytes(rest[:8], "big"), task_id, run_id)
