import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_stub import TASK, Run, StubServer, problem

from taskscheduler.api.settings import FIELDS


def test_create_sends_what_the_options_say(stub: StubServer, cli: Run) -> None:
    stub.on("POST /api/tasks", (201, TASK))
    code, out, _ = cli(
        *("task", "create", "nightly", "--id", "t1", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin"),
        *("--http", "https://example.org/x", "--method", "PUT", "--header", "X-A=1", "--payload", '{"a": [1, null]}'),
        *("--tag", "team=ops", "--tag", "env=x=y", "--priority", "2", "--timeout", "90s", "--max-attempts", "5"),
        *("--catch-up", "all", "--idempotency-key", "k1"),
    )
    assert code == 0
    assert json.loads(out)["id"] == "t1"
    [(_, _, body, headers)] = stub.requests
    assert body == {
        "id": "t1",
        "name": "nightly",
        "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        "target": {"type": "http", "url": "https://example.org/x", "method": "PUT", "headers": {"X-A": "1"}},
        "payload": {"a": [1, None]},
        "tags": {"team": "ops", "env": "x=y"},
        "priority": 2,
        "timeout": "90s",
        "retry": {"max_attempts": 5},
        "catch_up": {"policy": "all"},
    }
    assert headers["Idempotency-Key"] == "k1"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--noop"], {"target": {"type": "noop"}}),
        (["--queue", "q", "--kind", "k"], {"target": {"type": "queue", "queue": "q", "kind": "k"}}),
        (
            ["--queue", "q", "--exec", "tar -c 'a b'", "--env", "A=1", "--cwd", "/srv"],
            {
                "target": {
                    "type": "exec",
                    "queue": "q",
                    "argv": ["tar", "-c", "a b"],
                    "env": {"A": "1"},
                    "cwd": "/srv",
                }
            },
        ),
        (
            ["--http", "https://a.example/", "--bearer", "crm-token", "--sign", "crm-hook"],
            {
                "target": {
                    "type": "http",
                    "url": "https://a.example/",
                    "auth": {"bearer": "crm-token"},
                    "sign": {"secret": "crm-hook"},
                }
            },
        ),
        (["--kafka", "orders"], {"target": {"type": "kafka", "topic": "orders"}}),
        (
            ["--kafka", "orders", "--key", "k", "--header", "ce_type=a.b"],
            {"target": {"type": "kafka", "topic": "orders", "key": "k", "headers": {"ce_type": "a.b"}}},
        ),
        (["--noop", "--delay", "1h"], {"schedule": {"delay": "1h"}}),
        (["--noop", "--every", "PT5M"], {"schedule": {"every": "PT5M"}}),
        (["--noop", "--at", "2030-01-31T08:00:00Z"], {"schedule": {"at": "2030-01-31T08:00:00"}}),
    ],
)
def test_create_knows_every_schedule_and_target(
    stub: StubServer, cli: Run, options: list[str], expected: dict[str, Any]
) -> None:
    stub.on("POST /api/tasks", (201, TASK))
    assert cli("task", "create", "x", *options)[0] == 0
    [body] = stub.bodies("POST /api/tasks")
    for field, value in expected.items():
        if "at" in value:
            assert body[field]["at"].startswith(value["at"])
        else:
            assert body[field] == value


def test_create_takes_a_file_which_options_override(stub: StubServer, cli: Run, tmp_path: Path) -> None:
    stub.on("POST /api/tasks", (201, TASK))
    file = tmp_path / "task.yaml"
    file.write_text("name: a\ntarget: {type: noop}\npriority: 3\n")
    payload = tmp_path / "payload.json"
    payload.write_text("[1]")
    assert cli("task", "create", "--file", str(file), "--name", "b", "--payload", f"@{payload}")[0] == 0
    assert stub.bodies("POST /api/tasks") == [{"name": "b", "target": {"type": "noop"}, "priority": 3, "payload": [1]}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["task", "create", "x"], ["--http", "--queue", "--noop"]),
        (["task", "create", "--noop"], ["name"]),
        (["task", "create", "x", "--noop", "--http", "http://a"], ["--http", "--noop", "exclude"]),
        (["task", "create", "x", "--noop", "--cron", "* * * * *", "--delay", "1s"], ["--cron", "--delay", "exclude"]),
        (["task", "create", "x", "--noop", "--timezone", "UTC"], ["--timezone", "--cron"]),
        (["task", "create", "x", "--noop", "--any", "x"], ["--any", "JSON"]),
        (["task", "create", "x", "--noop", "--any", "[1]"], ["--any"]),
        (["task", "create", "x", "--noop", "--every", "1h", "--except", '"x"'], ["--except"]),
        (["task", "create", "x", "--noop", "--except", "2030-12-25"], ["--except", "--cron"]),
        (["task", "create", "x", "--noop", "--delay", "1h", "--fold", "both"], ["--fold", "--cron"]),
        (["task", "create", "x", "--noop", "--every", "1h", "--days", "or"], ["--days", "--cron"]),
        (["task", "create", "x", "--queue", "q"], ["--kind"]),
        (["task", "create", "x", "--noop", "--kind", "k"], ["--kind", "--queue"]),
        (["task", "create", "x", "--noop", "--payload", "hello"], ["--payload"]),
        (["task", "create", "x", "--noop", "--payload", "@/no/such"], ["--payload", "No such file"]),
        (["task", "create", "x", "--noop", "--tag", "team"], ["--tag", "key=value"]),
        (["task", "create", "x", "--noop", "--at", "tomorrow"], ["--at", "2030"]),
        (["task", "create", "x", "--noop", "--retry", "3"], ["--retry"]),
        (["task", "create", "--file", "/no/such"], ["--file", "No such file"]),
        (["task", "update", "t1"], ["--priority"]),
        (["task", "get"], ["TASK_ID"]),
        (["task", "fly"], ["fly"]),
        (["task", "get", "t1", "--url", "ftp://x"], ["ftp://x"]),
        (["task", "get", "t1", "--call-timeout", "soon"], ["soon"]),
        (["task", "get", "t1", "-o", "xml"], ["xml"]),
        (["schedule", "preview"], ["--cron"]),
        (["config", "show", "--set", "port"], ["--set"]),
        (["config", "show", "--set", "warp=9"], ["warp"]),
        (["config", "show", "--port", "99999"], ["port", "99999"]),
        (["config", "show", "--host", "0.0.0.0"], ["allow_unauthenticated"]),
        (["task", "create", "x", "--noop", "--sign", "s"], ["--sign", "--http"]),
        (["task", "create", "x", "--noop", "--bearer", "s"], ["--bearer", "--http"]),
        (["task", "create", "x", "--noop", "--key", "k"], ["--key", "--kafka"]),
        (["task", "create", "x", "--noop", "--header", "a=b"], ["--header", "--kafka"]),
        (["task", "create", "x", "--kafka", "a", "--http", "http://a"], ["--http", "--kafka", "exclude"]),
        (["task", "create", "x", "--exec", "ls"], ["--queue"]),
        (["task", "create", "x", "--queue", "q", "--cwd", "/"], ["--exec"]),
        (["task", "create", "x", "--queue", "q", "--exec", "ls '"], ["--exec", "quotation"]),
        (["task", "create", "x", "--queue", "q", "--exec", "ls", "--kind", "k"], ["--exec", "--kind"]),
        (["worker", "exec", "--queue", "q", "--allow", "rsync"], ["whole path"]),
        (["worker", "exec", "--queue", "q", "--allow", "/bin/sh", "--max-memory", "much"], ["512MiB"]),
        (["worker", "nonsense"], ["module:attribute"]),
        (["worker", "no_such_module:worker"], ["no_such_module"]),
        (["worker", "json:dumps"], ["taskscheduler.client.Worker"]),
    ],
)
def test_a_command_line_that_cannot_be_is_exit_2_and_says_why(cli: Run, arguments: list[str], words: list[str]) -> None:
    code, out, err = cli(*arguments)
    assert code == 2
    assert arguments[:2] == ["config", "show"] or out == ""
    for word in words:
        assert word in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem(400, "bad"), 2),
        (problem(422, "bad", errors=[{"pointer": "/schedule/cron", "detail": "never fires"}]), 2),
        (problem(404, "bad"), 3),
        (problem(410, "bad"), 3),
        (problem(409, "bad"), 4),
        (problem(412, "bad"), 4),
        (problem(500, "bad"), 1),
    ],
)
def test_exit_codes_tell_what_went_wrong(stub: StubServer, cli: Run, reply: tuple[int, Any], code: int) -> None:
    stub.on("POST /api/tasks/t1/cancel", reply)
    found, out, err = cli("task", "cancel", "t1")
    assert (found, out) == (code, "")
    assert "bad" in err
    assert "Traceback" not in err
    if reply[0] == 422:
        assert "/schedule/cron: never fires" in err


def test_no_server_is_exit_5(cli: Run) -> None:
    code, out, err = cli("task", "get", "t1", "--url", "http://127.0.0.1:1", "--call-timeout", "0.01s")
    assert (code, out) == (5, "")
    assert "http://127.0.0.1:1" in err


def test_the_words_of_a_server_cannot_steer_the_terminal(stub: StubServer, cli: Run) -> None:
    stub.on("GET /api/tasks/t1", problem(404, "\x1b[2Jgone\u202e"))
    assert "\\x1b[2Jgone\\u202e" in cli("task", "get", "t1")[2]
    stub.on("GET /api/tasks/t1", (200, {**TASK, "name": "\x1b[31mred"}))
    assert "\\x1b[31mred" in cli("task", "get", "t1", "-o", "table")[1]


def test_config_show_tells_every_setting_and_its_origin(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASKSCHEDULER_CASSANDRA__PASSWORD", "hunter2")
    (tmp_path / "taskscheduler.toml").write_text("late_after = 90\n")
    code, out, _ = cli("config", "show", "--port", "9000", "--set", "http.concurrency=7")
    rows = {row["setting"]: row for row in json.loads(out)}
    assert code == 0
    assert list(rows) == list(FIELDS)
    assert rows["port"] == {"setting": "port", "value": "9000", "origin": "flag"}
    assert rows["http.concurrency"]["value"] == "7"
    assert rows["late_after"] == {"setting": "late_after", "value": "PT1M30S", "origin": "taskscheduler.toml"}
    assert rows["cassandra.password"]["origin"] == "TASKSCHEDULER_CASSANDRA__PASSWORD"
    assert rows["host"]["origin"] == "default"
    assert "hunter2" not in out


def test_a_worker_is_found_and_changed(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskscheduler.client import Worker

    (tmp_path / "jobs_of_this_test.py").write_text(
        "from taskscheduler.client import Worker\n"
        "worker = Worker(queue='mail')\n"
        "@worker.handler('send')\n"
        "def send(job): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(Worker, "run_forever", lambda self: ran.append((self.base_url, self.queue)))
    monkeypatch.setattr("taskscheduler.api.logs.configure", lambda: None)
    assert cli("worker", "jobs_of_this_test:worker", "--url", "http://h:1/")[0] == 0
    assert cli("worker", "jobs_of_this_test:worker", "--queue", "post", "--concurrency", "3")[0] == 0
    assert ran == [("http://h:1", "mail"), ("http://h:1", "post")]
    code, _, err = cli("worker", "jobs_of_this_test:worker", "--concurrency", "0")
    assert code == 2
    assert "concurrency" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(cli: Run, shell: str) -> None:
    code, out, _ = cli("completion", shell)
    assert code == 0
    for word in ("serve", "preview", "trigger", "doctor"):
        assert word in out


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from taskscheduler.api.cli import main\n"
        "for arguments in (['--help'], ['task', '--help'], ['--version']):\n"
        "    sys.argv[1:] = arguments\n"
        "    try: main()\n"
        "    except SystemExit as done: assert not done.code, done.code\n"
        "heavy = {'aiohttp', 'litestar', 'rocksdict', 'uvicorn', 'asyncio', 'structlog', 'prometheus_client', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "trigger" in done.stdout
