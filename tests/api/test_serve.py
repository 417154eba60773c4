"""The serving process from outside: how it starts, refuses to start, and stops."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_stub import Run, StubServer, stub_server

from taskscheduler.api.server import SAME_SIGNAL_SECONDS, Stop, bind
from taskscheduler.client import Client
from taskscheduler.streams.rocksdb.refusals import StorageFailed

PROGRAM = str(Path(sys.executable).with_name("taskscheduler"))


class Server:
    """`taskscheduler serve` on a free port; `lines` are what it has logged."""

    def __init__(self, directory: Path, *options: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")}
        command = [
            PROGRAM,
            "serve",
            "--port",
            "0",
            "--log-format",
            "json",
            "--set",
            "http.allow_loopback=true",
            *options,
        ]
        self.process = subprocess.Popen(command, env=env, cwd=directory, stderr=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.read_until('serving on')['port']}"

    def read_until(self, event: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line = json.loads(text)
            self.lines.append(line)
            if line["event"].startswith(event):
                return line
        raise AssertionError(f"it ended without {event!r}: {self.lines}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self.process.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
    server.process.communicate()


class Receiver(StubServer):
    """Calls to it wait until the test lets them go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.called = threading.Event()
        self.let_go = threading.Event()

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        self.called.set()
        self.let_go.wait(30)
        return 200, {}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with stub_server(Receiver) as stub:
        assert isinstance(stub, Receiver)
        yield stub
        stub.let_go.set()


def test_it_tells_where_it_serves_and_stops_with_streams_and_polls_open(server: Server) -> None:
    announced = server.lines[-1]
    assert announced["event"] == f"serving on {server.url}"
    assert announced["docs"] == f"{server.url}/docs"
    assert announced["data_dir"].endswith("/data")
    with Client(server.url) as client, socket.create_connection(server.url[7:].split(":")) as stream:
        assert client.health().status == "UP"
        stream.sendall(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in stream.recv(1024)
        server.terminate()
        assert server.read_until("stopped")
        assert server.ended() == 0


def test_a_stop_is_seen_by_probes_and_lets_a_running_call_end(
    server: Server, receiver: Receiver, tmp_path: Path
) -> None:
    with Client(server.url) as client:
        task = client.create_task(name="slow", target={"type": "http", "url": f"{receiver.url}/slow"})
        assert receiver.called.wait(10)
        server.terminate()
        server.read_until("stopping")
        assert client.health().status == "OUT_OF_SERVICE"
        receiver.let_go.set()
        assert server.ended() == 0
    again = Server(tmp_path)
    try:
        with Client(again.url) as client:
            [made] = client.runs(task.id).items
            assert made.status == "succeeded"
            assert len(made.attempts) == 1
    finally:
        again.process.kill()
        again.process.communicate()


def test_what_does_not_end_within_the_grace_is_handed_back(tmp_path: Path, receiver: Receiver) -> None:
    server = Server(tmp_path, "--set", "shutdown.grace=0.1")
    with Client(server.url) as client:
        retry = {"max_attempts": 2, "initial": "1h"}
        task = client.create_task(name="slow", target={"type": "http", "url": f"{receiver.url}/slow"}, retry=retry)
        assert receiver.called.wait(10)
    server.terminate()
    assert server.ended() == 0
    server.process.communicate()
    again = Server(tmp_path)
    try:
        with Client(again.url) as client:
            [made] = client.runs(task.id).items
            assert made.status in ("retrying", "queued", "running")
            assert made.attempts[0].outcome is not None
    finally:
        again.process.kill()
        again.process.communicate()


def test_a_second_signal_ends_it_at_once_and_loses_nothing(server: Server, receiver: Receiver, tmp_path: Path) -> None:
    with Client(server.url) as client:
        task = client.create_task(name="slow", target={"type": "http", "url": f"{receiver.url}/slow"})
        assert receiver.called.wait(10)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        server.terminate()
        try:
            code = server.process.wait(SAME_SIGNAL_SECONDS / 2)
            break
        except subprocess.TimeoutExpired:
            continue
    assert code == 128 + signal.SIGTERM
    again = Server(tmp_path)
    try:
        with Client(again.url) as client:
            assert client.get_task(task.id).name == "slow"
    finally:
        again.process.kill()
        again.process.communicate()


def test_what_is_no_request_is_told_so_as_a_problem(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    head, body = said.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["type"] == "/docs#malformed"


def test_a_body_much_too_large_is_answered_although_the_client_hears_nothing_before_it_has_sent_all(
    server: Server,
) -> None:
    request = urllib.request.Request(
        f"{server.url}/api/tasks",
        data=b'"' + b"x" * (24 * 1024 * 1024) + b'"',
        headers={"Content-Type": "application/json", "Connection": "close"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert answer.code == 413
        assert json.load(answer)["status"] == 413


def test_a_length_beyond_all_reason_is_answered_before_anything_is_sent(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30) as client:
        client.sendall(
            b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9223372036854775807\r\n\r\n"
        )
        client.settimeout(2)
        reply = b""
        while not reply.endswith(b"}"):
            reply += client.recv(65536)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 1 MiB" in reply


def test_a_head_without_end_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30) as client:
        client.sendall(b"GET /api/tasks HTTP/1.1\r\nHost: x\r\nX-Much: ")
        client.settimeout(30)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * 1024 * 1024:
                client.sendall(b"x" * 16_384)
                sent += 16_384
        assert sent < 64 * 1024 * 1024
    with Client(server.url) as other:
        assert other.list_tasks().items == []


def test_a_directory_in_use_is_refused_with_one_line(server: Server, tmp_path: Path) -> None:
    done = subprocess.run([PROGRAM, "serve", "--port", "0"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"process {server.process.pid}" in line


def test_a_port_in_use_is_refused_with_one_line(cli: Run, tmp_path: Path) -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    with taken:
        code, _, err = cli("serve", "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "--port" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_a_disk_that_fails_at_the_start_is_told_with_one_line(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise StorageFailed("a write failed in data: the disk is gone")

    monkeypatch.setattr("taskscheduler.api.server.embedded", failing)
    code, _, err = cli("serve", "--port", "0")
    assert code == 1
    [line] = err.splitlines()
    assert "the disk is gone" in line
    assert "backup" in line


@pytest.mark.parametrize("options", [["0.0.0.0"], ["no-such-host.invalid", "--allow-unauthenticated"]])
def test_a_host_that_cannot_be_is_refused_with_one_line(cli: Run, options: list[str]) -> None:
    code, _, err = cli("serve", "--host", *options)
    assert code == 2
    assert options[0] in err
    assert len(err.splitlines()) == 1


async def test_a_signal_passed_on_twice_is_one_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    exits: list[int] = []
    now = 100.0
    monkeypatch.setattr(os, "_exit", exits.append)
    stop = Stop(asyncio.get_running_loop(), clock=lambda: now)
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        assert exits == []
        assert stop.signal == signal.SIGTERM
        now += SAME_SIGNAL_SECONDS
        signal.raise_signal(signal.SIGINT)
        assert exits == [130]


def test_doctor_finds_a_log_whole_in_use_or_damaged(server: Server, tmp_path: Path, cli: Run) -> None:
    def doctor(code: int, *options: str) -> dict[str, tuple[str, str]]:
        ended, out, err = cli("doctor", *(options or ("--port", "0")), "-o", "json")
        assert ended == code, out + err
        return {finding["check"]: (finding["result"], finding["detail"]) for finding in json.loads(out)}

    with Client(server.url) as client:
        client.create_task(name="x", target={"type": "noop"}, schedule={"delay": "1h"})
    found = doctor(0)
    assert found["log"][0] == "warning"
    assert str(server.process.pid) in found["log"][1]
    port = server.url.rpartition(":")[2]
    assert "taskscheduler" in doctor(0, "--port", port)["port"][1]
    server.terminate()
    assert server.ended() == 0
    found = doctor(0)
    assert found["log"] == ("ok", "1 decisions, all as they were written")
    assert {result for result, _ in found.values()} <= {"ok", "warning"}
    (tmp_path / "data" / "claim-secret").write_bytes(b"")
    assert doctor(1)["claim secret"][0] == "failed"
    (tmp_path / "data" / "claim-secret").unlink()
    assert "claim secret" not in doctor(0)
    (tmp_path / "data" / "CURRENT").unlink()
    assert doctor(1)["log"][0] == "failed"
    assert cli("serve", "--port", "0")[0] == 1


def test_doctor_asks_before_it_gives_anything_up(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    code, _, err = cli("doctor", "--accept-loss")
    assert code == 2
    assert "--yes" in err
