"""Why a data directory is not opened, or not written to any more. Every message is a sentence for the operator."""

from __future__ import annotations

from pathlib import Path

RESTORE = "Restore the directory from a backup."

ACCEPT_LOSS = (
    f"{RESTORE} Or keep a copy of it, and then go on without what was written after the damage: "
    "`taskscheduler doctor --accept-loss`."
)
"""For damage of the write-ahead log."""

CARRY = (
    f"{RESTORE} Or, where `taskscheduler doctor` finds no damage in the log, carry that into a new directory: "
    "`taskscheduler replay export` and `replay import`."
)
"""For damage of a table: most of them hold what can be derived again."""


class DataRefused(Exception):
    """The data directory cannot be served from."""

    def __reduce__(self) -> tuple[type[DataRefused], tuple[str]]:
        # Another process that is told of one needs the sentence alone.
        return DataRefused, (str(self),)


class DataDirInUse(DataRefused):
    """Another process serves from the directory. `pid` is its process id where known."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path} is in use by {holder}. One process serves a data directory: stop that one first.")
        self.path = path
        self.pid = pid


class DataDirUnusable(DataRefused):
    """The directory cannot be created, read or written, or is of another release."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used: {why}.")
        self.path = path


class DataDamaged(DataRefused):
    """Something in the directory is missing or not what was written. `what` names it, `remedy` says what to do."""

    def __init__(self, path: Path, what: str, remedy: str = RESTORE) -> None:
        super().__init__(f"{path} is damaged: {what}. {remedy}")
        self.path = path
        self.what = what
        self.remedy = remedy


class StorageFailed(Exception):
    """A write or an fsync failed, or the storage is closed: nothing more is written until it is opened again."""
