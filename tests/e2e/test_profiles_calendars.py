"""Calendars, end to end, in either profile: what they leave out, and how tasks follow when they change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.instances import Instances

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NOOP = {"type": "noop"}


def coming_days() -> list[str]:
    """Today and the next two days by the clock of UTC: midnight may pass while a test runs."""
    today = datetime.now(UTC).date()
    return [(today + timedelta(days=number)).isoformat() for number in range(3)]


def every_second(calendar: str) -> dict[str, Any]:
    return {"cron": "* * * * * *", "except": [{"calendar": calendar}]}


def fires_soon(task: dict[str, Any]) -> bool:
    fire = datetime.fromisoformat(task["next_fire_at"])
    return fire < datetime.now(UTC) + timedelta(hours=1)


async def test_tasks_follow_a_calendar(users: Instances, name: str) -> None:
    path, task = f"/api/calendars/{name}", f"/api/tasks/{name}"
    refused = await users.send("POST", "/api/tasks", {"name": "t", "schedule": every_second(name), "target": NOOP})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/schedule/except/0/calendar")
    made = await users.write("PUT", path, {"dates": coming_days()})
    assert (made["version"], made["days"], made["used_by"]) == (1, coming_days(), [])
    # Another instance may not have heard of the calendar yet, and asks the log before it refuses.
    body = {"id": name, "name": "t", "schedule": every_second(name), "target": NOOP}
    assert not fires_soon(await users.create(body, at=-1))
    assert (await users.send("DELETE", path)).status_code == 409
    assert [each["id"] for each in await users.pages(f"/api/tasks?calendar={name}")] == [name]

    await users.write("PUT", path, {"dates": []}, at=-1)
    ran = await users.until(task, lambda found: found["counts"]["succeeded"] >= 2)
    assert ran["revision"] == 1
    told = await users.pages(f"{task}/events?limit=2")
    [followed] = [event for event in told if event["type"] == "calendar.followed.v1"]
    assert (followed["actor"], followed["cause"]) == ("scheduler", f"calendar/{name}@2")
    assert followed["data"]["calendar"]["version"] == 2

    await users.write("PUT", path, {"dates": coming_days()})
    rests = await users.until(task, lambda found: not fires_soon(found))
    assert (rests["revision"], rests["counts"]["skipped"]) == (1, 0)
    assert (await users.read(path))["used_by"] == [name]

    await users.write("POST", f"{task}/cancel")
    assert (await users.send("DELETE", path)).status_code == 204
    assert (await users.ask(path)).status_code == 404


async def test_tasks_that_are_made_while_a_calendar_changes_end_with_the_newest_days(
    users: Instances, name: str
) -> None:
    path = f"/api/calendars/{name}"
    await users.write("PUT", path, {"dates": []})

    async def change() -> None:
        for number in range(10):
            await users.write(
                "PUT", path, {"dates": coming_days()[: number % 3], "note": str(number)}, at=number % 2 - 1
            )
        await users.write("PUT", path, {"dates": coming_days(), "note": "the last"}, at=-1)

    async def make(number: int) -> None:
        body = {"id": f"{name}-{number}", "name": "t", "schedule": every_second(name), "target": NOOP}
        await users.create(body, at=number % 2 - 1)

    await asyncio.gather(change(), *(make(number) for number in range(20)))
    for number in range(20):
        await users.until(f"/api/tasks/{name}-{number}", lambda task: not fires_soon(task))
        await users.write("POST", f"/api/tasks/{name}-{number}/cancel")


async def test_calendars_are_listed_by_name_on_every_instance(users: Instances, name: str) -> None:
    for part in "cab":
        await users.write("PUT", f"/api/calendars/{name}-{part}", {"dates": ["2030-12-24"]})
    listed = [each["name"] for each in await users.pages("/api/calendars?limit=2")]
    assert [one for one in listed if one.startswith(name)] == [f"{name}-a", f"{name}-b", f"{name}-c"]
    first = await users.send("PUT", f"/api/calendars/{name}-a", {"dates": []}, idempotency_key=name)
    again = await users.send("PUT", f"/api/calendars/{name}-a", {"dates": []}, at=-1, idempotency_key=name)
    assert (again.status_code, again.json()["version"]) == (first.status_code, first.json()["version"]) == (200, 2)
    assert again.headers["idempotent-replayed"] == "true"
