"""A damaged data directory stops the start and says what is damaged; a torn end of the log does not."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from taskscheduler.commands.ports import Entry
from taskscheduler.streams.rocksdb.database import META, Batch, Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog
from taskscheduler.streams.rocksdb.high_water import NAME
from taskscheduler.streams.rocksdb.refusals import DataDamaged, DataDirUnusable, DataRefused
from taskscheduler.streams.rocksdb.rows import (
    LOG,
    LOG_FAMILIES,
    STREAMS,
    VERSIONS,
    number,
    pack_row,
    unpack_row,
    version_key,
)
from taskscheduler.streams.rocksdb.verify import verify
from taskscheduler.streams.rocksdb.wal import BLOCK, first_damage
from tests.streams.conformance.log import decision, read_all

RECORDS = 12


class Killed:
    """A directory as a killed process leaves it: all of the log is in the write-ahead log."""

    def __init__(self, path: Path, records: int = RECORDS, size: int = 1) -> None:
        self.path = path
        self.ends: list[int] = []
        self.entries: list[Entry] = []
        asyncio.run(self._fill(path.with_name("live"), records, size))

    async def _fill(self, live: Path, records: int, size: int) -> None:
        with Database(live, LOG_FAMILIES) as database:
            log = RocksEventLog(database, lambda: 5)
            self.wal = max(live.glob("*.log")).name
            self.ends.append((live / self.wal).stat().st_size)
            for number_ in range(records):
                await log.append([decision(f"task/{number_}", 0, size=size)])
                self.ends.append((live / self.wal).stat().st_size)
            self.entries = await read_all(log)
            shutil.copytree(live, self.path)
        self.bytes = (self.path / self.wal).read_bytes()

    def write(self, data: bytes | bytearray) -> None:
        """Puts the files back as they were left, but with this in the write-ahead log."""
        for file in self.path.iterdir():
            if file.suffix in {".sst", ".log"}:
                file.unlink()
        live = self.path.with_name("pristine")
        if not live.exists():
            shutil.copytree(self.path, live)
        for file in live.iterdir():
            shutil.copyfile(file, self.path / file.name)
        (self.path / self.wal).write_bytes(data)

    def flipped(self, offset: int, mask: int = 0x80) -> bytearray:
        data = bytearray(self.bytes)
        data[offset] ^= mask
        return data


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is a place for it: these tests open a database some thousand times."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def killed(directory: Path) -> Killed:
    return Killed(directory / "data")


def opened(path: Path, *, accept_loss: bool = False) -> list[Entry]:
    """What a start serves from the directory."""
    with Database(path, LOG_FAMILIES, accept_loss=accept_loss) as database:
        return asyncio.run(read_all(RocksEventLog(database, lambda: 6)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_log_cut_anywhere_in_its_last_records_loses_only_what_was_cut(killed: Killed) -> None:
    for cut in range(killed.ends[-4], killed.ends[-1] + 1):
        killed.write(killed.bytes[:cut])
        (killed.path / NAME).unlink()  # nobody was told of what is cut: its fsync had not returned
        whole = sum(end <= cut for end in killed.ends[1:])
        assert opened(killed.path) == killed.entries[:whole], cut


@pytest.mark.parametrize("left", [0, 0.5, 1])
def test_a_log_cut_before_what_was_acknowledged_stops_the_start(killed: Killed, left: float) -> None:
    cut = killed.ends[int(left * (RECORDS - 1))]
    killed.write(killed.bytes[:cut])
    whole = killed.ends.index(cut)
    what = f"the log ends at row {whole}, and it was acknowledged up to row {RECORDS}"
    for _ in range(2):
        with pytest.raises(DataDamaged, match=what) as refused:
            opened(killed.path)
        assert "--accept-loss" in refused.value.remedy
    with Database(killed.path, LOG_FAMILIES) as database:
        assert what in verify(database).damage[-1]
    assert opened(killed.path, accept_loss=True) == killed.entries[:whole]
    assert opened(killed.path) == killed.entries[:whole]


@pytest.mark.parametrize("mark", [b"", b"x", b"\xff" * 12])
def test_a_mark_of_the_end_that_cannot_be_read_accuses_nobody(killed: Killed, mark: bytes) -> None:
    (killed.path / NAME).write_bytes(mark)
    assert opened(killed.path) == killed.entries


def test_a_flipped_byte_anywhere_in_an_earlier_record_stops_the_start(killed: Killed) -> None:
    for offset in range(killed.ends[5], killed.ends[6]):
        killed.write(killed.flipped(offset))
        with pytest.raises(DataDamaged) as refused:
            opened(killed.path)
        assert f"byte {killed.ends[5]} of {killed.wal}" in refused.value.what
        assert "backup" in str(refused.value)
        assert "--accept-loss" in str(refused.value)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_flipped_byte_in_a_long_log_stops_the_start(tmp_path: Path, at: float) -> None:
    killed = Killed(tmp_path / "data", records=30, size=10_000)
    killed.write(killed.flipped(int(len(killed.bytes) * at)))
    with pytest.raises(DataDamaged, match=rf"byte \d+ of {killed.wal}"):
        opened(killed.path)


def test_the_loss_can_be_accepted(killed: Killed) -> None:
    for offset in (killed.ends[5] + 5, killed.ends[5] + 50):
        killed.write(killed.flipped(offset))
        assert opened(killed.path, accept_loss=True) == killed.entries[:5]
        assert opened(killed.path) == killed.entries[:5]


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        ("CURRENT", "CURRENT is missing"),
        ("*.log", "write-ahead log .* is missing"),
        ("MANIFEST-*", "MANIFEST"),
        ("*.sst", r"\.sst"),
    ],
)
def test_a_missing_file_stops_the_start(killed: Killed, missing: str, what: str) -> None:
    opened(killed.path)
    for file in killed.path.glob(missing):
        file.unlink()
    for _ in range(2):
        with pytest.raises(DataDamaged, match=what) as refused:
            opened(killed.path)
    assert "Restore the directory from a backup." in refused.value.remedy
    with contextlib.suppress(DataDamaged):
        opened(killed.path, accept_loss=True)
        assert "--accept-loss" in refused.value.remedy
        return
    assert "--accept-loss" not in refused.value.remedy, "it was tried, and is of no help"


def test_damage_of_a_table_file_sends_nobody_to_accept_a_loss_that_does_not_help(tmp_path: Path) -> None:
    killed = Killed(tmp_path / "data", records=200, size=200)
    opened(killed.path)
    table = max(killed.path.glob("*.sst"), key=lambda file: file.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)
    with Database(killed.path, LOG_FAMILIES) as database, pytest.raises(DataDamaged, match=table.name) as refused:
        list(database.family(LOG).scan())
    assert "--accept-loss" not in refused.value.remedy
    assert "Restore the directory from a backup." in refused.value.remedy
    assert "replay export" in refused.value.remedy


def test_a_table_file_that_was_cut_is_told_in_one_line(killed: Killed) -> None:
    opened(killed.path)
    table = max(killed.path.glob("*.sst"), key=lambda file: file.stat().st_size)
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    with pytest.raises(DataDamaged, match=table.name) as refused:
        opened(killed.path)
    assert "\n" not in str(refused.value)


def test_whatever_byte_is_flipped_nothing_is_served_as_if_it_were_whole(killed: Killed) -> None:
    opened(killed.path)
    closed = killed.path.with_name("closed")
    shutil.copytree(killed.path, closed)
    chance = random.Random(20)
    files = sorted(file.name for file in closed.iterdir() if file.stat().st_size and not file.name.startswith("LO"))
    outcomes: set[str] = set()
    for name in files:
        for _ in range(20):
            shutil.rmtree(killed.path)
            shutil.copytree(closed, killed.path)
            data = bytearray((closed / name).read_bytes())
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            (killed.path / name).write_bytes(data)
            try:
                with Database(killed.path, LOG_FAMILIES) as database:
                    damage = verify(database).damage
                    log = RocksEventLog(database, lambda: 6)
                    entries = asyncio.run(read_all(log))
                outcomes.add("verified")
                assert damage or entries == killed.entries, name
            except DataRefused:
                outcomes.add("refused")
    assert outcomes == {"verified", "refused"}


def test_a_flipped_byte_in_a_table_file_is_found_by_verify(tmp_path: Path) -> None:
    killed = Killed(tmp_path / "data", records=200, size=200)
    assert len(opened(killed.path)) == 200
    with Database(killed.path, LOG_FAMILIES) as database:
        assert verify(database) == verify(database)
        assert verify(database).rows == 200
        assert verify(database).damage == ()
    table = max(killed.path.glob("*.sst"), key=lambda file: file.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)
    with Database(killed.path, LOG_FAMILIES) as database:
        [damage] = verify(database).damage
        assert table.name in damage
        with pytest.raises(DataDamaged, match=table.name):
            list(database.family(LOG).scan())
        assert table.name in (database.damaged or "")
        with pytest.raises(DataDamaged, match=table.name):
            _ = [database.family(LOG).get(number(position)) for position in range(1, 201)]


def swap(database: Database, batch: Batch) -> None:
    log = database.family(LOG)
    third, fourth = log.get(number(3)), log.get(number(4))
    assert third is not None
    assert fourth is not None
    batch.put(log, number(3), fourth)
    batch.put(log, number(4), third)


def age(database: Database, batch: Batch) -> None:
    value = database.family(LOG).get(number(3))
    assert value is not None
    row = unpack_row(number(3), value)
    older = type(row)(row.position, 1, row.stream, row.version, row.topic, row.state)
    batch.put(database.family(LOG), number(3), pack_row(older))


HARM: dict[str, Callable[[Database, Batch], None]] = {
    "row 3 of the log is missing": lambda db, batch: batch.delete(db.family(LOG), number(3)),
    "row 1 of the log is missing": lambda db, batch: batch.delete(db.family(LOG), number(1)),
    "row 3 of the log: its checksum": swap,
    "row 4 of the log: it is too short": lambda db, batch: batch.put(db.family(LOG), number(4), b"x"),
    "row 3 of the log is older": age,
    "row 2 of the log is not in its stream": lambda db, batch: batch.delete(
        db.family(STREAMS), version_key("task/1", 1)
    ),
}


@pytest.mark.parametrize("what", HARM)
def test_rows_that_are_not_as_they_were_written_stop_the_start(killed: Killed, what: str) -> None:
    with Database(killed.path, LOG_FAMILIES) as database:
        batch = Batch()
        HARM[what](database, batch)
        database.write(batch)
        assert what in verify(database).damage[0]
    with pytest.raises(DataDamaged, match=what):
        opened(killed.path)


LATENT: dict[str, Callable[[Database, Batch], None]] = {
    "task/3 states its last version as 9, and it is 1": lambda db, batch: batch.put(
        db.family(VERSIONS), b"task/3", number(9)
    ),
    "the streams have 13 versions and the log has 12 rows": lambda db, batch: batch.put(
        db.family(STREAMS), version_key("task/9", 7), number(1)
    ),
    "task/3 states its last version as nothing, and it is 1": lambda db, batch: batch.delete(
        db.family(VERSIONS), b"task/3"
    ),
    "there are 12 streams and 13 last versions": lambda db, batch: batch.put(db.family(VERSIONS), b"task/x", number(1)),
}


@pytest.mark.parametrize("what", LATENT)
def test_streams_that_do_not_match_the_log_are_found_by_verify(killed: Killed, what: str) -> None:
    with Database(killed.path, LOG_FAMILIES) as database:
        batch = Batch()
        LATENT[what](database, batch)
        database.write(batch)
        assert what in verify(database).damage


async def test_after_a_close_the_check_begins_at_the_end(killed: Killed) -> None:
    with Database(killed.path, LOG_FAMILIES) as database:
        await RocksEventLog(database, lambda: 6).close()
        batch = Batch()
        batch.delete(database.family(LOG), number(3))
        database.write(batch)
    with Database(killed.path, LOG_FAMILIES) as database:
        log = RocksEventLog(database, lambda: 6)
        assert await log.end(0) == RECORDS
        with pytest.raises(DataDamaged, match="row 3"):
            await log.read(0, 0, 10)
        assert verify(database).damage == ("row 3 of the log is missing",)


async def test_a_log_that_ends_before_its_checkpoint_stops_the_start(killed: Killed) -> None:
    with Database(killed.path, LOG_FAMILIES) as database:
        await RocksEventLog(database, lambda: 6).close()
        batch = Batch()
        batch.delete(database.family(LOG), number(RECORDS))
        database.write(batch)
        with pytest.raises(DataDamaged, match="ends before row 12"):
            RocksEventLog(database, lambda: 6)


@pytest.mark.parametrize(
    ("stored", "kind"),
    [(b"{", DataDamaged), (b'{"format":2,"log_id":"x","partitions":1}', DataDirUnusable), (None, DataDamaged)],
)
def test_a_directory_without_a_description_of_its_own_is_refused(
    killed: Killed, stored: bytes | None, kind: type[DataRefused]
) -> None:
    with Database(killed.path, LOG_FAMILIES) as database:
        batch = Batch()
        if stored is None:
            batch.delete(database.family(META), b"format")
        else:
            batch.put(database.family(META), b"format", stored)
        database.write(batch)
    with pytest.raises(kind, match=r"description|format 2"):
        opened(killed.path)


def test_a_block_that_is_full_is_looked_at_to_its_end(tmp_path: Path) -> None:
    killed = Killed(tmp_path / "data", records=8, size=20_000)
    assert len(killed.bytes) > 3 * BLOCK
    wal = killed.path / killed.wal
    assert first_damage(wal, whole=True) is None
    wal.write_bytes(killed.flipped(BLOCK + 4))
    assert first_damage(wal, whole=True) == BLOCK
    assert first_damage(wal, whole=False) is None
