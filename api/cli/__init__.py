"""The command line. Nothing heavy is imported here: `taskscheduler --help` answers at once."""

from __future__ import annotations

from taskscheduler.api.cli.main import main

__all__ = ["main"]
