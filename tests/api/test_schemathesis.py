"""A stranger's tests: what schemathesis makes of the OpenAPI document is thrown at a running server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_serve import Server, server

__all__ = ["server"]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_undocumented_comes_back_whatever_is_sent(server: Server, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{server.url}/openapi.json",
        "--checks=" + ",".join(CHECKS),
        "--phases=examples,coverage,fuzzing,stateful",
        "--max-examples=10",
        "--exclude-path=/api/events",  # it never ends
        "--request-timeout=30",
        "--seed=1",
        "--generation-database=none",
        "--no-color",
    ]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=390)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
