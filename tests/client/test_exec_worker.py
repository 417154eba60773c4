"""Commands: what they get, what is kept of what they say, and that they end when they have to."""

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from client_stub import Stub
from fake_clock import FakeClock
from pool_handlers import alive
from worker_kit import BEAT

from taskscheduler.client import ExecWorker, Limits
from taskscheduler.client.exec_worker import environment, size

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def script(tmp_path: Path) -> Any:
    def make(text: str) -> str:
        path = tmp_path / "job.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(stat.S_IRWXU)
        return f"job={path}"

    return make


def ask(stub: Stub, argv: list[str], payload: Any = None, **fields: Any) -> None:
    target = {"type": "exec", "queue": "q", "kind": "$exec", "argv": argv, **fields}
    stub.make({"name": "x", "target": target, "payload": payload})


async def ran(
    stub: Stub, rule: str, *argv: str, payload: Any = None, fields: dict[str, Any] | None = None, **worker: Any
) -> Any:
    """The one outcome of a command."""
    ask(stub, ["job", *argv], payload, **(fields or {}))
    await ExecWorker(stub.url, "q", allow=[rule], clock=FakeClock(), **worker).until_idle()
    return stub.outcomes()[0]


async def test_a_command_gets_arguments_input_and_nothing_of_our_environment(
    stub: Stub, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "ours")
    rule = script('echo "$# $1 $PWD"; cat; echo; /usr/bin/env | /usr/bin/sort')
    outcome = await ran(
        stub,
        rule,
        "$HOME; echo *",
        payload={"n": 1},
        env={"LANG": "C"},
        accept_env=["MODE"],
        fields={"env": {"MODE": "x"}},
    )
    lines = outcome["result"].pop("output_tail").splitlines()
    assert lines[:2] == ["1 $HOME; echo * /", '{"n":1}']
    run = next(iter(stub.held.values())).run
    assert lines[2:] == [
        "ATTEMPT=1",
        "LANG=C",
        "MODE=x",
        "PWD=/",
        f"RUN_ID={run['id']}",
        "SCHEDULED_FOR=2030-01-01T00:00:00Z",
        f"TASK_ID={run['task_id']}",
    ]
    assert outcome["result"]["exit_code"] == 0
    assert outcome["result"]["duration_seconds"] >= 0


@pytest.mark.parametrize(
    ("code", "type", "retryable"),
    [(1, "Exit1", True), (64, "Exit64", False), (75, "Exit75", True), (126, "Exit126", True)],
)
async def test_exit_codes(stub: Stub, script: Any, code: int, type: str, retryable: bool) -> None:
    outcome = await ran(stub, script(f"echo why >&2; exit {code}"), give_up_on=[64, 75])
    said = f"exit code {code}; its output ends with:\nwhy\n"
    assert outcome["error"] == {"type": type, "message": said}
    assert outcome["retryable"] is retryable


@pytest.mark.parametrize(
    ("argv", "fields", "type"),
    [
        (["rm", "-rf", "/"], {}, "CommandNotAllowed"),
        (["job"], {"env": {"LD_PRELOAD": "/tmp/x.so"}}, "VariableNotAllowed"),
        (["job"], {"cwd": "/etc"}, "DirectoryNotAllowed"),
    ],
)
async def test_what_is_not_allowed_fails_for_good(
    stub: Stub, script: Any, argv: list[str], fields: Any, type: str
) -> None:
    ask(stub, argv, **fields)
    await ExecWorker(stub.url, "q", allow=[script("exit 0")], clock=FakeClock()).until_idle()
    [outcome] = stub.outcomes()
    assert (outcome["error"]["type"], outcome["retryable"]) == (type, False)


async def test_only_the_end_of_much_output_is_kept(stub: Stub, script: Any) -> None:
    outcome = await ran(stub, script('i=0; while [ $i -lt 3000 ]; do echo "line $i \\"\\033[1m"; i=$((i+1)); done'))
    tail = outcome["result"]["output_tail"]
    assert tail.endswith('line 2999 "�[1m\n')
    assert len(tail.encode("utf-8", "replace")) < 48 * 1024
    assert outcome["result"]["output_bytes"] > 40_000


async def test_limits_on_time_output_and_memory(stub: Stub, script: Any) -> None:
    limits = Limits(time=0.2, kill_after=0.2)
    outcome = await ran(stub, script("echo begun; trap '' TERM; while :; do sleep 0.1; done"), limits=limits)
    assert outcome["error"]["type"] == "TimedOut"
    assert outcome["error"]["message"].startswith("it did not end within 0.2 s; its output ends with:\nbegun")


async def test_too_much_output_ends_it(stub: Stub, script: Any) -> None:
    outcome = await ran(stub, script("while :; do echo xxxxxxxxxxxxxxxx; done"), limits=Limits(output=100_000))
    assert (outcome["error"]["type"], outcome["retryable"]) == ("OutputTooLarge", False)


async def test_memory_is_limited(stub: Stub, script: Any) -> None:
    limits = Limits(memory=64 * 1024 * 1024)
    outcome = await ran(stub, script("ulimit -v; x=a; while :; do x=$x$x; done"), limits=limits)
    assert outcome["error"]["type"] in ("Exit2", "Signal6", "Signal11", "Signal9")
    assert "65536" in outcome["error"]["message"]


async def test_what_is_left_of_the_group_ends_with_the_command(stub: Stub, script: Any, tmp_path: Path) -> None:
    outcome = await ran(stub, script(f"sleep 600 & echo $! > {tmp_path}/pid; echo done"))
    assert outcome["result"]["output_tail"] == "done\n"
    pid = int((tmp_path / "pid").read_text())
    while alive(pid):
        await asyncio.sleep(0.01)


async def test_a_cancelled_command_is_ended_and_what_it_said_is_kept(
    stub: Stub, script: Any, clock: FakeClock, start: Any, tmp_path: Path
) -> None:
    rule = script(f"trap 'echo bye; exit 0' TERM; echo $$ > {tmp_path}/pid; echo half; while :; do sleep 0.05; done")
    ask(stub, ["job"])
    start(ExecWorker(stub.url, "q", allow=[rule], clock=clock))
    await stub.until(lambda: any(held.progress for held in stub.held.values()))
    held = next(iter(stub.held.values()))
    assert held.progress == {"output_tail": "half\n", "output_bytes": 5}
    held.cancel = True
    await clock.pass_wait(1.0)
    await clock.pass_wait(BEAT)
    await stub.until(stub.outcomes)
    error = stub.outcomes()[0]["error"]
    assert error["type"] == "Cancelled"
    assert error["message"].startswith("ended: Cancelled; its output ends with:\nhalf\n")
    assert error["message"].endswith("bye\n")
    while not (tmp_path / "pid").exists() or alive(int((tmp_path / "pid").read_text())):
        await asyncio.sleep(0.01)


KILLED = """
import asyncio, sys
from taskscheduler.client.command import Command, Limits
command = Command("/bin/sh", ["-c", "echo $$; exec sleep 600"], env={}, cwd="/", limits=Limits())
asyncio.run(command.run(b"", lambda: print(command.output.tail(), end="", flush=True)))
"""
CANCELLED = """
import asyncio, sys
from taskscheduler.client.command import Command, Limits
script = "trap '' TERM; echo $$; while :; do sleep 1; done"
command = Command("/bin/sh", ["-c", script], env={}, cwd="/", limits=Limits())
async def main():
    said = asyncio.Event()
    asyncio.ensure_future(command.run(b"", said.set))
    await said.wait()
    print(command.output.tail(), end="", flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("script", [KILLED, CANCELLED], ids=["killed", "cancelled"])
async def test_no_command_outlives_its_worker(script: str) -> None:
    made = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert made.stdout is not None
    pid = int(await made.stdout.readline())
    if script is KILLED:
        made.kill()
    await made.wait()
    while alive(pid):
        await asyncio.sleep(0.01)


def test_sizes_and_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [size(text) for text in ("65536", "2KiB", "512MiB", "1GiB")] == [65536, 2048, 512 * 1024**2, 1024**3]
    for wrong in ("", "1MB", "-1", "1.5GiB", "MiB"):
        with pytest.raises(ValueError, match="no size"):
            size(wrong)
    monkeypatch.setenv("HERE", "1")
    monkeypatch.delenv("NOT_HERE", raising=False)
    assert environment(["HERE", "NOT_HERE", "A=b=c"]) == {"HERE": "1", "A": "b=c"}
    with pytest.raises(ValueError, match="write it as"):
        environment(["=x"])
    with pytest.raises(ValueError, match="at least one"):
        ExecWorker(allow=[])
    assert os.path.exists("/bin/sh")
