"""`dlq` on the command line, against a server that says what the test wants."""

from __future__ import annotations

import json
from typing import Any

from cli_stub import TASK, Run, StubServer

LETTER: dict[str, Any] = {
    "id": "r1",
    "task_id": "t1",
    "status": "failed",
    "reason": "attempts_exhausted",
    "finished_at": "2030-01-01T00:00:00.000Z",
    "attempts": [{"number": 1, "outcome": "failed", "error": {"type": "Boom", "message": "no"}}],
    "error": {"type": "Boom", "message": "no"},
    "retried": None,
}
GROUP = {"count": 1, "exact": True, "tasks": 1, "last": {"task_id": "t1", "run_id": "r1"}}
NOTHING = {"execute": False, "done": 0, "refused": [], "refused_count": 0, "remaining": 3, "exact": True}
PATH = "/api/dead-letters"


def test_they_are_listed_by_a_filter(stub: StubServer, cli: Run) -> None:
    stub.on(f"GET {PATH}", (200, {"items": [LETTER], "next_cursor": None}))
    options = ("--task", "t1", "--error-type", "Boom", "--tag", "team=ops", "--not-retried")
    code, out, _ = cli("dlq", "list", *options, "--from", "2030-01-01T00:00:00+00:00", "-o", "table")
    assert code == 0
    assert "Boom: no" in out
    path = stub.requests[0][1]
    for part in ("task_id=t1", "error_type=Boom", "tag=team%3Aops", "retried=false", "from=2030-01-01T"):
        assert part in path


def test_the_largest_group_comes_first(stub: StubServer, cli: Run) -> None:
    groups = [{**GROUP, "error_type": "A"}, {**GROUP, "error_type": "B", "count": 9, "exact": False}]
    stub.on(f"GET {PATH}/groups", (200, {"items": groups, "next_cursor": None}))
    code, out, _ = cli("dlq", "groups", "-o", "table")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["B", "9+"], ["A", "1"]]


def test_the_story_of_one(stub: StubServer, cli: Run) -> None:
    again = {"run_id": "r2", "at": "2030-01-01T00:00:00.000Z", "by": "ada", "status": "succeeded"}
    definition = {"target": {"type": "noop"}, "payload": {"to": "a"}}
    late = [{"attempt": 1, "outcome": "succeeded", "result": 7}]
    stub.on(f"GET {PATH}/t1/r1", (200, {**LETTER, "definition": definition, "late_reports": late, "retried": again}))
    code, out, _ = cli("dlq", "get", "t1", "r1")
    story = json.loads(out)
    assert (code, story["definition"], story["retried"]["run_id"]) == (0, definition, "r2")
    assert story["late_reports"][0]["result"] == 7


def test_one_is_run_again_or_purged(stub: StubServer, cli: Run) -> None:
    stub.on(f"POST {PATH}/t1/r1/retry", (202, {**TASK, "run_id": "r2"}))
    stub.on(f"DELETE {PATH}/t1/r1", (204, None))
    code, out, _ = cli("dlq", "retry", "t1", "r1", "--idempotency-key", "k")
    assert (code, json.loads(out)["run_id"], stub.requests[0][3]["Idempotency-Key"]) == (0, "r2", "k")
    assert cli("dlq", "purge", "t1", "r1")[0] == 0
    for wrong in (("retry", "t1"), ("purge", "t1", "r1", "--task", "t1")):
        assert cli("dlq", *wrong)[0] == 2


def test_many_are_counted_and_then_done_page_by_page(stub: StubServer, cli: Run) -> None:
    stub.on(f"POST {PATH}/retry", (200, NOTHING))
    code, _, err = cli("dlq", "retry", "--error-type", "Boom")
    assert code == 0
    assert "--execute does it to these 3" in err
    done = {**NOTHING, "execute": True, "done": 2, "remaining": 1, "next_cursor": "c"}
    refusal = {"task_id": "t1", "run_id": "r1", "detail": "the task is cancelled"}
    last = {**NOTHING, "execute": True, "done": 0, "refused": [refusal], "refused_count": 1, "remaining": 0}
    stub.on(f"POST {PATH}/retry", (200, done), (200, last))
    code, out, err = cli("dlq", "retry", "--error-type", "Boom", "--execute")
    assert (code, json.loads(out)["done"], json.loads(out)["refused_count"]) == (1, 2, 1)
    assert "t1 r1: the task is cancelled" in err
    counted, first, second = stub.bodies(f"POST {PATH}/retry")
    assert counted == {"filter": {"error_type": "Boom"}, "execute": False}
    assert first == {"filter": {"error_type": "Boom"}, "execute": True, "limit": 1_000}
    assert second == {**first, "cursor": "c"}
    keys = [request[3]["Idempotency-Key"] for request in stub.requests]
    assert keys[1] == keys[2] != keys[0]
