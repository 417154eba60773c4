"""`replay` on a data directory: what it prints, what it changes, and when it exits with what."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_stub import Run

from taskscheduler.api.bootstrap import FAMILIES
from taskscheduler.streams.replay import exporting, importing
from taskscheduler.streams.replay.targets import RocksTarget
from taskscheduler.streams.rocksdb import outbox_table, rebuild
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog
from taskscheduler.streams.rocksdb.refusals import StorageFailed
from taskscheduler.streams.rocksdb.views import FAMILY, prefix_of
from tests.streams.replay_kit import a_folded_directory, a_history, contents, fold, lay_down, log_rows, put, rows_in

Told = Callable[..., tuple[int, Any, str]]


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in good order. Not to be changed."""
    return a_folded_directory(tmp_path_factory.mktemp("replay"))


@pytest.fixture
def data(folded: Path, tmp_path: Path) -> Path:
    """A copy, which the commands find as the default."""
    return Path(shutil.copytree(folded, tmp_path / "data"))


@pytest.fixture
def replay(cli: Run) -> Told:
    """The command line; gives the exit code, what was printed as JSON, and what was said."""

    def command(*arguments: str) -> tuple[int, Any, str]:
        code, out, err = cli("replay", *arguments)
        return code, json.loads(out) if out else None, err

    return command


def test_verify_tells_that_all_is_well_while_a_server_runs(data: Path, replay: Told) -> None:
    with Database(data, FAMILIES):
        code, report, said = replay("verify", "--processes", "1")
    assert code == 0, said
    assert [(one["side"], one["result"]) for one in report["compared"]] == [("state", "same"), ("read models", "same")]
    assert report["different"] == []
    assert report["records"] == len(log_rows(data))


def test_verify_names_what_differs_and_exits_with_1(data: Path, replay: Told, cli: Run) -> None:
    state = next(row for row in rows_in(data, "state") if row[0] == b"often")
    view = next(row for row in rows_in(data, FAMILY) if b"failing" in row[0])
    put(data, "state", [(state[0], None)])
    put(data, FAMILY, [(view[0], None)])
    code, report, _ = replay("verify", "--processes", "1")
    assert code == 1
    assert [(one["task"], one["side"]) for one in report["different"]] == [
        ("often", "state"),
        ("failing", "read models"),
    ]
    assert replay("verify", "--processes", "1", "--only", "state")[1]["different"] == report["different"][:1]
    code, table, said = cli("replay", "verify", "--processes", "1", "-o", "table")
    assert code == 1
    assert "often" in table
    assert "differs in" in table
    assert f"{len(log_rows(data))} records" in said


def test_verify_names_each_step_that_is_missing(data: Path, cli: Run) -> None:
    (gone, _), *_ = rows_in(data, outbox_table.FAMILY)
    put(data, outbox_table.FAMILY, [(gone, None)])
    code, table, _ = cli("replay", "verify", "--processes", "1", "-o", "table")
    assert code == 1
    assert "first state outbox" in " ".join(table.split())
    assert table.splitlines()[-1].split() == ["first", "2", "often", "missing"]


def test_verify_of_what_was_brought_and_never_served_does_not_say_that_it_is_the_same(
    data: Path, replay: Told, cli: Run, tmp_path: Path
) -> None:
    assert replay("export", "log.gz")[0] == 0
    assert replay("import", "log.gz", "--data-dir", "other", "--execute")[0] == 0
    code, report, said = replay("verify", "--processes", "1", "--data-dir", "other")
    assert code == 6
    assert [(one["side"], one["result"]) for one in report["compared"]] == [
        ("state", "absent"),
        ("read models", "absent"),
    ]
    assert said.splitlines()[-1] == "not there to compare: state, read models"
    code, table, _ = cli("replay", "verify", "--processes", "1", "--data-dir", "other", "-o", "table")
    assert (code, "nothing of the log has been folded there yet" in table) == (6, True)
    asyncio.run(fold(tmp_path / "other"))
    assert replay("verify", "--processes", "1", "--data-dir", "other")[0] == 0


def test_what_another_process_cannot_open_is_said(replay: Told, tmp_path: Path) -> None:
    code, out, said = replay("verify", "--data-dir", str(tmp_path / "none"), "--processes", "2")
    assert (code, out) == (1, None)
    assert said.splitlines()[-1].endswith("cannot be used: there is no data in it.")


def test_rebuild_mends_the_read_models(data: Path, folded: Path, replay: Told) -> None:
    for row, _ in [row for row in rows_in(data, FAMILY) if b"often" in row[0]]:
        put(data, FAMILY, [(row, None)])
    code, plan, said = replay("rebuild")
    assert (code, plan["in_force"], plan["generation"], plan["done"]) == (0, 1, 2, False)
    assert "--execute" in said
    assert replay("verify", "--processes", "1")[0] == 1

    assert replay("rebuild", "--execute")[1] == {**plan, "done": True}
    assert replay("verify", "--processes", "1")[0] == 0
    assert contents(data)[2] == contents(folded)[2]
    assert {row[0][:4] for row in rows_in(data, FAMILY)} == {prefix_of(0), prefix_of(2)}


def test_a_rebuild_that_is_cut_short_changes_nothing_and_begins_anew(
    data: Path, replay: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_BATCH", 5)
    before = contents(data)

    async def cut() -> None:
        def stop(folded: int) -> None:
            if folded >= 20:
                raise KeyboardInterrupt

        with Database(data, FAMILIES) as database:
            await rebuild.rebuild(database, Buffer(database), RocksEventLog(database, lambda: 0), progress=stop)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cut())
    assert any(row[0].startswith(prefix_of(2)) for row in rows_in(data, FAMILY))
    assert contents(data) == before
    assert replay("rebuild", "--execute")[0] == 0
    assert contents(data) == before


def test_rebuild_waits_for_nobody(data: Path, replay: Told, tmp_path: Path) -> None:
    with Database(data, FAMILIES):
        code, _, said = replay("rebuild", "--execute")
    assert code == 1
    assert "stop that one first" in said
    lay_down(a_history(1), tmp_path / "new")
    for execute in ((), ("--execute",)):
        code, _, said = replay("rebuild", "--data-dir", str(tmp_path / "new"), *execute)
        assert code == 1
        assert "start" in said
    assert replay("rebuild", "--execute", "--data-dir", str(tmp_path / "none"))[0] == 2
    assert not (tmp_path / "none").exists()


def test_a_log_goes_from_one_directory_to_another(data: Path, replay: Told, tmp_path: Path) -> None:
    rows = log_rows(data)
    with Database(data, FAMILIES):
        code, told, _ = replay("export", "log.gz")
    assert (code, told["records"], told["file"]) == (0, len(rows), "log.gz")
    assert replay("export", "log.gz")[0] == 1

    to = ("import", "log.gz", "--data-dir", "other")
    code, plan, said = replay(*to)
    assert (code, plan["appended"], plan["there"], plan["done"]) == (0, len(rows), 0, False)
    assert "--execute" in said
    assert not (tmp_path / "other").exists()
    assert replay(*to, "--execute")[1] == {**plan, "done": True}
    assert replay(*to)[1] == {**plan, "appended": 0, "there": len(rows)}
    assert log_rows(tmp_path / "other") == rows


def test_what_was_broken_off_goes_on(data: Path, replay: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 7)
    monkeypatch.setattr(importing, "BATCH", 7)
    assert replay("export", "whole.gz")[0] == 0
    whole = (tmp_path / "whole.gz").read_bytes()
    (tmp_path / "log.gz.partial").write_bytes(whole[: len(whole) // 2])
    code, told, _ = replay("export", "log.gz")
    assert code == 0
    assert 0 < told["resumed"] < told["records"]

    puts = RocksTarget.put

    async def dies(self: RocksTarget, records: Any) -> None:
        await puts(self, records)
        raise StorageFailed("the disk is full")

    to = ("import", "log.gz", "--data-dir", "other")
    with monkeypatch.context() as once:
        once.setattr(RocksTarget, "put", dies)
        assert replay(*to, "--execute")[::2] == (1, "checking log.gz\ntaskscheduler: the disk is full\n")
    _, plan, _ = replay(*to)
    assert (plan["there"], plan["appended"]) == (7, told["records"] - 7)
    assert replay(*to, "--execute")[1] == {**plan, "done": True}
    assert log_rows(tmp_path / "other") == log_rows(data)


def test_an_import_that_cannot_be_says_why(data: Path, replay: Told, tmp_path: Path) -> None:
    assert replay("export", "log.gz")[0] == 0
    whole = (tmp_path / "log.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[:-20])
    (tmp_path / "none.gz").write_bytes(b"no export")
    code, _, said = replay("import", "cut.gz", "--execute", "--data-dir", "other")
    assert (code, "not whole" in said) == (1, True)
    code, _, said = replay("import", "none.gz", "--data-dir", "other")
    assert (code, "no chunk begins there" in said or "not whole" in said) == (1, True)
    assert replay("import", "missing.gz")[0] == 1
    with Database(data, FAMILIES):
        code, _, said = replay("import", "log.gz", "--execute")
    assert (code, "stop that one first" in said) == (1, True)
    lay_down(a_history(1), tmp_path / "shorter")
    assert replay("export", "shorter.gz", "--data-dir", "shorter")[0] == 0
    code, _, said = replay("import", "shorter.gz")
    assert (code, "import into an empty log" in said) == (1, True)
    assert not (tmp_path / "other").exists()
