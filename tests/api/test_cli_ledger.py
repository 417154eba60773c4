"""`task ledger` and `ledger check`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cli_stub import TASK, Run, StubServer, problem

CREATED = "2030-01-01T00:00:00.000Z"


def ledger(**given: Any) -> dict[str, Any]:
    sums = {"nominal": 7, "fired": 4, "caught_up": 1, "skipped": {"overlap": 2}, "owed": 0, "pending": 0, "to_come": 0}
    ends = {"from": CREATED, "to": "2030-01-02T00:00:00.000Z", "known_from": None}
    more = {"backfilled": 0, "balanced": True, "differing": 0, "differences": []}
    return {"task_id": "t1", **ends, **sums, **more, **given}


DIFFERENT = ledger(
    balanced=False,
    differing=2,
    differences=[
        {"from": CREATED, "until": "2030-01-01T00:10:00.000Z", "nominal": 2, "accounted": 0, "detail": "no run"}
    ],
)


def tasks(*ids: str) -> tuple[int, dict[str, Any]]:
    return 200, {"items": [{**TASK, "id": one, "created_at": CREATED} for one in ids], "next_cursor": None}


def test_the_ledger_of_a_task(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks/t1/ledger", (200, ledger()))
    code, out, _ = cli("task", "ledger", "t1", "--from", "2030-01-01T00:00:00Z", "-o", "json")
    assert code == 0
    assert json.loads(out) == ledger()
    assert "from=2030-01-01T00%3A00%3A00" in stub.requests[0][1]
    table = cli("task", "ledger", "t1", "-o", "table")[1]
    assert "overlap 2" in table
    stub.on("GET /api/tasks/t1/ledger", (200, DIFFERENT))
    code, out, _ = cli("task", "ledger", "t1", "-o", "table")
    assert code == 1
    assert "no run" in out


def test_a_check_adds_up_the_ledgers_of_all_tasks(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks", tasks("t1", "t2", "gone"))
    stub.on("GET /api/tasks/t1/ledger", (200, ledger()))
    stub.on("GET /api/tasks/t2/ledger", (200, ledger(skipped={"overlap": 1, "missed": 1})))
    stub.on("GET /api/tasks/gone/ledger", problem(404, "there is no task"))
    code, out, err = cli("ledger", "check", "--to", "2030-01-02T00:00:00Z", "-o", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["tasks"], found["nominal"], found["fired"]) == (2, 14, 8)
    assert found["skipped"] == {"overlap": 3, "missed": 1}
    lines = cli("ledger", "check", "--to", "2030-01-02T00:00:00Z", "-o", "jsonl")[1].splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["t1", "t2"]


def test_a_check_that_finds_a_difference_names_it_and_fails(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks/t1", (200, {**TASK, "created_at": CREATED}))
    stub.on("GET /api/tasks/t1/ledger", (200, DIFFERENT))
    code, out, err = cli("ledger", "check", "--task", "t1", "--to", "2030-01-02T00:00:00Z", "-o", "json")
    assert code == 1
    assert [one["task_id"] for one in json.loads(out)["differences"]] == ["t1"]
    assert "2 fire times" in err
    assert "no run" in cli("ledger", "check", "--task", "t1", "--to", "2030-01-02T00:00:00Z", "-o", "table")[1]


def test_a_range_that_is_too_long_is_asked_in_parts(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks", tasks("t1"))
    too_long = problem(422, "/to", errors=[{"pointer": "/to", "detail": "the range holds 90000 fire times"}])
    stub.on("GET /api/tasks/t1/ledger", too_long, (200, ledger()), too_long, (200, ledger()))
    code, out, _ = cli("ledger", "check", "--to", "2030-01-03T00:00:00Z", "-o", "json")
    assert code == 0
    assert json.loads(out)["nominal"] == 21
    asked = [parse_qs(urlsplit(path).query) for _, path, _, _ in stub.requests[1:]]
    assert [(one["from"][0][8:13], one["to"][0][8:13]) for one in asked] == [
        ("01T00", "03T00"),
        ("01T00", "02T00"),
        ("02T00", "03T00"),
        ("02T00", "02T12"),
        ("02T12", "03T00"),
    ]


def test_why_shows_the_answer_and_its_events(stub: StubServer, cli: Run) -> None:
    link = {"version": 2, "at": CREATED, "type": "fires.skipped.v1", "summary": "skipped (overlap)"}
    said = {"task_id": "t1", "at": CREATED, "outcome": "skipped", "answer": "It did not run.", "events": [link]}
    stub.on("GET /api/tasks/t1/why", (200, said))
    code, out, _ = cli("task", "why", "t1", "--at", CREATED, "-o", "table")
    assert code == 0
    assert "It did not run." in out
    assert "skipped (overlap)" in out
    assert parse_qs(urlsplit(stub.requests[0][1]).query)["at"][0].startswith("2030-01-01T00:00:00")
    assert json.loads(cli("task", "why", "t1", "--at", CREATED, "-o", "json")[1])["events"] == [link]
    assert cli("task", "why", "t1", "--at", "tomorrow")[0] == 2


def test_a_range_that_ends_before_it_begins_is_refused(stub: StubServer, cli: Run) -> None:
    code, _, err = cli("ledger", "check", "--from", "2030-01-02T00:00:00Z", "--to", "2030-01-01T00:00:00Z")
    assert code == 2
    assert "--from" in err
    assert stub.requests == []


def test_a_real_server_balances(real: str, cli: Run) -> None:
    cli("task", "create", "x", "--id", "often", "--every", "1s", "--noop")
    code, out, _ = cli("ledger", "check", "-o", "json")
    assert (code, json.loads(out)["balanced"]) == (0, True)
    assert json.loads(cli("task", "ledger", "often", "-o", "json")[1])["task_id"] == "often"
