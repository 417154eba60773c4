"""`calendar` on the command line, against a server that says what the test wants."""

import json
from pathlib import Path

import pytest
from cli_stub import Run, StubServer, problem

CLOSED = {
    "name": "closed",
    "version": 2,
    "day_count": 2,
    "days": ["2030-12-24", "2030-12-31"],
    "used_by": ["nightly"],
    "holidays": {"country": "DE", "region": "BE", "years": [], "categories": []},
    "resolved": {"first_year": 2030, "last_year": 2040},
}
PATH = "/api/calendars/closed"


def test_put_sends_what_the_options_say(stub: StubServer, cli: Run) -> None:
    stub.on(f"PUT {PATH}", (201, CLOSED))
    days = ("--date", "2030-12-24", "--date", "2030-12-31", "--range", "2030-08-05/2030-08-07")
    holidays = ("--country", "DE", "--region", "BE", "--year", "2030", "--category", "public")
    code, out, _ = cli(
        "calendar", "put", "closed", *days, *holidays, "--timezone", "Europe/Berlin", "--note", "n", "--if-match", "1"
    )
    assert (code, json.loads(out)["days"]) == (0, ["2030-12-24", "2030-12-31"])
    assert stub.bodies(f"PUT {PATH}") == [
        {
            "dates": ["2030-12-24", "2030-12-31"],
            "ranges": [{"from": "2030-08-05", "to": "2030-08-07"}],
            "holidays": {"country": "DE", "region": "BE", "years": [2030], "categories": ["public"]},
            "timezone": "Europe/Berlin",
            "note": "n",
        }
    ]
    assert stub.requests[0][3]["If-Match"] == '"r1"'


def test_put_takes_a_file_and_options_win(stub: StubServer, cli: Run, tmp_path: Path) -> None:
    stub.on(f"PUT {PATH}", (200, CLOSED))
    file = tmp_path / "closed.yaml"
    file.write_text("dates: [2030-12-24]\nnote: of the file\n")
    assert cli("calendar", "put", "closed", "--file", str(file), "--note", "mine")[0] == 0
    assert stub.bodies(f"PUT {PATH}") == [{"dates": ["2030-12-24"], "note": "mine"}]


def test_import_sends_the_text_of_the_file(stub: StubServer, cli: Run, tmp_path: Path) -> None:
    stub.on(f"PUT {PATH}", (201, CLOSED))
    file = tmp_path / "export.ics"
    file.write_bytes(b"\xef\xbb\xbfBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n")
    assert cli("calendar", "import", str(file), "--name", "closed", "--timezone", "Europe/Berlin")[0] == 0
    [sent] = stub.bodies(f"PUT {PATH}")
    assert sent == {"ics": "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "timezone": "Europe/Berlin"}


def test_get_shows_days_and_who_uses_them(stub: StubServer, cli: Run) -> None:
    stub.on(f"GET {PATH}", (200, CLOSED))
    code, out, _ = cli("calendar", "get", "closed", "--from", "2030-01-01", "--to", "2030-12-31", "-o", "table")
    assert code == 0
    assert "from=2030-01-01&to=2030-12-31" in stub.requests[0][1]
    assert "2030-12-24 2030-12-31" in out
    assert "nightly" in out
    assert "DE-BE" in out


def test_list_pages_through(stub: StubServer, cli: Run) -> None:
    items = [{**CLOSED, "name": f"c{n}"} for n in range(4)]
    pages = (200, {"items": items[:2], "next_cursor": "c"}), (200, {"items": items[2:], "next_cursor": None})
    stub.on("GET /api/calendars", *pages)
    code, out, err = cli("calendar", "list", "--limit", "3", "-o", "jsonl")
    assert (code, [json.loads(line)["name"] for line in out.splitlines()]) == (0, ["c0", "c1", "c2"])
    assert "--all" in err
    stub.on("GET /api/calendars", *pages)
    assert len(cli("calendar", "list", "--all", "-o", "jsonl")[1].splitlines()) == 4


def test_delete_says_who_uses_it(stub: StubServer, cli: Run) -> None:
    stub.on(f"DELETE {PATH}", problem(409, "the calendar 'closed' is used by nightly"))
    code, _, err = cli("calendar", "delete", "closed")
    assert code == 4
    assert "used by nightly" in err
    stub.on(f"DELETE {PATH}", (204, {}))
    assert cli("calendar", "delete", "closed")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--region", "BE"), "--country"),
        (("--range", "2030-12-24"), "2026-12-24/2027-01-02"),
        (("--ics", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_sent(
    stub: StubServer, cli: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = cli("calendar", "put", "closed", *arguments)
    assert (code, stub.requests) == (2, [])
    assert said in err


def test_tasks_of_a_calendar_are_listed(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks", (200, {"items": [], "next_cursor": None}))
    assert cli("task", "list", "--calendar", "closed")[0] == 0
    assert "calendar=closed" in stub.requests[0][1]
