"""The client is installed with the server, and must not need it."""

import subprocess
import sys

THIRD_PARTY = ("litestar", "rocksdict", "eventsourcing", "croniter", "cyclopts", "structlog", "uvicorn", "yaml", "rich")
OURS = ("domain", "commands", "projections", "streams", "api")
FORBIDDEN = [*THIRD_PARTY, *(f"taskscheduler.{name}" for name in OURS)]
SCRIPT = "import sys, taskscheduler.client; print(*sorted(sys.modules), sep='\\n')"


def test_importing_the_client_loads_no_server_code() -> None:
    command = [sys.executable, "-I", "-c", SCRIPT]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert "taskscheduler.client.worker" in loaded
    assert not [name for name in FORBIDDEN if name in loaded]
