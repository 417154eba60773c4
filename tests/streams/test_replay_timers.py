"""Verify asks whoever keeps timers, finds those that are otherwise than the log says, and waits for who is behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.api.bootstrap import FAMILIES
from taskscheduler.streams.replay import verify_timers
from taskscheduler.streams.replay.fresh import Fresh, Timer
from taskscheduler.streams.replay.report import Difference
from taskscheduler.streams.replay.sides import Replica
from taskscheduler.streams.replay.timers import Unanswered
from taskscheduler.streams.replay.verify import verify
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES
from taskscheduler.streams.rocksdb.state_store import StateStore
from tests.streams.replay_kit import STREAMS, a_folded_directory, a_history, as_decided


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in good order. Not to be changed."""
    return a_folded_directory(tmp_path_factory.mktemp("replay"))


class _Job:
    """Keeps a timer of each task; what it said before wins as long as there is any."""

    name = "timers"

    def __init__(self, kept: Mapping[str, Timer], *before: Mapping[str, Timer]) -> None:
        self._kept = kept
        self._before = list(before)

    def ask(self, tasks: Collection[str]) -> Mapping[str, Timer]:
        said = self._before.pop(0) if self._before else {}
        return {task: said.get(task, self._kept[task]) for task in tasks}


@pytest.fixture(scope="module")
def timers(folded: Path) -> dict[str, Timer]:
    """As the replica has them."""
    with Database(folded, FAMILIES) as database:
        store = StateStore(Buffer(database))
        kept = {task: store.load(task) for task in STREAMS}
    return {task: Timer(one.state.version, one.wakeup, one.chain) for task, one in kept.items() if one is not None}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_timers, "PAUSE", 0.0)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"wakeup": 1}, ("wakeup",)),
        ({"wakeup": None}, ("wakeup",)),
        ({"chain": "0" * 16}, ("chain",)),
        ({"version": 1_000}, ("version",)),
        ({"version": 1}, ("wakeup", "chain")),
        ({"version": 0}, ("wakeup", "chain")),
        ({"version": 0, "wakeup": None, "chain": ""}, ("version",)),
    ],
)
def test_a_timer_that_is_otherwise_names_its_task(
    folded: Path, timers: dict[str, Timer], change: dict[str, Any], parts: tuple[str, ...]
) -> None:
    harmed = {**timers, "often": timers["often"]._replace(**change)}
    report = verify(folded, [], 1, timers=_Job(harmed))
    assert report.different == [Difference("often", "timers", parts)]
    assert [(one.result, one.tasks, one.different) for one in report.compared] == [("differs", len(STREAMS), 1)]


def test_a_timer_of_an_earlier_version_is_waited_for(folded: Path, timers: dict[str, Timer]) -> None:
    def early(versions: int) -> Timer:
        history = a_history()
        fresh = Fresh(projects=False)
        mine = [one for one in history.accepted if one.after.id == "often"][:versions]
        fresh.fold(msgspec.structs.replace(history.entries[one.position - 1], record=as_decided(one)) for one in mine)
        kept = fresh.tasks["often"]
        return Timer(kept.state.version, kept.wakeup, kept.chain)

    assert verify(folded, [], 1, timers=_Job(timers)).same
    late = _Job(timers, {"often": early(1)}, {"often": early(3)})
    report = verify(folded, [], 1, timers=late)
    assert (report.same, report.different, report.compared[0].changing) == (True, [], 0)
    coming = [{"often": early(1)}, *[{"often": early(3)}] * verify_timers.LOOKS]
    assert verify(folded, [], 1, timers=_Job(timers, *coming)).same
    lost = [{"often": early(1)}, {"often": early(3)._replace(wakeup=7)}]
    assert verify(folded, [], 1, timers=_Job(timers, *lost)).different == [Difference("often", "timers", ("wakeup",))]
    stuck = [{"often": early(2)}] * (verify_timers.LOOKS + 1)
    assert verify(folded, [], 1, timers=_Job(timers, *stuck)).different == [Difference("often", "timers", ("version",))]


def test_who_does_not_answer_is_not_compared(folded: Path) -> None:
    class Away:
        name = "timers"

        def ask(self, tasks: Collection[str]) -> Mapping[str, Timer]:
            raise Unanswered("nobody there")

    report = verify(folded, [Replica("state", {0: folded})], 1, timers=Away())
    assert [(one.result, one.detail) for one in report.compared] == [("same", ""), ("failed", "nobody there")]
    assert not report.same


def test_a_log_without_records_has_no_timers_to_compare(tmp_path: Path) -> None:
    Database(tmp_path, LOG_FAMILIES).close()
    [compared] = verify(tmp_path, [], 1, timers=_Job({})).compared
    assert (compared.result, compared.detail) == ("absent", "the log holds no record yet")
