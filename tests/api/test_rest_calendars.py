"""Calendars over REST, on a whole embedded node whose clock stands at the beginning of 2030."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from taskscheduler.api.bootstrap import EmbeddedNode

PATH = "/api/calendars/closed"
DAYS: dict[str, Any] = {
    "dates": ["2030-12-24", "2030-12-31"],
    "ranges": [{"from": "2030-08-05", "to": "2030-08-07"}],
    "note": "nobody is in",
}


async def put(api: httpx.AsyncClient, name: str = "closed", status: int = 200, **body: Any) -> dict[str, Any]:
    response = await api.put(f"/api/calendars/{name}", json=body)
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_calendar_is_made_and_read_again(api: httpx.AsyncClient) -> None:
    response = await api.put(PATH, json=DAYS)
    assert response.status_code == 201
    assert (response.headers["location"], response.headers["etag"]) == (PATH, '"r1"')
    assert response.headers["consistency-token"] == "0:1"
    made = response.json()
    assert made == {
        "name": "closed",
        "timezone": None,
        "dates": ["2030-12-24", "2030-12-31"],
        "ranges": [{"from": "2030-08-05", "to": "2030-08-07"}],
        "holidays": None,
        "ics": None,
        "note": "nobody is in",
        "version": 1,
        "day_count": 5,
        "days": ["2030-08-05", "2030-08-06", "2030-08-07", "2030-12-24", "2030-12-31"],
        "resolved": {"first_year": None, "last_year": None, "holidays": None, "tzdata": None},
        "used_by": [],
        "created_at": "2030-01-01T00:00:00.000Z",
        "updated_at": "2030-01-01T00:00:00.000Z",
    }
    read = await api.get(PATH)
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, made, '"r1"')
    part = await api.get(f"{PATH}?from=2030-08-06&to=2030-12-24")
    assert part.json() == {**made, "days": ["2030-08-06", "2030-08-07", "2030-12-24"]}


async def test_holidays_are_those_of_this_year_and_the_next_ten_and_of_a_release_that_is_named(
    api: httpx.AsyncClient,
) -> None:
    made = await put(api, status=201, holidays={"country": "DE", "region": "BE"})
    assert {day[:4] for day in made["days"]} == {str(year) for year in range(2030, 2041)}
    assert {"2030-03-08", "2030-10-03", "2040-12-26"} <= set(made["days"])
    assert made["holidays"] == {"country": "DE", "region": "BE", "years": [], "categories": []}
    assert (made["resolved"]["first_year"], made["resolved"]["last_year"]) == (2030, 2040)
    assert made["resolved"]["holidays"]
    few = await put(api, holidays={"country": "DE", "years": [2031]}, dates=["2030-02-02"])
    assert {day[:4] for day in few["days"]} == {"2030", "2031"}


async def test_a_file_gives_days_by_the_clock_of_the_zone(api: httpx.AsyncClient) -> None:
    ics = "\r\n".join(
        [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            "PRODID:-//t//",
            *("BEGIN:VEVENT", "UID:1", "DTSTART:20300501T220000Z", "DTEND:20300501T223000Z", "END:VEVENT"),
            *("BEGIN:VEVENT", "UID:2", "DTSTART;VALUE=DATE:20290101", "RRULE:FREQ=YEARLY;COUNT=4", "END:VEVENT"),
            "END:VCALENDAR",
            "",
        ]
    )
    made = await put(api, status=201, ics=ics, timezone="Europe/Berlin")
    assert made["days"] == ["2030-01-01", "2030-05-02", "2031-01-01", "2032-01-01"]
    assert (made["ics"], made["timezone"]) == (ics, "Europe/Berlin")
    assert made["resolved"]["tzdata"]


async def test_what_is_put_again_is_replaced_and_only_a_change_raises_the_version(api: httpx.AsyncClient) -> None:
    assert (await api.put(PATH, json=DAYS, headers={"If-Match": "*"})).status_code == 412
    assert (await put(api, status=201, **DAYS))["version"] == 1
    assert (await put(api, **DAYS))["version"] == 1
    changed = await put(api, dates=["2030-12-24"])
    assert (changed["version"], changed["days"], changed["note"]) == (2, ["2030-12-24"], "")
    assert (await api.put(PATH, json=DAYS, headers={"If-Match": '"r1"'})).status_code == 412
    assert (await api.put(PATH, json=DAYS, headers={"If-Match": '"r2"'})).json()["version"] == 3


async def test_the_same_key_gives_the_same_answer(api: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await api.put(PATH, json=DAYS, headers=key)
    again = await api.put(PATH, json=DAYS, headers=key)
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.put(PATH, json={"dates": []}, headers=key)
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/headers/idempotency-key")
    gone = {"Idempotency-Key": "gone"}
    for replayed in (None, "true"):
        response = await api.delete(PATH, headers=gone)
        assert (response.status_code, response.headers.get("idempotent-replayed")) == (204, replayed)
    assert (await api.put(PATH, json=DAYS, headers=key)).status_code == 404


async def test_calendars_are_listed_by_name_page_by_page(api: httpx.AsyncClient) -> None:
    for name in ("c", "a", "d", "b"):
        await put(api, name, 201, dates=["2030-12-24"], ics=None)
    await api.delete("/api/calendars/d")
    first = (await api.get("/api/calendars?limit=2")).json()
    assert [item["name"] for item in first["items"]] == ["a", "b"]
    assert "days" not in first["items"][0]
    response = await api.get(f"/api/calendars?limit=2&cursor={first['next_cursor']}")
    assert ([item["name"] for item in response.json()["items"]], response.json()["next_cursor"]) == (["c"], None)
    assert (await api.get("/api/calendars?cursor=x")).status_code == 422


async def test_one_that_is_deleted_is_gone_and_may_be_made_again(api: httpx.AsyncClient) -> None:
    await put(api, status=201, **DAYS)
    assert (await api.delete(PATH, headers={"If-Match": '"r9"'})).status_code == 412
    assert (await api.delete(PATH)).status_code == 204
    assert (await api.get(PATH)).status_code == (await api.delete(PATH)).status_code == 404
    assert (await api.get("/api/calendars")).json()["items"] == []
    again = await put(api, status=201, **DAYS)
    assert again["version"] == 3, "versions never restart: tasks may know an earlier one"


DAILY: dict[str, Any] = {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}


async def use(api: httpx.AsyncClient, task_id: str, *calendars: str, status: int = 201) -> dict[str, Any]:
    """Make a task that leaves calendars out."""
    schedule = {**DAILY, "except": [{"calendar": name} for name in calendars]}
    body = {"id": task_id, "name": task_id, "schedule": schedule, "target": {"type": "noop"}}
    response = await api.post("/api/tasks", json=body)
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_what_is_in_use_cannot_be_deleted(api: httpx.AsyncClient) -> None:
    for name in ("closed", "free"):
        await put(api, name, 201, **DAYS)
    for number in range(12):
        await use(api, f"t{number:02}", "closed")
    assert (await api.get(PATH)).json()["used_by"] == [f"t{number:02}" for number in range(10)]
    refused = await api.delete(PATH)
    assert refused.status_code == 409
    assert "t00, t01, t02" in refused.json()["detail"]
    assert "and others" in refused.json()["detail"]
    assert "GET /api/tasks?calendar=closed" in refused.json()["detail"]
    listed = (await api.get("/api/tasks?calendar=closed")).json()["items"]
    assert [task["id"] for task in listed] == [f"t{number:02}" for number in range(12)]
    assert (await api.get("/api/tasks?calendar=free")).json()["items"] == []
    for number in range(12):
        assert (await api.post(f"/api/tasks/t{number:02}/cancel")).status_code == 200
    assert (await api.delete(PATH)).status_code == 204


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "", "at least one of dates, ranges, holidays, ics"),
    ({"note": "x"}, "", "at least one of"),
    ({"dates": ["2030-02-30"]}, "/dates/0", "such as 2026-12-24"),
    ({"dates": ["20301224"]}, "/dates/0", "such as 2026-12-24"),
    ({"dates": ["1969-12-31"]}, "/dates/0", "from 1970"),
    ({"dates": [1]}, "/dates/0", "must be a date"),
    ({"dates": {}}, "/dates", "array"),
    ({"dates": ["2030-01-01"] * 4_001}, "/dates", "0 to 4000"),
    ({"ranges": [5]}, "/ranges/0", "object"),
    ({"ranges": [{"from": "2030-01-02", "to": "2030-01-01"}]}, "/ranges/0/to", "before from"),
    ({"ranges": [{"from": "2030-01-02"}]}, "/ranges/0/to", "required"),
    ({"ranges": [{"from": "1970-01-01", "to": "2199-12-31"}]}, "/ranges", "at most 4000"),
    ({"ranges": [{"from": "2030-01-01", "to": "2040-12-31"}], "dates": ["2041-01-01"]}, "/ranges", "at most 4000"),
    ({"dates": [], "timezone": "Mars/Base"}, "/timezone", "no time zone"),
    ({"holidays": {"country": "XX"}}, "/holidays/country", "no country"),
    ({"holidays": {"country": "DE", "region": "ZZ"}}, "/holidays/region", "BE"),
    ({"holidays": {"country": "DE", "years": [3000]}}, "/holidays/years/0", "1970 to 2199"),
    ({"holidays": {"country": "DE", "categories": ["x"]}}, "/holidays/categories", "not known"),
    ({"holidays": {}}, "/holidays/country", "required"),
    ({"ics": "hello"}, "/ics", "cannot be read"),
    ({"ics": ""}, "/ics", "BEGIN:VCALENDAR"),
    ({"ics": "x" * 262_145}, "/ics", "262145 bytes"),
    ({"dates": [], "days": []}, "/days", "not a known field"),
]


@pytest.mark.parametrize(("body", "pointer", "said"), BAD, ids=[f"{pointer} {said}" for _, pointer, said in BAD])
async def test_what_cannot_be_taken_is_named(
    api: httpx.AsyncClient, body: dict[str, Any], pointer: str, said: str
) -> None:
    response = await api.put(PATH, json=body)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["pointer"] == pointer
    assert said in error["detail"]
    assert (await api.get(PATH)).status_code == 404, "nothing half done"


async def test_all_parts_together_have_a_limit(api: httpx.AsyncClient) -> None:
    ranges = [{"from": f"{year}-01-01", "to": f"{year}-12-31"} for year in range(2030, 2040)]
    days = [f"2040-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    assert (await put(api, status=201, ranges=ranges, dates=days))["day_count"] == 3652 + 336
    over = await api.put(PATH, json={"ranges": ranges, "dates": days, "holidays": {"country": "JP", "years": [2041]}})
    assert (over.status_code, over.json()["errors"][0]["pointer"]) == (422, "")
    assert "at most 4000" in over.json()["errors"][0]["detail"]


async def test_names_are_ids(api: httpx.AsyncClient) -> None:
    bad = await api.put("/api/calendars/a%20b", json=DAYS)
    assert (bad.status_code, "1 to 64 letters" in bad.json()["detail"]) == (404, True)
    assert (await api.get("/api/calendars/x?from=yesterday")).json()["errors"][0]["pointer"] == "/from"


async def test_a_task_leaves_out_the_days_of_a_calendar_and_follows_it(
    api: httpx.AsyncClient, node: EmbeddedNode
) -> None:
    await put(api, status=201, dates=["2030-01-01", "2030-01-02"])
    task = await use(api, "t", "closed")
    assert task["schedule"] == {**DAILY, "except": [{"calendar": "closed"}]}
    assert task["next_fire_at"] == "2030-01-03T08:00:00.000Z"
    await put(api, dates=["2030-01-01", "2030-01-03"])
    await until(api, "t", "2030-01-02T08:00:00.000Z")
    followed = await api.get("/api/tasks/t")
    assert (followed.json()["revision"], followed.json()["version"]) == (1, 2)
    last = (await api.get("/api/tasks/t/events")).json()["items"][-1]
    assert (last["type"], last["cause"], last["actor"]) == ("calendar.followed.v1", "calendar/closed@2", "scheduler")
    same = await api.patch("/api/tasks/t", json={"schedule": task["schedule"]})
    assert (same.status_code, same.json()["revision"]) == (200, 1)
    other = await api.patch("/api/tasks/t", json={"schedule": DAILY})
    assert (other.json()["revision"], other.json()["next_fire_at"]) == (2, "2030-01-01T08:00:00.000Z")
    assert (await api.delete(PATH)).status_code == 204


async def until(api: httpx.AsyncClient, task_id: str, next_fire: str) -> None:
    """Returns when the task fires next at that instant."""
    while (await api.get(f"/api/tasks/{task_id}")).json()["next_fire_at"] != next_fire:
        await asyncio.sleep(0.005)


async def test_a_calendar_that_is_not_there_is_named(api: httpx.AsyncClient) -> None:
    await put(api, "there", 201, **DAYS)
    refused = await use(api, "t", "there", "missing", status=422)
    [error] = refused["errors"]
    assert error["pointer"] == "/schedule/except/1/calendar"
    assert "PUT /api/calendars/missing" in error["detail"]
    assert (await api.get("/api/tasks/t")).status_code == 404
    await use(api, "t", "there")
    schedule = {**DAILY, "except": [{"calendar": "missing"}]}
    for response in (
        await api.patch("/api/tasks/t", json={"schedule": schedule}),
        await api.post("/api/schedules/preview", json={"schedule": schedule}),
    ):
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/schedule/except/0/calendar")
    batch = {"tasks": [{"name": "x", "schedule": schedule, "target": {"type": "noop"}}]}
    [result] = (await api.post("/api/tasks/batch", json=batch)).json()["results"]
    assert (result["status"], result["error"]["errors"][0]["pointer"]) == (422, "/schedule/except/0/calendar")
    bad = {**DAILY, "except": [{"calendar": "a b"}]}
    response = await api.post("/api/schedules/preview", json={"schedule": bad})
    assert response.json()["errors"][0]["pointer"] == "/schedule/except/0/calendar"


async def test_a_request_that_is_repeated_is_answered_though_the_calendar_has_gone(api: httpx.AsyncClient) -> None:
    await put(api, status=201, **DAYS)
    body = {
        "id": "t",
        "name": "t",
        "schedule": {**DAILY, "except": [{"calendar": "closed"}]},
        "target": {"type": "noop"},
    }
    first = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k"})
    await api.post("/api/tasks/t/cancel")
    await api.delete(PATH)
    again = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (201, first.json())


async def test_a_batch_takes_calendars(api: httpx.AsyncClient) -> None:
    await put(api, status=201, dates=["2030-01-01"])
    schedule = {**DAILY, "except": [{"calendar": "closed"}]}
    batch = {"tasks": [{"name": "x", "schedule": schedule, "target": {"type": "noop"}}]}
    [result] = (await api.post("/api/tasks/batch", json=batch)).json()["results"]
    assert result["task"]["next_fire_at"] == "2030-01-02T08:00:00.000Z"


async def preview(api: httpx.AsyncClient, *excluded: dict[str, Any], **more: Any) -> dict[str, Any]:
    schedule = {**DAILY, "except": list(excluded)}
    response = await api.post("/api/schedules/preview", json={"schedule": schedule, "count": 2, **more})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_preview_says_which_times_calendars_take_out(api: httpx.AsyncClient) -> None:
    await put(api, "closed", 201, ranges=[{"from": "2030-01-02", "to": "2030-01-03"}], dates=["2030-07-01"])
    await put(api, "other", 201, dates=["2030-01-03", "2030-01-04"])
    found = await preview(api, {"calendar": "closed"}, {"date": "2030-01-04"}, {"calendar": "other"})
    assert [fire["local"][:10] for fire in found["fire_times"]] == ["2030-01-01", "2030-01-05"]
    assert found["conflicts"] == [
        {"at": "2030-01-02T08:00:00.000Z", "local": "2030-01-02T09:00:00.000+01:00", "calendars": ["closed"]},
        {"at": "2030-01-03T08:00:00.000Z", "local": "2030-01-03T09:00:00.000+01:00", "calendars": ["closed", "other"]},
    ]
    assert found["warnings"][-2:] == [
        "conflicts with calendars: closed takes out 2030-01-02T09:00:00.000+01:00 and 1 more",
        "conflicts with calendars: other takes out 2030-01-03T09:00:00.000+01:00",
    ]
    whole = await preview(api, {"calendar": "closed"}, until="2030-12-31T00:00:00Z", count=1_000)
    assert [one["local"][:10] for one in whole["conflicts"]] == ["2030-01-02", "2030-01-03", "2030-07-01"]
    assert "conflicts" not in await preview(api, {"date": "2030-01-02"})


async def test_a_calendar_may_have_no_days(api: httpx.AsyncClient) -> None:
    await put(api, status=201, dates=[])
    assert (await use(api, "t", "closed"))["next_fire_at"] == "2030-01-01T08:00:00.000Z"
    assert (await preview(api, {"calendar": "closed"}))["conflicts"] == []
