"""The check of ledgers inside a server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from rest_kit import Clock
from structlog.testing import capture_logs

from taskscheduler.api.bootstrap import EmbeddedNode, embedded
from taskscheduler.api.ledger_check import REST, RETRY_SECONDS, LedgerCheck
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.settings import LedgerChecks, Settings
from taskscheduler.domain.messages import Wake
from taskscheduler.domain.values import DAY, HOUR, MINUTE
from taskscheduler.projections.changes import Delete
from taskscheduler.projections.filters import TaskFilter
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.runs import RUNS


async def ten_fires(api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode, task_id: str = "a") -> None:
    body = {
        "id": task_id,
        "name": "a",
        "schedule": {"every": "1m"},
        "target": {"type": "queue", "queue": "q", "kind": "k"},
    }
    assert (await api.post("/api/tasks", json=body)).status_code == 201
    for _ in range(10):
        clock.now += MINUTE
        await node.handler.handle(task_id, Wake())


async def lose(node: EmbeddedNode, task_id: str, number: int) -> None:
    rows = await node.views.scan(RUNS, (task_id,), limit=20)
    node.views.apply([Delete(RUNS, (task_id, rows[number].id))], 0, 1 << 40)


class Check:
    """A check that does not rest, and what it left behind."""

    def __init__(self, node: EmbeddedNode, settings: LedgerChecks, **given: object) -> None:
        self.metrics = Metrics()
        self.rests: list[float] = []
        self.check = LedgerCheck(
            node.queries,
            self.metrics,
            settings,
            clock=node.clock,
            sleep=self._sleep,
            **given,  # type: ignore[arg-type]
        )

    async def _sleep(self, seconds: float) -> None:
        self.rests.append(seconds)

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"taskscheduler_{name}", {})


async def test_what_balances_is_counted_and_says_nothing(
    api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode
) -> None:
    await ten_fires(api, clock, node)
    await ten_fires(api, clock, node, "b")
    check = Check(node, LedgerChecks())
    clock.now += HOUR
    for task_id in ("a", "b"):
        await node.handler.handle(task_id, Wake())
    assert check.value("ledger_check_age_seconds") == 3_600
    with capture_logs() as logs:
        await check.check.check()
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert check.value("ledger_checked_tasks_total") == 2
    assert check.value("ledger_differences") == 0
    assert check.value("ledger_check_age_seconds") == 0
    assert len(check.rests) == 2


async def test_a_difference_is_an_error_that_names_the_task(
    api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode
) -> None:
    await ten_fires(api, clock, node)
    await ten_fires(api, clock, node, "b")
    await lose(node, "b", 3)
    check = Check(node, LedgerChecks())
    with capture_logs() as logs:
        await check.check.check()
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (entry["task"], entry["times"], entry["nominal"], entry["accounted"]) == ("b", 1, 1, 0)
    assert check.value("ledger_differences") == 1
    # What is older than it looks back is left alone.
    clock.now += 2 * DAY
    for task_id in ("a", "b"):
        await node.handler.handle(task_id, Wake())
    await check.check.check()
    assert check.value("ledger_differences") == 0


async def test_what_nobody_looks_at_is_an_error_too(api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode) -> None:
    await ten_fires(api, clock, node)
    check = Check(node, LedgerChecks())
    clock.now += 15 * MINUTE
    await check.check.check()
    assert check.value("ledger_differences") == 0
    clock.now += 5 * MINUTE
    with capture_logs() as logs:
        await check.check.check()
    assert [entry["times"] for entry in logs if entry["log_level"] == "error"] == [4]
    # A pause lets them lie.
    await api.post("/api/tasks/a/pause")
    clock.now += HOUR
    await check.check.check()
    assert check.value("ledger_differences") == 0


async def test_long_ledgers_are_looked_at_in_parts(
    api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ten_fires(api, clock, node)
    await lose(node, "a", 0)
    await lose(node, "a", 8)
    monkeypatch.setattr("taskscheduler.api.ledger_check.AT_ONCE", 3)
    check = Check(node, LedgerChecks())
    clock.now += 1
    await check.check.check()
    assert check.value("ledger_differences") == 2
    assert len(check.rests) == 4
    assert all(rest < REST for rest in check.rests)


async def test_only_its_own_tasks_are_looked_at(api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode) -> None:
    await ten_fires(api, clock, node)
    await ten_fires(api, clock, node, "b")
    check = Check(node, LedgerChecks(), mine=lambda task_id: task_id == "b")
    await check.check.check()
    assert check.value("ledger_checked_tasks_total") == 1


async def test_read_models_that_are_away_are_waited_for(
    api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ten_fires(api, clock, node)
    tasks, away = node.queries.tasks, [True]

    async def sometimes(filter: TaskFilter, **given: object) -> object:
        if away:
            away.pop()
            raise ViewsUnavailable("away")
        return await tasks(filter, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(node.queries, "tasks", sometimes)
    check = Check(node, LedgerChecks())
    await check.check.check()
    assert check.rests[0] == RETRY_SECONDS
    assert check.value("ledger_checked_tasks_total") == 1


@pytest.mark.parametrize("every", [HOUR, 0])
async def test_a_server_checks_unless_it_is_told_not_to(tmp_path: Path, clock: Clock, every: int) -> None:
    settings = Settings(data_dir=tmp_path / "data", ledger=LedgerChecks(check_every=every))
    async with embedded(settings, clock=clock) as node:
        assert ("ledger check" in node._loops._running) is bool(every)
        age = node.metrics.registry.get_sample_value("taskscheduler_ledger_check_age_seconds", {})
        assert age == (0 if every else None)
