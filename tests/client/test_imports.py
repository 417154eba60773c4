"""The client is installed with the server, and must not need it."""

import subprocess
import sys

FORBIDDEN = [
    "litestar",
    "rocksdict",
    "eventsourcing",
    "croniter",
    "cyclopts",
    "structlog",
    "prometheus_client",
    "uvicorn",
    "yaml",
    "rich",
    "taskscheduler.domain",
    "taskscheduler.commands",
    "taskscheduler.projections",
    "taskscheduler.streams",
    "taskscheduler.api",
]
SCRIPT = "import sys, taskscheduler.client; print(*sorted(sys.modules), sep='\\n')"


def test_importing_the_client_loads_no_server_code() -> None:
    command = [sys.executable, "-I", "-c", SCRIPT]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert "taskscheduler.client.worker" in loaded
    assert not [name for name in FORBIDDEN if name in loaded]
