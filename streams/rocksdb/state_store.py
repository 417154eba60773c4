"""The replica's state on RocksDB: a row for each task, and rows of their own for its active runs and its keys.

The cost of a decision must not grow with the number of active runs, so a decision writes only the runs it touched.
What is no task has one row, elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from taskscheduler.domain.entities import Other
from taskscheduler.domain.state import Run, Task, UsedKey, with_runs, without_runs
from taskscheduler.domain.values import Instant
from taskscheduler.streams.replica import Kept, Position
from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable

RECENT = 8_192
"""States kept as objects beside those that wait for a flush; up to twice as many."""

OTHERS = "state_others"
FAMILIES = ("state", "state_runs", "state_keys", OTHERS, "position")


class _Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    task: Task
    wakeup: Instant | None
    chain: str
    runs: int
    keys: int


class _OtherRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    state: Other
    wakeup: Instant | None
    chain: str


_encoder = msgspec.msgpack.Encoder()
_rows = msgspec.msgpack.Decoder(_Row)
_others = msgspec.msgpack.Decoder(_OtherRow)
_runs = msgspec.msgpack.Decoder(Run)
_keys = msgspec.msgpack.Decoder(UsedKey)
_positions = msgspec.msgpack.Decoder(Position)
_POSITION = b"position"


def rows_of(task_id: str, kept: Kept) -> Iterator[tuple[str, bytes, bytes]]:
    """What lies on disk of a state once it is flushed: family, key and value of each row."""
    name, task = task_id.encode(), kept.state
    if not isinstance(task, Task):
        yield OTHERS, name, _encode_other(kept)
        return
    yield "state", name, _encode(kept)
    for run_id, run in task.runs.items():
        yield "state_runs", name + b"\0" + run_id.encode(), _encoder.encode(run)
    for key, used in task.keys.items():
        yield "state_keys", name + b"\0" + key.encode(), _encoder.encode(used)


class StateStore:
    """Implements the replica's store. Everything is flushed with the other tables of the same buffer."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._rows: BufferedTable[_Row | Kept] = buffer.table("state", _encode, _rows.decode)
        self._others: BufferedTable[Kept] = buffer.table(OTHERS, _encode_other, _decode_other)
        self._runs: BufferedTable[Run] = buffer.table("state_runs", _encoder.encode, _runs.decode)
        self._keys: BufferedTable[UsedKey] = buffer.table("state_keys", _encoder.encode, _keys.decode)
        self._positions: BufferedTable[Position] = buffer.table("position", _encoder.encode, _positions.decode)
        self._position = self._positions.get(_POSITION) or Position()
        self._recent: dict[str, Kept] = {}
        self._older: dict[str, Kept] = {}

    def load(self, id: str) -> Kept | None:
        """The state of what has this id, put together from its rows."""
        kept = self._recent.get(id)
        if kept is not None:
            return kept
        kept = self._older.get(id) or self._read(id)
        if kept is not None:
            self._remember(id, kept)
        return kept

    def _remember(self, id: str, kept: Kept) -> None:
        self._recent[id] = kept
        if len(self._recent) > RECENT:
            self._older, self._recent = self._recent, {}

    def _read(self, task_id: str) -> Kept | None:
        if "/" in task_id:
            return self._others.get(task_id.encode())
        row = self._rows.get(task_id.encode())
        if row is None:
            return None
        if isinstance(row, Kept):
            return row
        if not row.runs and not row.keys:
            return Kept(row.task, row.wakeup, row.chain)
        # A stream whose row is flushed has all its runs and keys flushed: they go in the same write.
        start, end, cut = _range(task_id)
        runs = {key[cut:].decode(): run for key, run in self._runs.scan_flushed(start, end)} if row.runs else {}
        keys = {key[cut:].decode(): used for key, used in self._keys.scan_flushed(start, end)} if row.keys else {}
        return Kept(with_runs(row.task, runs, keys), row.wakeup, row.chain)

    def save(self, id: str, kept: Kept, run_ids: Iterable[str], keys: Iterable[str]) -> None:
        """Keep the state. `run_ids` and `keys` name what the decision touched."""
        name, task = id.encode(), kept.state
        self._remember(id, kept)
        if not isinstance(task, Task):
            self._others.put(name, kept)
            return
        self._rows.put(name, kept)
        for run_id in run_ids:
            run = task.runs.get(run_id)
            key = name + b"\0" + run_id.encode()
            if run is None:
                self._runs.delete(key)
            elif run.status == "queued" and not run.attempts and not run.revoked:
                self._runs.insert(key, run)
            else:
                self._runs.put(key, run)
        for used in keys:
            key = name + b"\0" + used.encode()
            if used in task.keys:
                self._keys.put(key, task.keys[used])
            else:
                self._keys.delete(key)

    def states(self, prefix: str) -> Iterator[Other]:
        """What is no task, of the streams that begin so, in their order."""
        for _, kept in self._others.scan(prefix.encode(), prefix.encode() + b"\xff"):
            if not isinstance(kept.state, Task):
                yield kept.state

    def position(self) -> Position:
        """Where the replica is."""
        return self._position

    def set_position(self, position: Position) -> None:
        """Goes into the next flush."""
        self._position = position
        self._positions.put(_POSITION, position)

    def start_over(self) -> None:
        """Forget everything that was folded, at once and whole, so that it is folded again from the first record."""
        self._buffer.clear()
        self._position = Position()
        self._recent, self._older = {}, {}

    def flush(self) -> int:
        """Write everything that is dirty in one batch."""
        return self._buffer.flush()

    @property
    def dirty(self) -> int:
        """Rows that wait for a flush."""
        return self._buffer.dirty

    def others(self, kind: str) -> list[str]:
        """The ids of what is no task and begins so, such as `operation/`."""
        start = kind.encode()
        return [key.decode() for key, _ in self._others.scan(start, start + b"\xff")]

    def active_runs(self) -> int:
        """How many runs are active, counted one by one."""
        return sum(1 for _ in self._runs.scan(b"", b"\xff" * 8))

    def digest(self) -> str:
        """A hash over the whole state, the same for every replica at the same position and fold version."""
        self.flush()
        total = hashlib.sha256()
        for name, table in ((b"state", self._rows), (b"runs", self._runs), (b"keys", self._keys)):
            total.update(name)
            for key, row in table.scan(b"", b"\xff" * 8):
                data = _encoder.encode(row)
                total.update(_framed(key, data))
        for key, kept in self._others.scan(b"", b"\xff" * 8):
            total.update(_framed(key, _encode_other(kept)))
        return total.hexdigest()


def _encode(row: _Row | Kept) -> bytes:
    if isinstance(row, Kept):
        task = row.state
        assert isinstance(task, Task)
        bare = without_runs(task) if task.runs or task.keys else task
        row = _Row(bare, row.wakeup, row.chain, len(task.runs), len(task.keys))
    return _encoder.encode(row)


def _encode_other(kept: Kept) -> bytes:
    assert not isinstance(kept.state, Task)
    return _encoder.encode(_OtherRow(kept.state, kept.wakeup, kept.chain))


def _decode_other(data: bytes) -> Kept:
    row = _others.decode(data)
    return Kept(row.state, row.wakeup, row.chain)


def _framed(key: bytes, data: bytes) -> bytes:
    return len(key).to_bytes(4, "big") + key + len(data).to_bytes(4, "big") + data


def _range(task_id: str) -> tuple[bytes, bytes, int]:
    start = task_id.encode() + b"\0"
    return start, task_id.encode() + b"\1", len(start)
