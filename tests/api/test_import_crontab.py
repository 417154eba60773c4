"""Crontabs as tasks, held to what crontab(5) says of them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_stub import TASK, Run, StubServer, problem

from taskscheduler.api.migration.crontab import command_and_stdin, read_crontab
from taskscheduler.api.migration.entries import Options, Reading
from taskscheduler.client import Client

DEBIAN = Path(__file__).parents[1] / "data" / "debian_crontabs.txt"
OPTIONS = Options(queue="commands", kind="shell", timezone=None, timeout="1d")
NOW = 1_893_456_000_000

# The example that crontab(5) ends with, its comments included.
EXAMPLE = """\
# use /bin/sh to run commands, no matter what /etc/passwd says
SHELL=/bin/sh
# mail any output to `paul', no matter whose crontab this is
MAILTO=paul
#
# run five minutes after midnight, every day
5 0 * * *       $HOME/bin/daily.job >> $HOME/tmp/out 2>&1
# run at 2:15pm on the first of every month -- output mailed to paul
15 14 1 * *     $HOME/bin/monthly
# run at 10 pm on weekdays, annoy Joe
0 22 * * 1-5   mail -s "It's 10pm" joe%Joe,%%Where are your kids?%
23 0-23/2 * * * echo "run 23 minutes after midn, 2am, 4am ..., everyday"
5 4 * * sun     echo "run at 5 after 4 every sunday"
"""


def read(text: str, *, system: bool = False, user: str | None = None, zone: str = "UTC") -> Reading:
    return read_crontab(text, OPTIONS, system=system, user=user, timezone=zone, now=NOW)


def tasks(text: str, **how: Any) -> list[dict[str, Any]]:
    reading = read(text, **how)
    assert reading.refused == []
    return [entry.task for entry in reading.entries]


def debian_files() -> list[tuple[str, str]]:
    """What each package installs: its name and the lines."""
    _, *files = DEBIAN.read_text().split("### ")
    return [(file.split()[0], file.split("\n", 1)[1]) for file in files]


def test_the_example_of_the_manual() -> None:
    made = tasks(EXAMPLE)
    assert [task["schedule"]["cron"] for task in made] == [
        "5 0 * * *",
        "15 14 1 * *",
        "0 22 * * 1-5",
        "23 0-23/2 * * *",
        "5 4 * * sun",
    ]
    daily, monthly, mail, _, sunday = (task["payload"] for task in made)
    environment = {"SHELL": "/bin/sh", "MAILTO": "paul"}
    assert daily == {
        "command": "$HOME/bin/daily.job >> $HOME/tmp/out 2>&1",
        "shell": "/bin/sh",
        "environment": environment,
    }
    assert monthly["command"] == "$HOME/bin/monthly"
    assert (mail["command"], mail["stdin"]) == ('mail -s "It\'s 10pm" joe', "Joe,\n\nWhere are your kids?\n")
    assert sunday["command"] == 'echo "run at 5 after 4 every sunday"'
    assert "stdin" not in sunday
    assert {json.dumps(task["target"]) for task in made} == {'{"type": "queue", "queue": "commands", "kind": "shell"}'}
    assert {task["retry"]["max_attempts"] for task in made} == {1}, "cron tries nothing twice"


@pytest.mark.parametrize(("package", "text"), debian_files(), ids=[package for package, _ in debian_files()])
def test_what_debian_packages_install(package: str, text: str) -> None:
    reading = read(text, system=True, zone="Europe/Berlin")
    environment: dict[str, str] = {}
    expected, reboots = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("@reboot"):
            reboots.append(number)
            continue
        if line[0].isalpha():
            name, value = line.split("=", 1)
            environment[name] = value
            continue
        words = 1 if line.startswith("@") else 5
        *fields, user, command = line.split(maxsplit=words + 1)
        # The only percent signs in these lines are escaped ones.
        payload = {
            "command": command.replace(r"\%", "%"),
            "shell": environment.get("SHELL", "/bin/sh"),
            "user": user,
            **({"environment": dict(environment)} if environment else {}),
        }
        expected.append((number, {"cron": " ".join(fields), "timezone": "Europe/Berlin"}, payload))
    found = [(entry.line, entry.task["schedule"], entry.task["payload"]) for entry in reading.entries]
    assert found == expected
    assert [refusal.line for refusal in reading.refused] == reboots
    assert len({entry.task["id"] for entry in reading.entries}) == len(expected) > 0
    assert package != "logcheck" or reboots


@pytest.mark.parametrize(
    ("written", "command", "stdin"),
    [
        ("date", "date", None),
        (r"date +\%d", "date +%d", None),
        ("cat%", "cat", ""),
        ("cat%one", "cat", "one\n"),
        ("cat%one%two%", "cat", "one\ntwo\n"),
        (r"mail joe%100\% sure%", "mail joe", "100% sure\n"),
        (r"printf 'a\nb'", r"printf 'a\nb'", None),
        (r"date +\%F%\%", "date +%F", "%\n"),
        # In the command a backslash that is escaped itself escapes nothing, as do_command.c has it.
        (r"echo \\%in", r"echo \\", "in\n"),
        ("echo \\", "echo \\", None),
    ],
)
def test_percent_signs(written: str, command: str, stdin: str | None) -> None:
    assert command_and_stdin(written) == (command, stdin)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("A=b", "A", "b"),
        ("A = b c ", "A", "b c"),
        ("A=' b '", "A", " b "),
        ('A = " b "', "A", " b "),
        ("A='b\"", "A", "'b\""),
        ('"A B"=c', "A B", "c"),
        ("A=", "A", ""),
        ('MAILTO=""', "MAILTO", ""),
        ("A=b=c", "A", "b=c"),
        ("A=$HOME/x # no comment", "A", "$HOME/x # no comment"),
    ],
)
def test_environment_settings(line: str, name: str, value: str) -> None:
    before, after = tasks(f"* 1 * * * before\n  {line}\n* 2 * * * after")
    assert "environment" not in before["payload"]
    assert after["payload"]["environment"] == {name: value}


def test_a_variable_holds_for_the_lines_below_it() -> None:
    first, second = tasks("SHELL=/bin/bash\n1 * * * * a\nSHELL=/bin/zsh\n2 * * * * b")
    assert (first["payload"]["shell"], second["payload"]["shell"]) == ("/bin/bash", "/bin/zsh")
    zones = [task["schedule"]["timezone"] for task in tasks("1 * * * * a\nCRON_TZ=Asia/Tokyo\n2 * * * * b")]
    assert zones == ["UTC", "Asia/Tokyo"]
    reading = read("TZ=Asia/Tokyo\nRANDOM_DELAY=5\nMAILTO=joe\n1 * * * * a")
    [entry] = reading.entries
    # crontab(5) of cronie: jobs are delayed by up to so many minutes.
    assert entry.task["schedule"] == {"cron": "1 * * * *", "timezone": "UTC", "jitter": "5m"}
    for said, words in zip(reading.notes, (("line 1", "CRON_TZ"), ("line 3", "mail")), strict=True):
        assert all(word in said for word in words)


def test_a_command_may_run_beside_itself_as_with_cron() -> None:
    [entry] = read("1 * * * * a").entries
    assert entry.task["overlap"] == "allow_all"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("@reboot /bin/x", ["when the machine starts", "service manager"]),
        ("@REBOOT /bin/x", ["when the machine starts"]),
        ("@fortnightly /bin/x", ["@fortnightly is not a macro"]),
        ("61 * * * * x", ["minute", "61", "0-59"]),
        ("0 0 31 2 * x", ["never fires"]),
        ("* * * x", ["five fields", "4 words"]),
        ("0 1 * * *", ["a command", "there is none"]),
        ("@daily", ["a command"]),
        ("0 1 * * * %stdin alone", ["a command"]),
        ("caf\udce9", ["UTF-8"]),
        ("CRON_TZ", ["five fields", "1 words"]),
        (f"0 1 * * * {'x' * 300_000}", ["payload", "bytes"]),
    ],
)
def test_a_line_that_cannot_be_taken_is_named_with_the_reason(line: str, words: list[str]) -> None:
    reading = read(f"# nothing\n\n{line}\n5 4 * * * fine\n")
    assert [entry.line for entry in reading.entries] == [4]
    [refusal] = reading.refused
    assert refusal.line == 3
    for word in words:
        assert word in refusal.reason


def test_lines_below_an_unknown_zone_cannot_be_taken() -> None:
    reading = read("CRON_TZ=Europe/Atlantis\n1 2 * * * x")
    assert reading.entries == []
    assert "Europe/Atlantis" in reading.refused[0].reason


def test_a_system_crontab_needs_user_and_command() -> None:
    assert "a user and a command" in read("1 2 * * * root", system=True).refused[0].reason
    [task] = tasks("@daily\troot\tid -u", system=True)
    assert (task["payload"]["user"], task["payload"]["command"]) == ("root", "id -u")
    [task] = tasks("-*/5 * * * * root quiet", system=True)
    assert task["schedule"]["cron"] == "*/5 * * * *"


def test_ids_come_from_the_lines_alone() -> None:
    line = "1 2 * * * x"
    [task] = tasks(line)
    ids = [one["id"] for one in tasks(f"# moved\n0 0 * * * other\n\n{line}\n{line}\n")]
    assert task["id"] == ids[1]
    assert len(set(ids)) == 3, "a line that stands there twice runs twice"
    others = (f"{line} -v", "2 2 * * * x")
    assert len({task["id"], *(tasks(other)[0]["id"] for other in others), tasks(line, user="joe")[0]["id"]}) == 4


def test_plan_shows_and_changes_nothing(stub: StubServer, cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text("1 2 * * * x\n@reboot y\n")
    code, out, err = cli(
        "import", "crontab", str(file), "--timezone", "Asia/Tokyo", "--queue", "q", "--kind", "k", "--plan"
    )
    assert code == 1
    shown = json.loads(out)
    [row] = shown["tasks"]
    assert (row["line"], row["state"], shown["done"]) == (1, "new", False)
    assert row["task"]["schedule"] == {"cron": "1 2 * * *", "timezone": "Asia/Tokyo"}
    assert row["task"]["target"] == {"type": "queue", "queue": "q", "kind": "k"}
    assert [refusal["line"] for refusal in shown["refused"]] == [2]
    assert f"{file}:2: not taken" in err
    assert "--execute" in err
    assert {method for method, *_ in stub.requests} == {"GET"}
    file.write_text("1 2 * * * x\n")
    assert cli("import", "crontab", str(file))[0] == 0


def test_execute_makes_the_tasks_and_a_refusal_of_the_server_is_told(
    stub: StubServer, cli: Run, tmp_path: Path
) -> None:
    file = tmp_path / "crontab"
    file.write_text("1 2 * * * x\n2 2 * * * y\n3 2 * * * z")
    refused = {"status": 422, "error": problem(422, "too much")[1]}
    there = {"status": 409, "error": problem(409, "exists")[1]}
    stub.on("POST /api/tasks/batch", (200, {"results": [{"status": 201, "task": TASK}, refused, there]}))
    code, out, _ = cli("import", "crontab", str(file), "--execute", "--timezone", "UTC", "--user", "joe")
    shown = json.loads(out)
    assert code == 1
    assert "too much" in shown["refused"][0]["reason"]
    assert [row["state"] for row in shown["tasks"]] == ["made", "new"], "the stub says that the third is not there"
    [body] = stub.bodies("POST /api/tasks/batch")
    assert [task["payload"]["user"] for task in body["tasks"]] == ["joe"] * 3


def test_whose_crontab_it_is_and_whether_it_may_be_one_of_the_system(
    stub: StubServer, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskscheduler.api.cli.importing.SPOOL", (str(tmp_path),))
    file = tmp_path / "alice"
    file.write_text("1 2 * * * x\n")
    rows = json.loads(cli("import", "crontab", str(file))[1])["tasks"]
    assert rows[0]["task"]["payload"]["user"] == "alice"
    monkeypatch.setattr("taskscheduler.api.cli.importing.SYSTEM", (str(tmp_path),))
    assert "--system" in cli("import", "crontab", str(file))[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["crontab", "/no/such"], ["/no/such", "No such file"]),
        (["crontab", "x", "--plan", "--execute"], ["--plan", "--execute"]),
        (["crontab", "x", "--system", "--user", "joe"], ["--user", "--system"]),
    ],
)
def test_what_cannot_be_meant_is_exit_2(cli: Run, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "x").write_text("1 2 * * * x\n")
    code, out, err = cli("import", *arguments)
    assert (code, out) == (2, "")
    assert all(word in err for word in words)


def test_without_a_server_the_plan_is_shown_and_nothing_is_done(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1 2 * * * x\n")
    where = ("--url", "http://127.0.0.1:1", "--call-timeout", "0.01s")
    code, out, err = cli("import", "crontab", "x", *where)
    assert (code, json.loads(out)["tasks"][0]["state"]) == (0, "unknown")
    assert "not known" in err
    assert cli("import", "crontab", "x", *where, "--execute")[:2] == (5, "")


def test_importing_twice_makes_nothing_twice(real: str, cli: Run, tmp_path: Path) -> None:
    texts = dict(debian_files())
    file = tmp_path / "all"
    file.write_text("".join(texts[name] for name in ("cron-daemon-common", "mailman3-web", "mdadm", "munin")))

    def bring(*options: str) -> list[str]:
        code, out, _ = cli("import", "crontab", "--system", str(file), "--timezone", "Europe/Berlin", *options)
        assert code == 0
        return [row["state"] for row in json.loads(out)["tasks"]]

    assert set(bring()) == {"new"}
    assert set(bring("--execute")) == {"made"}
    with Client(real) as client:
        made = {task.id: task for task in client.iter_tasks(tags={"imported_from": "crontab"})}
    assert len(made) == 16
    assert set(bring("--execute")) == set(bring()) == {"there"}
    with Client(real) as client:
        assert {task.id: task for task in client.iter_tasks(tags={"imported_from": "crontab"})} == made
        first = next(iter(made))
        client.update_task(first, {"priority": 1})
        gone = next(task_id for task_id in made if task_id != first)
    assert sorted(bring()) == ["differs", *["there"] * 15]
    with Client(real) as client:
        client.delete(gone)
    code, out, _ = cli("import", "crontab", "--system", str(file), "--timezone", "Europe/Berlin", "--execute")
    assert code == 1
    assert "was deleted" in json.loads(out)["refused"][0]["reason"]


def test_a_crontab_may_come_from_standard_input(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1 * * * * a\n")))
    code, out, _ = cli("import", "crontab", "-", "--user", "joe")
    [found] = json.loads(out)["tasks"]
    assert (code, found["task"]["payload"]["command"], found["task"]["payload"]["user"]) == (0, "a", "joe")
