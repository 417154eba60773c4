"""`operation …`, verbs of `task` with --all-matching, and `task graph`, against a server that says what is wanted."""

import json
from typing import Any

import pytest
from cli_stub import TASK, Run, StubServer

SEEN = {"matched": 1234, "more": False, "sample": [{"id": "t1", "name": "nightly", "status": "scheduled"}]}
BEGUN = {
    "id": "o1",
    "action": "pause",
    "status": "running",
    "expected": 3,
    "done": 1,
    "refused": {"deleted": {"count": 1, "example": "t9: it was deleted"}},
}
DONE = {**BEGUN, "status": "completed", "done": 3, "ended_at": "2030-01-31T01:00:00.000Z"}
START = "POST /api/operations"


def test_without_execute_nothing_is_started(stub: StubServer, cli: Run) -> None:
    stub.on(START, (200, SEEN))
    code, out, err = cli("operation", "start", "pause", "--tag", "team=ops", "--status", "scheduled", "-o", "table")
    assert (code, "nightly" in out, "1,234 tasks; nothing was changed: --execute" in err) == (0, True, True)
    assert stub.bodies(START) == [
        {
            "action": "pause",
            "filter": {"status": "scheduled", "tags": {"team": "ops"}},
            "arguments": {},
            "execute": False,
        }
    ]
    assert json.loads(cli("operation", "start", "pause", "--name", "n")[1])["matched"] == 1234


def test_an_operation_is_started_and_waited_for(stub: StubServer, cli: Run) -> None:
    stub.on(START, (202, BEGUN))
    stub.on("GET /api/operations/o1", (200, BEGUN), (200, DONE))
    args = ("--all", "--set", "env=prod", "--execute", "--yes", "--wait", "--idempotency-key", "k", "-o", "table")
    code, out, _ = cli("operation", "start", "tag", *args)
    assert (code, "3 of 3" in out, "deleted 1 (t9: it was deleted)" in out) == (0, True, True)
    [body] = stub.bodies(START)
    assert (body["all"], body["execute"], body["arguments"]) == (True, True, {"tags": {"env": "prod"}})
    assert stub.requests[0][3]["Idempotency-Key"] == "k"
    cli("operation", "start", "untag", "--id", "a", "--id", "b", "--remove", "env", "--execute")
    assert stub.bodies(START)[1]["arguments"] == {"tags": ["env"]}
    assert stub.bodies(START)[1]["filter"] == {"ids": ["a", "b"]}


def test_operations_are_listed_shown_and_cancelled(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/operations", (200, {"items": [BEGUN], "next_cursor": None}))
    stub.on("GET /api/operations/o1", (200, BEGUN))
    stub.on("POST /api/operations/o1/cancel", (200, DONE))
    assert "1 of 3" in cli("operation", "list", "-o", "table")[1]
    assert json.loads(cli("operation", "get", "o1")[1])["done"] == 1
    assert json.loads(cli("operation", "cancel", "o1")[1])["status"] == "completed"


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry", "trigger", "delete"])
def test_verbs_take_all_that_match(stub: StubServer, cli: Run, verb: str) -> None:
    stub.on(START, (202, BEGUN))
    code, out, _ = cli("task", verb, "--all-matching", "--tag", "team=ops", "--execute", "--yes")
    assert (code, json.loads(out)["id"]) == (0, "o1")
    [body] = stub.bodies(START)
    assert (body["action"], body["filter"]) == (verb, {"tags": {"team": "ops"}})


@pytest.mark.parametrize(
    "args",
    [
        ("operation", "start", "pause"),
        ("task", "pause"),
        ("task", "pause", "--all-matching"),
        ("task", "pause", "t1", "--all-matching", "--tag", "a=b"),
        ("task", "pause", "t1", "--tag", "a=b"),
        ("task", "pause", "t1", "--execute"),
    ],
)
def test_what_is_not_clear_is_refused(stub: StubServer, cli: Run, args: tuple[str, ...]) -> None:
    assert cli(*args)[0] == 2
    assert stub.requests == []


def test_a_single_task_is_meant_as_before(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks/t1/cancel", (200, TASK))
    assert json.loads(cli("task", "cancel", "t1")[1])["id"] == "t1"


def test_the_graph_is_drawn(stub: StubServer, cli: Run) -> None:
    def node(id: str, hops: int, status: str | None = "scheduled") -> dict[str, Any]:
        return {"id": id, "hops": hops, "name": id, "status": status, "next_fire_at": None, "last_run": None}

    edges = [
        {"from": "a", "to": "b", "kind": "then", "when": None, "on": None},
        {"from": "b", "to": "c", "kind": "after", "when": "all", "on": "success"},
        {"from": "c", "to": "d", "kind": "on_failure", "when": None, "on": None},
    ]
    nodes = [node("a", -1), node("b", 0), node("c", 1, "paused"), node("d", 2, None)]
    stub.on("GET /api/tasks/b/graph", (200, {"task_id": "b", "complete": False, "nodes": nodes, "edges": edges}))
    assert cli("task", "graph", "b", "--hops", "2", "-o", "table")[1].splitlines() == [
        "runs after",
        "  ← a  scheduled  then",
        "",
        "b  scheduled",
        "  → c  paused  after (all, success)",
        "    → d  not there  on_failure",
        "(there is more: --hops looks further)",
    ]
    assert stub.requests[0][1].endswith("hops=2")
    assert json.loads(cli("task", "graph", "b")[1])["edges"][0]["from"] == "a"


def test_chains_and_manual_schedules_are_options(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks", (201, TASK))
    args = ("--then", "x", "--on-failure", "y", "--after", "a", "--after", "b", "--after-any", "--after-on", "end")
    cli("task", "create", "n", "--noop", "--manual", *args)
    [body] = stub.bodies("POST /api/tasks")
    assert (body["schedule"], body["then"], body["on_failure"]) == ({"manual": True}, ["x"], ["y"])
    assert body["after"] == {"tasks": ["a", "b"], "when": "any", "on": "end"}
    assert cli("task", "create", "n", "--noop", "--after-any")[0] == 2
    assert cli("task", "create", "n", "--noop", "--manual", "--every", "1h")[0] == 2


def test_runs_are_listed_by_cause(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks/t1/runs", (200, {"items": [], "next_cursor": None}))
    cli("task", "runs", "t1", "--cause", "chain")
    assert "cause=chain" in stub.requests[0][1]
