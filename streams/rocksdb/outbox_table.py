"""Steps that wait, on RocksDB: a row for each, found by sender, receiver and number."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.steps import Told
from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable

FAMILY = "outbox"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class RocksOutboxTable:
    """Implements OutboxTable. Ids hold no zero byte, so it can part them."""

    def __init__(self, buffer: Buffer) -> None:
        self._rows: BufferedTable[Told] = buffer.table(FAMILY, _encode, _decode)

    def put(self, sender: str, receiver: str, told: Told) -> None:
        """Let a step wait."""
        self._rows.insert(_key(sender, receiver, told.number), told)

    def delete_up_to(self, sender: str, receiver: str, number: int) -> None:
        """Steps up to a number wait no more."""
        for key, _ in list(self._rows.scan(_pair(sender, receiver), _key(sender, receiver, number + 1))):
            self._rows.delete(key)

    def clear(self, sender: str) -> None:
        """No step of a stream waits."""
        start = sender.encode()
        for key, _ in list(self._rows.scan(start + b"\0", start + b"\1")):
            self._rows.delete(key)

    def receivers(self, sender: str) -> list[str]:
        """To whom steps of a stream wait."""
        return self._rows.names(sender.encode() + b"\0")

    def first(self, sender: str, receiver: str, limit: int) -> list[Told]:
        """The next steps from one to the other, in order."""
        start = _pair(sender, receiver)
        return [told for _, told in self._rows.scan(start, start + b"\xff" * 8, limit=limit)]

    def senders(self) -> list[str]:
        """Whose steps wait."""
        return self._rows.names()

    def count(self, limit: int) -> int:
        """How many steps wait, counted up to a limit."""
        return sum(1 for _ in self._rows.scan(b"", b"\xff" * 8, limit=limit))


def row_of(sender: str, receiver: str, told: Told) -> tuple[bytes, bytes]:
    """Key and value of a step on disk."""
    return _key(sender, receiver, told.number), _encode(told)


def step_of(key: bytes) -> tuple[str, str, int]:
    """Sender, receiver and number of a step, from its key."""
    sender, _, rest = key.partition(b"\0")
    return sender.decode(), rest[:-9].decode(), int.from_bytes(rest[-8:], "big")


def _pair(sender: str, receiver: str) -> bytes:
    return f"{sender}\0{receiver}\0".encode()


def _key(sender: str, receiver: str, number: int) -> bytes:
    return _pair(sender, receiver) + number.to_bytes(8, "big")
