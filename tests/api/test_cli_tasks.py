"""The commands that talk to a server, against one that says what the test wants."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from cli_stub import TASK, Run, StubServer, problem


def test_one_task_in_each_format(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks/t1", (200, TASK))
    assert json.loads(cli("task", "get", "t1")[1])["name"] == "nightly"
    assert json.loads(cli("task", "get", "t1", "-o", "jsonl")[1])["id"] == "t1"
    assert yaml.safe_load(cli("task", "get", "t1", "-o", "yaml")[1])["tags"] == {"team": "ops"}
    table = cli("task", "get", "t1", "--output", "table")[1]
    assert "0 2 * * * Europe/Berlin" in table
    assert "\x1b" not in table


@pytest.mark.parametrize("format", ["json", "jsonl", "yaml"])
def test_programs_get_instants_and_durations_as_the_server_writes_them(stub: StubServer, cli: Run, format: str) -> None:
    said = {"timeout": "PT1H", "created_at": "2030-01-01T00:00:00.250Z", "payload": {"every": "PT60M"}}
    stub.on("GET /api/tasks/t1", (200, {**TASK, **said}))
    out = cli("task", "get", "t1", "-o", format)[1]
    shown = yaml.safe_load(out) if format == "yaml" else json.loads(out)
    assert {name: shown[name] for name in said} == said


def test_list_pages_through_and_says_when_there_is_more(stub: StubServer, cli: Run) -> None:
    tasks = [{**TASK, "id": f"t{n}", "name": "long " * 60} for n in range(4)]
    stub.on("GET /api/tasks", (200, {"items": tasks[:2], "next_cursor": "c"}), (200, {"items": tasks[2:]}))
    code, out, err = cli("task", "list", "--status", "scheduled", "--tag", "team=ops", "--limit", "3", "-o", "jsonl")
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["t0", "t1", "t2"]
    assert "--all" in err
    path = stub.requests[0][1]
    assert "status=scheduled" in path
    assert "tag=team%3Aops" in path
    stub.on("GET /api/tasks", (200, {"items": tasks[:2], "next_cursor": "c"}), (200, {"items": tasks[2:]}))
    table = cli("task", "list", "--all", "-o", "table")
    assert len(table[1].splitlines()) == 5
    assert ("long " * 60).strip() in table[1]
    assert table[2] == ""


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_verbs_change_and_show_the_task(stub: StubServer, cli: Run, verb: str) -> None:
    stub.on(f"POST /api/tasks/t1/{verb}", (200, TASK))
    code, out, _ = cli("task", verb, "t1", "--idempotency-key", "k")
    assert code == 0
    assert json.loads(out)["id"] == "t1"
    assert stub.requests[0][3]["Idempotency-Key"] == "k"


def test_resume_says_what_becomes_of_what_was_missed(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks/t1/resume", (200, TASK))
    assert cli("task", "resume", "t1", "--missed", "latest", "--note", "on")[0] == 0
    assert cli("task", "resume", "t1")[0] == 0
    assert stub.bodies("POST /api/tasks/t1/resume") == [{"note": "on", "missed": "latest"}, {}]


BACKFILL = {
    "id": "b1",
    "status": "running",
    "from": "2030-01-01T00:00:00.000Z",
    "to": "2030-01-02T00:00:00.000Z",
    "overlap": "allow_all",
    "total": 24,
    "fired": 20,
    "failed": 1,
    "remaining": 4,
}


def test_a_backfill_is_begun_and_cancelled(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks/t1/backfill", (202, {**TASK, "backfills": [BACKFILL], "backfill_id": "b1"}))
    stub.on("POST /api/tasks/t1/backfill/b1/cancel", (200, TASK))
    stub.on("POST /api/tasks/t1/owed/purge", (200, TASK))
    span = ("--from", "2030-01-01T00:00:00Z", "--to", "2030-01-02T00:00:00Z")
    code, out, _ = cli("task", "backfill", "t1", *span, "--overlap", "allow_all", "-o", "table")
    assert code == 0
    assert "b1 running, 20 of 24, 1 failed" in out
    [body] = stub.bodies("POST /api/tasks/t1/backfill")
    assert (datetime.fromisoformat(body["from"]), body["overlap"]) == (datetime(2030, 1, 1, tzinfo=UTC), "allow_all")
    assert cli("task", "cancel-backfill", "t1", "b1")[0] == 0
    assert cli("task", "purge-owed", "t1")[0] == 0
    assert cli("task", "backfill", "t1", "--from", "x", "--to", "y")[0] == 2


@pytest.mark.parametrize(
    ("ended", "code"),
    [({"status": "completed", "failed": 0}, 0), ({"status": "completed"}, 1), ({"status": "cancelled"}, 1)],
)
def test_wait_ends_with_the_backfill(stub: StubServer, cli: Run, ended: dict[str, Any], code: int) -> None:
    running, over = {**TASK, "backfills": [BACKFILL]}, {**TASK, "backfills": [{**BACKFILL, **ended}]}
    stub.on("POST /api/tasks/t1/backfill", (202, {**running, "backfill_id": "b1"}))
    stub.on("GET /api/tasks/t1", (200, running), (200, over))
    span = ("--from", "2030-01-01T00:00:00Z", "--to", "2030-01-02T00:00:00Z")
    found, out, _ = cli("task", "backfill", "t1", *span, "--wait")
    assert (found, json.loads(out)["status"]) == (code, ended["status"])


def test_a_change_is_planned_and_taken_back(stub: StubServer, cli: Run) -> None:
    stub.on("PATCH /api/tasks/t1", (200, TASK))
    planned = ("task", "update", "t1", "--every", "1h", "--effective-from", "2030-02-01T00:00:00Z")
    assert cli(*planned, "--pause-on-failure", "3")[0] == 0
    assert cli("task", "update", "t1", "--keep-schedule")[0] == 0
    first, second = stub.bodies("PATCH /api/tasks/t1")
    assert datetime.fromisoformat(first.pop("effective_from")) == datetime(2030, 2, 1, tzinfo=UTC)
    assert (first, second) == ({"schedule": {"every": "1h"}, "pause_on_failure": 3}, {"pending_schedule": None})


def test_timeouts_are_options(stub: StubServer, cli: Run) -> None:
    stub.on("PATCH /api/tasks/t1", (200, {**TASK, "queue_timeout": "PT1M", "deadline": "PT1H"}))
    options = ("--queue-timeout", "1m", "--heartbeat-timeout", "10s", "--deadline", "1h", "--timeout", "5m")
    code, out, _ = cli("task", "update", "t1", *options, "--output", "table")
    assert code == 0
    [sent] = stub.bodies("PATCH /api/tasks/t1")
    assert sent == {"queue_timeout": "1m", "heartbeat_timeout": "10s", "deadline": "1h", "timeout": "5m"}
    assert "queue timeout" in out
    assert "deadline" in out


def test_another_schedule_is_not_given_and_the_present_one_kept(stub: StubServer, cli: Run) -> None:
    code, _, err = cli("task", "update", "t1", "--every", "1h", "--keep-schedule")
    assert code == 2
    assert "--keep-schedule" in err
    assert not stub.bodies("PATCH /api/tasks/t1")


def test_a_task_shows_what_waits_for_it(stub: StubServer, cli: Run) -> None:
    pending = {"schedule": {"every": "PT1H"}, "effective_from": "2030-02-01T00:00:00.000Z"}
    owed = {"from": "2030-01-01T00:00:00.000Z", "until": "2030-01-01T05:00:00.000Z", "count": 5}
    stub.on("GET /api/tasks/t1", (200, {**TASK, "pending_schedule": pending, "owed": owed, "failures_in_row": 2}))
    _, out, _ = cli("task", "get", "t1", "-o", "table")
    assert "5 from 2030-01-01 00:00:00" in out
    assert "2030-02-01 00:00:00+00:00: every PT1H" in out


def test_update_sends_a_patch_under_the_revision(stub: StubServer, cli: Run) -> None:
    stub.on("PATCH /api/tasks/t1", (200, TASK))
    arguments = ("task", "update", "t1", "--patch", '{"priority": null}', "--name", "b", "--if-match", "3")
    assert cli(*arguments)[0] == 0
    assert stub.bodies("PATCH /api/tasks/t1") == [{"priority": None, "name": "b"}]
    assert stub.requests[0][3]["If-Match"] == '"r3"'


def test_delete_says_so_on_standard_error(stub: StubServer, cli: Run) -> None:
    stub.on("DELETE /api/tasks/t1", (204, {}))
    code, out, err = cli("task", "delete", "t1")
    assert (code, out) == (0, "")
    assert "t1" in err


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1), ("skipped", 1)])
def test_wait_ends_with_the_run(stub: StubServer, cli: Run, status: str, code: int) -> None:
    run = {"id": "r1", "task_id": "t1", "status": "running"}
    stub.on("POST /api/tasks", (201, TASK))
    stub.on("GET /api/tasks/t1", (200, TASK))
    stub.on("GET /api/tasks/t1/runs", (200, {"items": []}), (200, {"items": [run]}))
    stub.on("GET /api/tasks/t1/runs/r1", (200, run), (200, {**run, "status": status}))
    found, out, err = cli("task", "create", "x", "--noop", "--wait")
    assert found == code
    assert json.loads(out)["status"] == status
    assert "waiting for the first run of task t1" in err


def test_trigger_waits_for_the_run_it_made(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks/t1/trigger", (202, {**TASK, "run_id": "r9"}))
    stub.on("GET /api/tasks/t1/runs/r9", (200, {"id": "r9", "status": "succeeded"}))
    assert json.loads(cli("task", "trigger", "t1")[1])["run_id"] == "r9"
    assert json.loads(cli("task", "trigger", "t1", "--wait")[1])["id"] == "r9"


def test_runs_and_events_are_listed(stub: StubServer, cli: Run) -> None:
    attempt = {"number": 1, "outcome": "failed", "error": {"type": "Boom", "message": "it broke"}}
    run = {"id": "r1", "status": "failed", "cause": "schedule", "attempts": [attempt]}
    stub.on("GET /api/tasks/t1/runs", (200, {"items": [run]}))
    stub.on("GET /api/tasks/t1/runs/r1", (200, run))
    stub.on("GET /api/tasks/t1/events", (200, {"items": [{"type": "task.created.v1", "version": 1}]}))
    assert json.loads(cli("task", "runs", "t1")[1])[0]["id"] == "r1"
    assert "Boom: it broke" in cli("task", "runs", "t1", "-o", "table")[1]
    assert json.loads(cli("task", "runs", "t1", "--run", "r1")[1])["attempts"][0]["number"] == 1
    assert json.loads(cli("task", "events", "t1")[1])[0]["type"] == "task.created.v1"


def test_watch_prints_events_as_they_come(stub: StubServer, cli: Run) -> None:
    stream = b'id: 7\nevent: run.queued.v1\ndata: {"task_id": "t1"}\n\n'
    stub.on("GET /api/events", (200, stream), problem(404, "no more"))
    code, out, _ = cli("task", "watch", "t1")
    assert code == 3
    assert [json.loads(line) for line in out.splitlines()] == [
        {"type": "run.queued.v1", "data": {"task_id": "t1"}, "id": "7"}
    ]


def test_watch_prints_a_line_each_for_people(stub: StubServer, cli: Run) -> None:
    data = '{"task_id": "t1", "time": "2030-01-31T01:00:00.000Z", "data": {"run_id": "r\\u001b"}}'
    stub.on("GET /api/events", (200, f"event: run.queued.v1\ndata: {data}\n\n".encode()), problem(404, "no more"))
    lines = cli("task", "watch", "-o", "table")[1].splitlines()
    assert lines == ["2030-01-31T01:00:00.000Z run.queued.v1 t1 run_id=r\\x1b"]


def test_bounds_go_with_a_schedule(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks", (201, {"id": "t"}))
    bounds = ("--start-at", "2030-01-01T00:00:00Z", "--max-runs", "3", "--jitter", "5m")
    code, _, _ = cli("task", "create", "t", "--every", "1h", *bounds, "--noop")
    assert code == 0
    assert stub.requests[-1][2]["schedule"] == {
        "every": "1h",
        "start_at": "2030-01-01T00:00:00Z",
        "max_runs": 3,
        "jitter": "5m",
    }
    code, _, err = cli("task", "create", "t", "--end-at", "2030-01-01T00:00:00Z", "--noop")
    assert code == 2
    assert "--end-at bound a schedule" in err


def test_preview_shows_fire_times(stub: StubServer, cli: Run) -> None:
    fire = {"at": "2030-01-31T01:00:00.000Z", "local": "2030-01-31T02:00:00.000+01:00", "note": None}
    stub.on("POST /api/schedules/preview", (200, {"fire_times": [fire], "description": "", "warnings": []}))
    code, out, _ = cli("schedule", "preview", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin", "--count", "1")
    assert code == 0
    assert json.loads(out)["fire_times"][0]["local"].startswith("2030-01-31T02:00:00")
    [body] = stub.bodies("POST /api/schedules/preview")
    assert body == {"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}, "count": 1}
    chosen = ("--gap", "skip", "--fold", "last", "--days", "and", "--task-id", "t1")
    assert cli("schedule", "preview", "--cron", "0 H 13 * FRI", *chosen)[0] == 0
    schedule = {"cron": "0 H 13 * FRI", "dst": {"gap": "skip", "fold": "last"}, "days": "and"}
    assert stub.bodies("POST /api/schedules/preview")[-1] == {"schedule": schedule, "count": 10, "task_id": "t1"}
    rule = ("--rrule", "FREQ=DAILY", "--dtstart", "2030-01-31T09:00:00", "--timezone", "UTC", "--fold", "last")
    assert cli("schedule", "preview", *rule)[0] == 0
    assert stub.bodies("POST /api/schedules/preview")[-1]["schedule"] == {
        "rrule": "FREQ=DAILY",
        "timezone": "UTC",
        "dst": {"fold": "last"},
        "dtstart": "2030-01-31T09:00:00",
    }
    several = ("--any", '{"cron": "0 9 * * *"}', "--any", '{"every": "1h"}', "--timezone", "UTC")
    out = ("--except", "2030-12-25", "--except", "2030-12-31/2031-01-01", "--except", '{"cron": "* 12 * * *"}')
    times = ("--except", "2030-01-01T00:00:00Z/2030-01-02T00:00:00Z")
    assert cli("schedule", "preview", *several, *out, *times)[0] == 0
    assert stub.bodies("POST /api/schedules/preview")[-1]["schedule"] == {
        "any": [{"cron": "0 9 * * *"}, {"every": "1h"}],
        "timezone": "UTC",
        "except": [
            {"date": "2030-12-25"},
            {"from": "2030-12-31", "to": "2031-01-01"},
            {"cron": "* 12 * * *"},
            {"from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z"},
        ],
    }
    monthly = ("--every", "P1M", "--timezone", "UTC", "--gap", "skip")
    assert cli("schedule", "preview", *monthly)[0] == 0
    assert stub.bodies("POST /api/schedules/preview")[-1]["schedule"] == {
        "every": "P1M",
        "timezone": "UTC",
        "dst": {"gap": "skip"},
    }
    assert "02:00:00+01:00" in cli("schedule", "preview", "--every", "1h", "-o", "table")[1]


@pytest.mark.parametrize(
    "command",
    ["task list", "task runs x", "task events x", "dlq list", "calendar list", "operation list", "limit list"],
)
@pytest.mark.parametrize("limit", ["0", "-5", "9" * 20])
def test_a_list_of_less_than_one_or_more_than_can_be_counted_is_a_fault_of_the_command_line(
    stub: StubServer, cli: Run, command: str, limit: str
) -> None:
    code, out, err = cli(*command.split(), "--limit", limit)
    assert (code, out) == (2, "")
    assert "--limit" in err
    assert stub.requests == []


@pytest.mark.parametrize("option", ["--idempotency-key=\u2603", "--idempotency-key=\udcff", "--note=\udcff"])
def test_what_cannot_be_sent_is_a_fault_of_the_command_line(stub: StubServer, cli: Run, option: str) -> None:
    code, out, err = cli("task", "pause", "x", option)
    assert (code, out) == (2, "")
    assert err
    assert stub.requests == []
