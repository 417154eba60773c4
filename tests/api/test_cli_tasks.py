"""The commands that talk to a server, against one that says what the test wants."""

import json

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
    assert "waiting" in err


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
    assert "02:00:00+01:00" in cli("schedule", "preview", "--every", "1h", "-o", "table")[1]
