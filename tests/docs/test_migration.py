"""The worker of the migration guide runs what an import made."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.api.cli.main import run
from taskscheduler.client import Client
from tests.e2e.serving import Serving

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "migration.md"

# Two show what they were given, and one fails.
CRONTAB = """\
GREETING='hello  '
0 0 1 1 *  echo "$GREETING$(cat)"%there%you
0 0 1 1 *  printf '\\%s' percent
0 0 1 1 *  echo wrong >&2; exit 3
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A real server."""
    server = Serving(tmp_path / "data")
    try:
        asyncio.run(server.start())
        yield server.url
    finally:
        server.end()


def worker_of_the_guide(folder: Path) -> Any:
    [code] = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    file = folder / "commands.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("commands_of_the_guide", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.worker


def test_commands_run_with_their_input_and_environment(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "crontab"
    file.write_text(CRONTAB)
    assert run(("import", "crontab", str(file), "--execute", "--url", url, "--timezone", "UTC", "-o", "json")) == 0
    ids = [row["task"]["id"] for row in json.loads(capsys.readouterr().out)["tasks"]]
    worker = worker_of_the_guide(tmp_path)
    worker.configure(base_url=url)

    async def work() -> list[int]:
        serving = asyncio.create_task(worker.run())
        codes = [await asyncio.to_thread(run, ("task", "trigger", one, "--wait", "--url", url)) for one in ids]
        worker.stop()
        await serving
        return codes

    assert asyncio.run(work()) == [0, 0, 1]
    with Client(url) as client:
        greeted, percent, failed = (client.run(one, client.runs(one).items[0].id) for one in ids)
    assert greeted.result == {"output": "hello  there\nyou\n"}
    assert percent.result == {"output": "percent"}
    assert (failed.status, len(failed.attempts)) == ("failed", 1)
    error = failed.attempts[0].error
    assert error is not None
    assert (error.type, error.message) == ("exit_3", "wrong\n")
