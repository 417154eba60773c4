"""Ledgers over REST."""

from __future__ import annotations

from typing import Any

import httpx
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.api.values import format_instant
from taskscheduler.domain.values import HOUR, MINUTE


async def create(api: httpx.AsyncClient, **fields: Any) -> None:
    body = {"id": "a", "name": "a", "target": {"type": "queue", "queue": "q", "kind": "k"}, **fields}
    response = await api.post("/api/tasks", json=body)
    assert response.status_code == 201, response.text


async def ledger(api: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    response = await api.get(f"/api/tasks/a/ledger{query}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_ledger_counts_from_the_creation_until_now(
    api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode
) -> None:
    await create(api, schedule={"every": "10m"})
    begun = clock.now
    for _ in range(6):
        clock.now += 10 * MINUTE
        await api.post("/api/tasks/a/trigger")
    clock.now += 1
    found = await ledger(api)
    assert found == {
        "task_id": "a",
        "from": format_instant(begun),
        "to": format_instant(clock.now),
        "known_from": None,
        "nominal": 6,
        "fired": 1,
        "caught_up": 0,
        "skipped": {"overlap": 5},
        "owed": 0,
        "pending": 0,
        "to_come": 0,
        "backfilled": 0,
        "balanced": True,
        "differing": 0,
        "differences": [],
    }
    part = await ledger(api, f"?from={format_instant(begun + 30 * MINUTE)}&to={format_instant(begun + 2 * HOUR)}")
    assert (part["nominal"], part["skipped"], part["to_come"]) == (9, {"overlap": 4}, 5)
    await api.delete("/api/tasks/a")
    assert (await ledger(api))["nominal"] == 6


async def test_backfills_are_counted_beside_the_sum(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api, schedule={"every": "10m"})
    clock.now += HOUR
    asked = {"from": format_instant(clock.now - HOUR), "to": format_instant(clock.now), "overlap": "allow_all"}
    assert (await api.post("/api/tasks/a/backfill", json=asked)).status_code == 202
    found = await ledger(api)
    assert (found["backfilled"], found["nominal"], found["balanced"]) == (5, 5, True)


async def test_what_is_asked_wrongly_is_told(api: httpx.AsyncClient, clock: Clock) -> None:
    assert (await api.get("/api/tasks/a/ledger")).status_code == 404
    await create(api, schedule={"every": "1s"})
    begun = format_instant(clock.now)
    for query, pointer in (
        ("?from=yesterday", "/from"),
        (f"?from={begun}&to=2020-01-01T00:00:00Z", "/to"),
        (f"?to={format_instant(clock.now + 24 * HOUR)}", "/to"),
        ("?since=2020-01-01T00:00:00Z", "/since"),
    ):
        response = await api.get(f"/api/tasks/a/ledger{query}")
        assert response.status_code == 422, query
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    said = (await api.get(f"/api/tasks/a/ledger?to={format_instant(clock.now + 24 * HOUR)}")).json()["detail"]
    assert "86399 fire times" in said
    allowed = said.rpartition(" ")[2]
    assert (await ledger(api, f"?to={allowed}"))["to_come"] == 50_000
