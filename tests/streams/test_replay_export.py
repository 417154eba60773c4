"""An export is all of a log; whatever becomes of the file or of who reads and writes it, nothing is lost silently."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.domain.decision import Record
from taskscheduler.streams.replay import exporting
from taskscheduler.streams.replay.exporting import Exported, ExportRefused, export
from taskscheduler.streams.replay.file import ExportCut, ExportDamaged, Reader
from taskscheduler.streams.replay.folding import opened
from taskscheduler.streams.replay.importing import Brought, Imported, ImportRefused, bring, check_file, missing
from taskscheduler.streams.replay.sides import EmbeddedRows, Replica
from taskscheduler.streams.replay.source import Raw
from taskscheduler.streams.replay.targets import RocksTarget
from taskscheduler.streams.replay.verify import verify
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES
from tests.projections.history import START, History
from tests.streams.replay_kit import a_history, as_decided, contents, fold, lay_down, log_rows

NOW = START


@pytest.fixture
def history() -> History:
    return a_history()


@pytest.fixture
def data(history: History, tmp_path: Path) -> Path:
    lay_down(history, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 7)


async def exported(data: Path, file: Path) -> Exported:
    async with opened(data) as source:
        return await export(source, file, now=NOW)


async def imported(file: Path, data: Path) -> Imported:
    with Database(data, LOG_FAMILIES) as database:
        return await bring(file, RocksTarget(database))


async def test_a_log_goes_out_and_comes_in_unchanged(data: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "log.jsonl.gz", tmp_path / "other"
    told = await exported(data, file)
    rows = log_rows(data)
    assert (told.records, told.resumed, told.positions) == (len(rows), 0, {"0": len(rows)})
    assert (await imported(file, other)).appended == len(rows)
    for before, after in zip(rows, log_rows(other), strict=True):
        assert (before.position, before.appended_at, before.stream, before.version, before.state) == (
            after.position, after.appended_at, after.stream, after.version, after.state,
        )  # fmt: skip
    await fold(data)
    await fold(other)
    assert contents(other) == contents(data)


async def test_the_file_is_json_lines_that_anybody_can_read(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    told = await exported(data, file)
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert lines[0]["kind"] == "taskscheduler.export"
    assert lines[-1] == {
        "kind": "end", "chunks": -(-told.records // 7), "records": told.records,
        "positions": {"0": told.records}, "sha256": told.sha256,
    }  # fmt: skip
    records = [line for line in lines if "record" in line]
    assert [line["position"] for line in records] == list(range(1, told.records + 1))
    assert json.loads(log_rows(data)[0].state) == records[0]["record"]
    assert not file.with_name("log.jsonl.gz.partial").exists()


async def test_every_byte_that_changes_is_told_with_its_place(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    await exported(data, file)
    whole = file.read_bytes()
    starts = []
    with file.open("rb") as opened_file:
        reader = Reader(file, opened_file)
        starts = [0, reader.header_ends_at, *(chunk.ends_at for chunk in reader.chunks())]
    harmed = tmp_path / "harmed.jsonl.gz"
    for at in range(0, len(whole), 3 if len(whole) > 3_000 else 1):
        harmed.write_bytes(whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :])
        with pytest.raises(ExportDamaged) as told:
            check_file(harmed)
        begins = max(start for start in starts if start <= at)
        assert f"begins at byte {begins} " in str(told.value) or f"begins at byte {begins}:" in str(told.value), at


async def test_a_file_that_is_cut_short_is_not_taken(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    await exported(data, file)
    whole = file.read_bytes()
    for size in range(0, len(whole), 97):
        file.write_bytes(whole[:size])
        with pytest.raises(ExportCut, match="not whole"):
            check_file(file)
    file.write_bytes(whole + b"x")
    with pytest.raises(ExportDamaged, match="something follows"):
        check_file(file)


async def test_chunks_in_another_order_are_damage(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    await exported(data, file)
    whole = file.read_bytes()
    with file.open("rb") as opened_file:
        reader = Reader(file, opened_file)
        ends = [reader.header_ends_at, *(chunk.ends_at for chunk in reader.chunks())]
    first, second = whole[ends[0] : ends[1]], whole[ends[1] : ends[2]]
    file.write_bytes(whole[: ends[0]] + second + first + whole[ends[2] :])
    with pytest.raises(ExportDamaged, match="it is chunk 2 and not 1"):
        check_file(file)
    file.write_bytes(whole[: ends[0]] + whole[ends[1] :])
    with pytest.raises(ExportDamaged, match="it is chunk 2 and not 1"):
        check_file(file)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 1.0])
async def test_an_export_that_was_broken_off_goes_on(data: Path, tmp_path: Path, history: History, kept: float) -> None:
    at_once, file = tmp_path / "at-once.gz", tmp_path / "log.gz"
    await exported(data, at_once)
    whole = at_once.read_bytes()
    file.with_name("log.gz.partial").write_bytes(whole[: int(len(whole) * kept)])
    # The log has grown since; what is exported is all there is by now.
    history.create("later")
    lay_down(history, data)
    told = await exported(data, file)
    assert told.records == len(history.entries)
    assert told.resumed == (told.records - 1 if kept == 1.0 else told.resumed)
    assert kept < 0.3 or told.resumed > 0
    assert check_file(file).end.records == told.records
    other = tmp_path / "other"
    await imported(file, other)
    assert [row.state for row in log_rows(other)] == [row.state for row in log_rows(data)]


async def test_a_file_that_is_there_is_never_touched(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.gz"
    file.write_bytes(b"precious")
    with pytest.raises(ExportRefused, match="exists already"):
        await exported(data, file)
    assert file.read_bytes() == b"precious"


async def test_an_unfinished_export_of_another_log_is_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    lay_down(a_history(1), tmp_path / "another")
    await exported(tmp_path / "another", tmp_path / "log.gz")
    shutil.move(tmp_path / "log.gz", tmp_path / "log.gz.partial")
    with pytest.raises(ExportRefused, match="unfinished export of log"):
        await exported(data, tmp_path / "log.gz")


class Killed(Exception):
    pass


@pytest.mark.parametrize("survive", [0, 1, 3])
async def test_an_import_that_was_killed_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survive: int
) -> None:
    file, other = tmp_path / "log.gz", tmp_path / "other"
    told = await exported(data, file)
    monkeypatch.setattr("taskscheduler.streams.replay.importing.BATCH", 5)

    class Mortal(RocksTarget):
        puts = 0

        async def put(self, records: Sequence[Brought]) -> None:
            if self.puts == survive:
                raise Killed
            self.puts += 1
            await super().put(records)

    with Database(other, LOG_FAMILIES) as database, pytest.raises(Killed):
        await bring(file, Mortal(database))
    with Database(other, LOG_FAMILIES) as database:
        target = RocksTarget(database)
        left = await missing(file, target.source, target.partition_of)
        assert left == Imported(told.records, told.records - 5 * survive)
        assert await bring(file, target) == left
        assert await bring(file, target) == Imported(told.records, 0)
    assert [row.state for row in log_rows(other)] == [row.state for row in log_rows(data)]


async def test_only_an_empty_log_is_imported_into(data: Path, tmp_path: Path) -> None:
    await exported(data, tmp_path / "log.gz")
    history = a_history(1)
    history.create("mine")
    history.accepted = [
        msgspec.structs.replace(one, record=msgspec.structs.replace(one.record, record_id=f"mine-{one.position}"))
        for one in history.accepted
    ]
    lay_down(history, tmp_path / "other")
    before = log_rows(tmp_path / "other")
    with pytest.raises(ImportRefused, match="not empty: it holds record mine-1"):
        await imported(tmp_path / "log.gz", tmp_path / "other")
    assert log_rows(tmp_path / "other") == before


async def test_a_log_that_holds_more_than_the_file_is_refused(data: Path, tmp_path: Path, history: History) -> None:
    await exported(data, tmp_path / "log.gz")
    history.create("later")
    lay_down(history, data)
    with pytest.raises(ImportRefused, match="not empty"):
        await imported(tmp_path / "log.gz", data)


class Unkind:
    """A log as Kafka may be: two partitions, resent records, some that came too late, clocks that disagree."""

    log_id = "unkind"
    partitions = 2

    def __init__(self, history: History) -> None:
        self.entries: dict[int, list[Raw]] = {0: [], 1: []}
        for one in history.accepted:
            partition = 0 if one.after.id == "often" else 1
            limited = msgspec.structs.replace(as_decided(one), valid_until=one.appended_at + 10)
            self.land(partition, one.appended_at + 5 - 1_000 * partition, limited)
            if one.position % 3 == 0:
                self.land(partition, one.appended_at + 5 - 1_000 * partition, limited)
            if one.position % 4 == 0:
                late = msgspec.structs.replace(
                    limited, record_id=f"late-{one.position}", expected_version=one.after.version
                )
                self.land(partition, one.appended_at + 11, late)

    def land(self, partition: int, at: int, record: Record) -> None:
        mine = self.entries[partition]
        data = msgspec.json.encode(record)
        if len(mine) % 2:
            data = msgspec.json.format(data, indent=1)
        mine.append(Raw(partition, len(mine) + 1, at, data, at))

    async def ends(self) -> dict[int, int]:
        return {partition: len(mine) for partition, mine in self.entries.items()}

    async def raw(self, partition: int, after: int, to: int) -> Any:
        for at in range(after, to, 3):
            yield self.entries[partition][at : min(at + 3, to)]


async def test_what_readers_refuse_stays_behind_and_limits_are_dropped(history: History, tmp_path: Path) -> None:
    unkind: Any = Unkind(history)
    file, other, same = tmp_path / "log.gz", tmp_path / "other", tmp_path / "same"
    told = await export(unkind, file, now=NOW)
    assert told.records == len(history.accepted)
    assert told.positions == {str(partition): end for partition, end in (await unkind.ends()).items()}
    await imported(file, other)
    rows = log_rows(other)
    assert sorted(json.loads(row.state)["record_id"] for row in rows) == sorted(
        one.record.record_id for one in history.accepted
    )
    assert not any("valid_until" in json.loads(row.state) for row in rows)
    assert [row.appended_at for row in rows] == sorted(row.appended_at for row in rows)
    lay_down(history, same)
    await fold(other)
    await fold(same)
    # Positions differ with the order of tasks among each other, and with them those of counters.
    _, digest, views = contents(other)
    _, expected, views_expected = contents(same)
    assert [row for row in views if row[0] != "counters"] == [row for row in views_expected if row[0] != "counters"]
    assert digest == expected
    sides = [Replica("state", {0: other}), EmbeddedRows(other)]
    assert (await asyncio.to_thread(verify, other, sides, 1)).same
