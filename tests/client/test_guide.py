"""The code of the guide for workers is run as it stands there."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from client_stub import Stub

from taskscheduler.client import Worker

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "workers.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def run(block: str, url: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "guide"}
    code = block.replace("http://127.0.0.1:8080", url).replace("Client()", f"Client({url!r})")
    exec(compile(code.replace("Worker(queue", f"Worker({url!r}, queue"), str(GUIDE), "exec"), names)
    return names


def test_the_first_worker_has_15_lines() -> None:
    assert len(BLOCKS) == 4
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 15


@pytest.mark.parametrize(("to", "status"), [("a@example.org", "succeeded"), ("nobody", "failed")])
async def test_the_first_worker_does_the_first_task(stub: Stub, start: Any, to: str, status: str) -> None:
    worker: Worker = run(BLOCKS[0], stub.url)["worker"]
    target = {"type": "queue", "queue": "mail", "kind": "welcome"}
    stub.make({"name": "welcome mail", "target": target, "payload": {"to": to}})
    start(worker)
    await stub.until(stub.outcomes)
    assert [run["status"] for run in stub.runs.values()] == [status]


async def test_the_task_of_the_guide_is_created(stub: Stub) -> None:
    send_welcome = run(BLOCKS[1], stub.url)["send_welcome"]
    assert await asyncio.to_thread(send_welcome, "a@example.org") in stub.tasks


async def test_a_payload_with_a_type_is_decoded(stub: Stub) -> None:
    worker: Worker = run(BLOCKS[2], stub.url)["worker"]
    target = {"type": "queue", "queue": "orders", "kind": "ship"}
    for payload in ({"number": 6, "due": "2030-01-31"}, {"number": "six"}):
        stub.make({"name": "ship", "target": target, "payload": payload})
    await worker.until_idle()
    shipped, refused = sorted(stub.outcomes(), key=lambda outcome: "error" in outcome)
    assert shipped["result"] == {"number": 6, "attempt": 1}
    assert refused["error"] == {"type": "InvalidPayload", "message": "Expected `int`, got `str` - at `$.number`"}


async def test_the_copying_handler_copies(stub: Stub, start: Any, tmp_path: Path) -> None:
    source, goal = tmp_path / "from", tmp_path / "to"
    for folder in (source, goal):
        folder.mkdir()
    (source / "a.txt").write_text("a")
    worker: Worker = run(BLOCKS[3], stub.url)["worker"]
    target = {"type": "queue", "queue": "files", "kind": "copy"}
    stub.make({"name": "copy", "target": target, "payload": {"from": str(source), "to": str(goal)}})
    start(worker)
    await stub.until(stub.outcomes)
    assert stub.outcomes()[0]["result"] == 1
    assert (goal / "a.txt").read_text() == "a"
