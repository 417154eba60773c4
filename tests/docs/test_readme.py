"""The commands and examples of the README and the quick start do what the text around them says."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8080"
BIN = ".venv/bin/"
# Fails on an error status, and gives up instead of hanging.
CURL = 'curl() { command curl --silent --show-error --fail --max-time 20 "$@"; }\n'
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the examples need curl, which is not installed")


def blocks(document: str, language: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [match[2] for match in BLOCK.finditer(text) if match[1] == language]


def make_dry(target: str) -> list[str]:
    """The commands that `make` would run."""
    # What an outer `make test ARGS=...` hands down is not meant for this one.
    environment = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return json.load(reply)


def eventually(look: Callable[[], bool], alive: Callable[[], str | None]) -> None:
    """Wait until `look` is true. Fails when it takes too long, or `alive` says why it never will."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert (died := alive()) is None, died
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


class Machine:
    """A served scheduler, and a shell in which the documents' commands find it."""

    def __init__(self, port: int, folder: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")}
        self.environment |= {"TASKSCHEDULER_URL": f"http://{self.address}"}

    def adapted(self, text: str) -> str:
        """The same text for this server and this Python environment."""
        return text.replace(ADDRESS, self.address).replace(BIN, f"{Path(sys.executable).parent}/")

    def shell(self, commands: str) -> str:
        script = "set -eu\n" + CURL + self.adapted(commands)
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def background(self, *command: str, **environment: str) -> Iterator[Callable[[], str | None]]:
        """Run a command meanwhile; yields what says why it has ended, if it has."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment | environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield lambda: None if process.poll() is None else f"{command} ended:\n{log.read_text()}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve as `make run` does, on another port and in another directory."""
        settings = {
            "TASKSCHEDULER_PORT": self.address.split(":")[1],
            "TASKSCHEDULER_DATA_DIR": str(self.folder / "data"),
        }
        command = self.adapted(make_dry("run")[-1])
        assert "taskscheduler serve" in command
        with self.background("sh", "-c", command, **settings) as alive:
            eventually(self.ready, alive)
            yield

    def ready(self) -> bool:
        try:
            return bool(get(f"http://{self.address}/actuator/health/readiness")["status"] == "UP")
        except (urllib.error.URLError, ConnectionError):
            return False

    def task(self, task_id: str) -> Any:
        return get(f"http://{self.address}/api/tasks/{task_id}")

    def runs(self, task_id: str) -> Any:
        return get(f"http://{self.address}/api/tasks/{task_id}/runs")["items"]

    def ends(self, task_id: str, status: str, alive: Callable[[], str | None] = lambda: None) -> None:
        eventually(lambda: self.task(task_id)["status"] not in ("scheduled", "running"), alive)
        assert self.task(task_id)["status"] == status, self.runs(task_id)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Machine(free.getsockname()[1], tmp_path)


def examples(document: str) -> list[str]:
    """The shell blocks that talk to a server, after the one that starts it."""
    shell = blocks(document, "sh")
    assert shell[0] == "make run\n"
    return [block for block in shell if not block.startswith("make ")]


def test_readme(machine: Machine) -> None:
    first, *others = examples("README.md")
    with machine.served():
        created = json.loads(machine.shell(first))
        machine.ends(created["id"], "completed")
        output = [machine.shell(block) for block in others]
        (run,) = machine.runs(created["id"])
        assert (run["status"], run["attempts"][0]["outcome"]) == ("succeeded", "succeeded")
        assert run["id"] in output[0]
        assert '"completed"' in output[0]


def test_quick_start(machine: Machine) -> None:
    (program,) = blocks("docs/quickstart.md", "python")
    (machine.folder / "worker.py").write_text(machine.adapted(program))
    with machine.served(), machine.background(sys.executable, "worker.py") as working:
        for block in examples("docs/quickstart.md"):
            machine.shell(block)
        machine.ends("ping", "completed")
        machine.ends("welcome-ada", "completed", working)
        assert machine.runs("ping")[0]["result"]["status"] == 200
        assert machine.runs("welcome-ada")[0]["result"] == {"sent_to": "ada@example.com"}
        assert machine.task("nightly")["status"] == "cancelled"
        assert machine.task("often")["schedule"]["every"] == "PT1H"


@pytest.mark.parametrize("document", ["README.md", "docs/quickstart.md"])
def test_every_make_target_exists(document: str) -> None:
    named = re.findall(r"\bmake ([a-z]+)\b", "\n".join(re.findall(r"`[^`]+`", (REPOSITORY / document).read_text())))
    shown = re.findall(r"^make ([a-z]+)$", "\n".join(blocks(document, "sh")), re.MULTILINE)
    for target in {*named, *shown}:
        assert make_dry(target)


@pytest.mark.parametrize(
    "document",
    sorted(str(path.relative_to(REPOSITORY)) for at in ("*.md", "docs/**/*.md") for path in REPOSITORY.glob(at)),
)
def test_links_lead_somewhere(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    broken = []
    for link in links:
        path, _, heading = link.partition("#")
        target = (REPOSITORY / document).parent / path if path else REPOSITORY / document
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
