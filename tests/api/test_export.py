"""Tasks out of a real server and back, as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_stub import TASK, Run, StubServer

from taskscheduler.client import Client

FAR = "2099-01-01T00:00:00.000Z"

FORMS: list[dict[str, Any]] = [
    {"every": "P1M", "timezone": "Europe/Berlin", "anchor": "2020-01-31T08:00:00.000Z", "dst": {"gap": "skip"}},
    {"every": "2w", "timezone": "Europe/Berlin", "start_at": FAR, "dst": {"fold": "last"}},
    {"every": "P1Y", "timezone": "UTC"},
    {
        "every": "1h",
        "anchor": "2020-01-01T00:00:00.250Z",
        "except": [{"cron": "* 0-5 * * *", "timezone": "Asia/Tokyo"}],
    },
    {
        "any": [{"cron": "0 H * * *"}, {"at": FAR}, {"every": "P1M", "timezone": "UTC", "start_at": FAR}],
        "except": [
            {"date": "2030-12-25"},
            {"from": "2030-12-31", "to": "2031-01-01"},
            {"from": "2029-01-01T00:00:00Z", "to": FAR},
        ],
        "timezone": "Europe/Berlin",
        "jitter": "PT5M",
    },
    {"rrule": "FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=-1", "dtstart": "2020-01-31T08:00:00", "timezone": "Asia/Tokyo"},
]
TASKS: list[dict[str, Any]] = [
    {
        "id": "everything",
        "name": "All – of it",
        "schedule": {"cron": "0 2 * * 1-5", "timezone": "Europe/Berlin"},
        "target": {
            "type": "http",
            "url": "https://example.com/x",
            "method": "PUT",
            "headers": {"X-A": "1"},
            "body": {"a": [1, None, 1.5, "é"]},
            "expect": ["200-204", 304],
        },
        "payload": {"deep": {"er": [True, None]}, "large": 9007199254740993},
        "retry": {
            "max_attempts": 7,
            "backoff": "linear",
            "initial": "1.5s",
            "multiplier": 3,
            "max": "1h",
            "jitter": 0.5,
            "max_elapsed": "1d",
            "give_up_on": ["http_404"],
            "retry_on": ["http_503", "Lost"],
        },
        "timeout": "1h30m",
        "queue_timeout": "1h",
        "heartbeat_timeout": "90s",
        "deadline": "1d",
        "unique": {"key": "all of it", "period": "1d", "on_conflict": "replace"},
        "catch_up": {"policy": "all", "window": "2d", "limit": 7},
        "priority": 1,
        "tags": {"team": "ops", "empty": ""},
    },
    {"id": "plain", "name": "plain", "schedule": {"every": "15m"}, "target": {"type": "noop"}},
    {
        "id": "anchored",
        "name": "anchored",
        "schedule": {"every": "P1D", "anchor": "2020-01-01T00:00:00.250Z"},
        "target": {"type": "queue", "queue": "q", "kind": "k"},
    },
    *(
        {"id": f"form-{number}", "name": "a form", "schedule": schedule, "target": {"type": "noop"}}
        for number, schedule in enumerate(FORMS)
    ),
    {"id": "at", "name": "at", "schedule": {"at": FAR}, "target": {"type": "noop"}, "payload": ["x"]},
    {"id": "manual", "name": "manual", "schedule": {"manual": True}, "target": {"type": "noop"}},
    {"id": "chain", "name": "chain", "target": {"type": "noop"}, "after": ["at", "manual"], "then": ["plain"]},
    {"id": "delay", "name": "delay", "schedule": {"delay": "P30D"}, "target": {"type": "noop"}, "payload": 0},
]


@pytest.fixture
def other_url(tmp_path: Path) -> Iterator[str]:
    """Another real server, with nothing in it."""
    import asyncio

    from tests.e2e.serving import Serving

    server = Serving(tmp_path / "other" / "data")
    server.data_dir.parent.mkdir()
    try:
        asyncio.run(server.start())
        yield server.url
    finally:
        server.end()


def lines(text: str) -> dict[str, dict[str, Any]]:
    return {task["id"]: task for task in map(json.loads, text.splitlines())}


def test_tasks_come_back_as_they_were(real: str, other_url: str, cli: Run, tmp_path: Path) -> None:
    with Client(real) as client:
        for task in TASKS:
            client.create_task(**task)
        client.create_task(id="held", name="held", schedule={"every": "1h"}, target={"type": "noop"})
        client.pause("held", note="until the mail server is back")
        client.create_task(id="quiet", name="quiet", schedule={"cron": "* * * * *"}, target={"type": "noop"})
        client.pause("quiet")
        client.create_task(id="over", name="over", schedule={"every": "1h"}, target={"type": "noop"})
        client.cancel("over")
    code, exported, err = cli("export")
    found = lines(exported)
    assert code == 0
    assert set(found) == {*(task["id"] for task in TASKS), "held", "quiet"}
    assert "1 tasks that have ended" in err
    for task in TASKS:
        line = found[task["id"]]
        for field in ("name", "payload", "priority", "tags"):
            assert field not in task or line[field] == task[field]
        assert line["target"].items() >= task["target"].items()
    assert found["held"]["pause"] == {"note": "until the mail server is back"}
    assert found["quiet"]["pause"] == {"note": ""}
    assert "pause" not in found["plain"]
    file = tmp_path / "tasks.jsonl"
    file.write_text(exported)

    there = ("--url", other_url)
    code, out, _ = cli("import", "tasks", str(file), *there)
    assert (code, {row["state"] for row in json.loads(out)["tasks"]}) == (0, {"new"})
    assert cli("export", *there)[1] == ""
    code, out, _ = cli("import", "tasks", str(file), *there, "--execute")
    assert (code, {row["state"] for row in json.loads(out)["tasks"]}) == (0, {"made"})
    assert lines(cli("export", *there)[1]) == found
    with Client(real) as one, Client(other_url) as other:
        for task_id in found:
            before, after = one.get_task(task_id), other.get_task(task_id)
            assert after.status == before.status
            assert after.counts.fired == 0
            if task_id != "delay":
                assert after.next_fire_at == before.next_fire_at
    code, out, _ = cli("import", "tasks", str(file), *there, "--execute")
    assert (code, {row["state"] for row in json.loads(out)["tasks"]}) == (0, {"there"})


def test_a_line_is_what_the_api_takes(stub: StubServer, cli: Run) -> None:
    retry = {"max_attempts": 3, "backoff": "fixed", "initial": "PT1S", "multiplier": 2, "max": "PT1H", "jitter": 0.1}
    read_only = {"counts": {}, "version": 3, "created_at": FAR, "last_run": None, "pause": None, "payload": None}
    task = {**TASK, "retry": {**retry, "max_elapsed": None, "give_up_on": []}, "timeout": "PT5M", **read_only}
    stub.on("GET /api/tasks", (200, {"items": [task], "next_cursor": None}))
    assert json.loads(cli("export")[1]) == {
        "id": "t1",
        "name": "nightly",
        "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        "target": {"type": "noop"},
        "retry": {**retry, "give_up_on": []},
        "timeout": "PT5M",
        "overlap": "skip",
        "catch_up": {"policy": "latest"},
        "priority": 5,
        "tags": {"team": "ops"},
    }


def test_those_that_have_ended_are_written_when_asked_for(stub: StubServer, cli: Run) -> None:
    statuses = ("scheduled", "running", "paused", "completed", "failed", "cancelled")
    tasks = [{**TASK, "id": status, "status": status} for status in statuses]
    stub.on("GET /api/tasks", (200, {"items": tasks[:4], "next_cursor": "c"}), (200, {"items": tasks[4:]}))
    assert list(lines(cli("export")[1])) == ["scheduled", "running", "paused"]
    stub.on("GET /api/tasks", (200, {"items": tasks[:4], "next_cursor": "c"}), (200, {"items": tasks[4:]}))
    code, out, err = cli("export", "--all")
    assert (code, list(lines(out)), err) == (0, list(statuses), "")


def test_what_an_export_does_not_hold_is_said(stub: StubServer, cli: Run) -> None:
    pending = {"schedule": {"every": "PT1H"}, "effective_from": "2030-02-01T00:00:00.000Z", "next_fire_at": FAR}
    stub.on("GET /api/tasks", (200, {"items": [{**TASK, "pending_schedule": pending}, {**TASK, "id": "t2"}]}))
    code, out, err = cli("export")
    assert (code, len(lines(out))) == (0, 2)
    assert "1 tasks have a planned change of schedule" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", ["no JSON"]),
        ("[]", ["no task with an id"]),
        ('{"name": "x", "target": {"type": "noop"}}', ["no task with an id"]),
        ('{"id": "x", "target": {"type": "noop"}}', ["name: is required"]),
        ('{"id": "x", "name": "x", "target": {"type": "noop"}, "warp": 9}', ["warp"]),
        ('{"id": "x", "name": "x", "schedule": {"at": "2001-01-01T00:00:00Z"}, "target": {"type": "noop"}}', ["past"]),
        ('{"id": "good", "name": "x", "target": {"type": "noop"}}', ["already", "line 1"]),
    ],
)
def test_a_line_that_cannot_be_taken_is_named(
    stub: StubServer, cli: Run, tmp_path: Path, line: str, words: list[str]
) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(f'{{"id": "good", "name": "g", "target": {{"type": "noop"}}}}\n\n{line}\n')
    code, out, err = cli("import", "tasks", str(file))
    shown = json.loads(out)
    assert code == 1
    assert [row["task"]["id"] for row in shown["tasks"]] == ["good"]
    [refusal] = shown["refused"]
    assert refusal["line"] == 3
    assert f"{file}:3" in err
    assert all(word in refusal["reason"] for word in words)
