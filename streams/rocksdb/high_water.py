"""How far the log was acknowledged, beside what RocksDB keeps.

RocksDB takes a write-ahead log that ends early for one whose end was being written when the power went: of one that
was cut, by a copy that broke off, say, it would serve the beginning as if it were all. The mark is set after the
fsync of what it names, so it is never ahead; it needs no fsync of its own, since one that lags behind finds less and
accuses nobody.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from struct import Struct
from zlib import crc32

NAME = "log-end"

_POSITION = Struct(">Q")
_CHECKED = Struct(">QI")


class HighWater:
    """The mark of a directory; `forget` begins without one. Raises OSError."""

    def __init__(self, directory: Path, *, forget: bool = False) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if forget else 0)
        self._file = os.open(directory / NAME, flags, 0o600)
        self.reached = self._read()

    def _read(self) -> int:
        stored = os.pread(self._file, _CHECKED.size, 0)
        if len(stored) != _CHECKED.size:
            return 0
        position, crc = _CHECKED.unpack(stored)
        return int(position) if crc == crc32(stored[: _POSITION.size]) else 0

    def set(self, position: int) -> None:
        """Everything up to `position` is on disk."""
        self.reached = position
        with contextlib.suppress(OSError):  # a mark that lags behind does no harm
            os.pwrite(self._file, _CHECKED.pack(position, crc32(_POSITION.pack(position))), 0)

    def close(self) -> None:
        """Sets no more marks."""
        os.close(self._file)
