"""Lets the tests of this folder import the helpers beside them, and gives the command line a server of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cli_stub import Run, StubServer, stub_server


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[StubServer]:
    with stub_server() as stub:
        yield stub


@pytest.fixture
def stub(shared_stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> StubServer:
    """The server that the command line talks to."""
    shared_stub.replies.clear()
    shared_stub.requests.clear()
    monkeypatch.setenv("TASKSCHEDULER_URL", shared_stub.url)
    return shared_stub


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, in an empty directory, with the log left alone."""
    from taskscheduler.api.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("taskscheduler.api.logs.configure", lambda *_: None)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return command
