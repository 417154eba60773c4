"""Processes that outlive who started them: found, signalled and ended by their marker alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.api.local_cluster import probes
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.handle import Handle
from taskscheduler.api.local_cluster.process import Process, free_ports, is_free

LISTEN = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if sys.argv[2:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("listening", os.environ.get("COLOUR"), os.environ.get("TASKSCHEDULER_PORT"), flush=True)
while True:
    server.accept()[0].close()
"""

Make = Callable[..., Process]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A process that listens on a port; `more` goes on its command line."""
    made = []

    def make(name: str = "one", *more: str, code: str = LISTEN, port: int | None = None) -> Process:
        chosen = port or free_ports(1)[0]
        process = Process(
            name=name,
            role="example",
            folder=tmp_path / name,
            ports={name: chosen},
            command=lambda marker: [sys.executable, f"-X{marker}", "-c", code, str(chosen), *more],
            healthy=lambda: probes.accepts(chosen),
            env={"COLOUR": "blue"},
        )
        made.append(process)
        return process

    yield make
    for process in made:
        process.kill()


def state(process: Process) -> str:
    pid = process.pid()
    return "gone" if pid is None else Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(condition: Callable[[], bool]) -> None:
    # The kernel tells nobody when a signal has had its effect.
    while not condition():
        os.sched_yield()


def test_there_is_a_log_as_soon_as_it_is_launched(make: Make) -> None:
    for number in range(20):
        process = make(f"number-{number}")
        process.launch()
        assert process.log.exists()


def test_it_starts_once_and_stops(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSCHEDULER_PORT", "1")
    process = make()
    assert process.pid() is None
    process.start()
    pid = process.pid()
    assert pid is not None
    process.start()
    assert process.pid() == pid
    # What is set for a server here is not for that process.
    assert process.log.read_text() == "listening blue None\n"
    process.stop()
    assert process.pid() is None
    assert is_free(process.ports["one"])


def test_it_comes_back_on_its_port_after_a_kill(make: Make) -> None:
    process = make()
    process.start()
    before = process.pid()
    process.kill()
    assert process.pid() is None
    process.start()
    assert process.pid() not in (None, before)


def test_it_is_no_child_of_ours(make: Make) -> None:
    process = make()
    process.start()
    pid = process.pid()
    assert pid is not None
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    # Nor is it signalled with us, by Ctrl-C for example.
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) != os.getsid(0)


def test_it_stands_still_and_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    process = make()
    process.start()
    process.pause()
    assert state(process) == "T"
    process.resume()
    wait_until(lambda: state(process) != "T")
    process.pause()
    monkeypatch.setattr(Handle, "kill", lambda _: pytest.fail("it was not asked first"))
    monkeypatch.setattr("taskscheduler.api.local_cluster.handle.STOP_SECONDS", 10)
    process.stop()
    assert process.pid() is None


def test_one_that_does_not_listen_to_reason_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskscheduler.api.local_cluster.handle.STOP_SECONDS", 0.2)
    process = make("one", "stubborn")
    process.start()
    process.stop()
    assert process.pid() is None


def test_another_process_with_its_number_is_left_alone(make: Make) -> None:
    process = make("one")
    process.folder.mkdir()
    # Its folder is the beginning of this one's folder, too.
    other = make("one2")
    other.start()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for pid in (other.pid(), stranger.pid, os.getpid(), 1, 0, -1):
            (process.folder / "pid").write_text(str(pid))
            assert process.pid() is None
            process.stop()
            process.kill()
        assert stranger.poll() is None
        assert other.pid() is not None
    finally:
        stranger.communicate(b"\n")


def test_a_handle_finds_it_by_its_folder_alone(make: Make) -> None:
    process = make()
    process.start()
    handle = Handle(folder=process.folder)
    assert handle.pid() == process.pid()
    handle.kill()
    assert process.pid() is None


def test_a_taken_port_is_named(make: Make) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"^one: port {port} \\(one\\) is taken by another process$"):
            make(port=port).launch()


def test_one_that_ends_at_once_shows_what_it_said(make: Make) -> None:
    with pytest.raises(ClusterError, match=r"(?s)one ended before it was ready:.*no coffee"):
        make(code="raise SystemExit('no coffee')").start()


def test_one_that_never_gets_ready_is_told(make: Make) -> None:
    process = make(code="import time; time.sleep(600)")
    process.launch()
    with pytest.raises(ClusterError, match="one was not ready after 0 s"):
        process.wait(0.1)


def test_free_ports_are_below_those_of_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(20_000 <= port < 32_768 for port in ports)


def test_what_a_start_that_was_broken_off_has_left_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def broken_off(*args: Any, **more: Any) -> None:
        run(*args, **more)
        raise KeyboardInterrupt

    process = make()
    with monkeypatch.context() as once:
        once.setattr(subprocess, "run", broken_off)
        with pytest.raises(KeyboardInterrupt):
            process.launch()
    assert process.pid() is not None
    process.stop()
    assert process.pid() is None
