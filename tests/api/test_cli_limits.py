"""`limit` on the command line, against a server that says what the test wants."""

import json

import pytest
from cli_stub import Run, StubServer

PATH = "/api/limits/queue%3Amail"
MAIL = {
    "name": "queue:mail",
    "concurrency": 5,
    "rate": {"count": 100, "per": "PT1M", "burst": 10},
    "note": "n",
    "in_use": 3,
    "own": None,
    "version": 2,
}
OWN = {"name": "key:c-42", "concurrency": None, "rate": None, "in_use": 1, "own": 2, "version": 0}


def test_set_sends_what_the_options_say(stub: StubServer, cli: Run) -> None:
    stub.on(f"PUT {PATH}", (201, MAIL))
    options = ("--concurrency", "5", "--rate", "100/1m", "--burst", "10", "--note", "n", "--if-match", "1")
    code, out, _ = cli("limit", "set", "queue:mail", *options)
    assert (code, json.loads(out)["concurrency"]) == (0, 5)
    rate = {"count": 100, "per": "1m", "burst": 10}
    assert stub.bodies(f"PUT {PATH}") == [{"concurrency": 5, "rate": rate, "note": "n"}]
    assert stub.requests[0][3]["If-Match"] == '"r1"'


@pytest.mark.parametrize("options", [("--rate", "100"), ("--rate", "x/1m"), ("--burst", "3")])
def test_a_rate_that_is_none_is_refused(stub: StubServer, cli: Run, options: tuple[str, ...]) -> None:
    assert cli("limit", "set", "queue:mail", *options)[0] == 2
    assert not stub.requests


def test_get_and_list_show_what_is_in_use(stub: StubServer, cli: Run) -> None:
    stub.on(f"GET {PATH}", (200, MAIL))
    assert json.loads(cli("limit", "get", "queue:mail")[1])["in_use"] == 3
    stub.on("GET /api/limits", (200, {"items": [OWN, MAIL], "next_cursor": None}))
    code, out, _ = cli("limit", "list", "--output", "table")
    assert code == 0
    assert "100/PT1M, burst 10" in out
    assert "key:c-42" in out


def test_delete(stub: StubServer, cli: Run) -> None:
    stub.on(f"DELETE {PATH}", (204, None))
    code, _, said = cli("limit", "delete", "queue:mail")
    assert (code, said) == (0, "limit queue:mail is deleted\n")


def test_a_task_names_its_own_limit(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks", (201, {"id": "t", "name": "t", "schedule": {}, "target": {}, "status": "scheduled"}))
    cli("task", "create", "t", "--noop", "--concurrency", "customer=42=2")
    assert stub.bodies("POST /api/tasks")[0]["concurrency"] == {"key": "customer=42", "limit": 2}
    assert cli("task", "create", "t", "--noop", "--concurrency", "customer-42")[0] == 2
