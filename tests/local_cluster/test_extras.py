"""Who installs the embedded scheduler gets nothing of the cluster's, and loads nothing of it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from taskscheduler.api.local_cluster.cluster import PACKAGES

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
EMBEDDED = "import taskscheduler.api.bootstrap, taskscheduler.api.server, taskscheduler.api.app, taskscheduler.api.cli"


def test_the_extra_names_what_the_cluster_looks_for() -> None:
    extras = PROJECT["optional-dependencies"]
    listed = " ".join(extras["cluster"] + extras["node"] + extras["kafka"])
    assert all(package in listed for package in PACKAGES.values())


def test_an_embedded_install_does_not_ask_for_it() -> None:
    assert not [wanted for wanted in PROJECT["dependencies"] if wanted.startswith(tuple(PACKAGES.values()))]


@pytest.mark.parametrize("module", [*PACKAGES, "taskscheduler.api.local_cluster"])
def test_an_embedded_server_does_not_load_it(module: str) -> None:
    code = f"{EMBEDDED}; import sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", code]).returncode == 0
