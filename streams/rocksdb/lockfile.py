"""One process per data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from taskscheduler.streams.rocksdb.refusals import DataDirInUse

NAME = "taskscheduler.lock"


class DirectoryLock:
    """Held from construction until `release`. Raises DataDirInUse, OSError.

    The kernel drops the lock with the process, so a killed one leaves none behind.
    """

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).strip()
            os.close(self._file)
            raise DataDirInUse(directory, int(holder) if holder.isdigit() else None) from None
        with contextlib.suppress(OSError):  # a full disk must not keep the holder from opening: the pid is a courtesy
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets the next process in."""
        os.close(self._file)
