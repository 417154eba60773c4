"""Who may use the cluster that all tests share: many files at once, or one that ill-treats it alone.

A file has its turn from the first of its tests that uses the cluster to its last test.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

import pytest

_turn: tuple[Path, TextIO] | None = None


def begin(item: pytest.Item) -> None:
    """Wait for the turn of a test's file, if the test uses the cluster."""
    global _turn
    alone = item.get_closest_marker("alone") is not None
    if not (alone or _uses(item)) or (_turn is not None and _turn[0] == item.path):
        return
    base = item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    file = (folder / "cluster.turn").open("w")
    fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    _turn = (item.path, file)


def end(item: pytest.Item, following: pytest.Item | None) -> None:
    """The turn is over with the last test of its file."""
    global _turn
    if _turn is not None and (following is None or following.path != item.path):
        _turn[1].close()
        _turn = None


def _uses(item: pytest.Item) -> bool:
    if "cluster" in getattr(item, "fixturenames", ()):
        return True
    parameters = getattr(item, "callspec", None)
    return parameters is not None and "cluster" in parameters.params.values()
