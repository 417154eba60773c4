"""What can be told of a data directory from its files, before and after RocksDB has looked at them."""

from __future__ import annotations

from pathlib import Path

from rocksdict import Rdict

from taskscheduler.streams.rocksdb.refusals import ACCEPT_LOSS, CARRY, RESTORE, DataDamaged, DataDirUnusable
from taskscheduler.streams.rocksdb.wal import first_damage

_UNUSABLE = ("No space left", "Permission denied", "Read-only file system", "Too many open files", "lock hold by")


def find_families(directory: Path, accept_loss: bool) -> list[str]:
    """The column families of the database in the directory, none when there is no database yet.

    Raises DataDamaged for what RocksDB would not notice, unless `accept_loss`.
    """
    wals = write_ahead_logs(directory)
    current = directory / "CURRENT"
    if not current.exists():
        if wals or any(directory.glob("*.sst")):
            raise DataDamaged(directory, "the file CURRENT is missing beside data")
        return []
    if not accept_loss:
        if not wals:
            raise DataDamaged(directory, "its write-ahead log (the newest *.log file) is missing", ACCEPT_LOSS)
        manifest = directory / current.read_text(errors="replace").strip()
        _check([*wals, manifest] if manifest.is_file() else wals, whole=False)
    try:
        return Rdict.list_cf(str(directory))
    except Exception as error:
        raise refusal(directory, error) from error


def refusal(directory: Path, error: Exception) -> DataDamaged | DataDirUnusable:
    """What RocksDB said while opening or reading, as a refusal that names the file."""
    text = " ".join(str(error).split())
    if any(sign in text for sign in _UNUSABLE):
        return DataDirUnusable(directory, text)
    if ".sst" not in text and "MANIFEST" not in text:
        try:
            _check(write_ahead_logs(directory), whole=True)
        except DataDamaged as found:
            return found
    # A description of the files that does not fit them keeps RocksDB from opening any.
    return DataDamaged(directory, text, CARRY if ".sst" in text and "MANIFEST" not in text else RESTORE)


def write_ahead_logs(directory: Path) -> list[Path]:
    """The files of the write-ahead log, oldest first."""
    return sorted(directory.glob("[0-9]*.log"))


def _check(files: list[Path], *, whole: bool) -> None:
    for file in files:
        offset = first_damage(file, whole=whole)
        if offset is not None:
            what = f"the record at byte {offset} of {file.name} is not what was written"
            raise DataDamaged(file.parent, what, ACCEPT_LOSS if file.suffix == ".log" else RESTORE)
