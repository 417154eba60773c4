"""`doctor`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from taskscheduler.api.cli import checks
from taskscheduler.api.cli.checks import Finding
from taskscheduler.api.cli.configuration import SETTINGS, SettingsOptions
from taskscheduler.api.cli.errors import Failed, UsageError
from taskscheduler.api.cli.output import Columns, Format, say, show_all
from taskscheduler.api.settings import SettingsError

_COLUMNS: Columns = {
    "check": lambda finding: finding.check,
    "result": lambda finding: finding.result,
    "detail": lambda finding: finding.detail,
}


def doctor(
    settings: SettingsOptions = SETTINGS,
    *,
    accept_loss: Annotated[
        bool,
        Parameter(negative="", help="Make a damaged data directory usable, without what was written after the damage."),
    ] = False,
    yes: Annotated[bool, Parameter(negative="", help="Do not ask.")] = False,
    output: Annotated[Format | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Check this machine, the settings and the data directory, whose log is read from the beginning. Exit 1 if bad."""
    loaded = settings.load(check=False)
    path = loaded.settings.data_dir
    if accept_loss:
        _accept_loss(path, yes)
    findings = [*checks.machine(), *checks.data_directory(path), *checks.clock(path), *checks.port(loaded.settings)]
    try:
        loaded.settings.check()
        findings.append(Finding("settings", "ok", "they can be used"))
    except SettingsError as error:
        findings.append(Finding("settings", "failed", str(error)))
    findings.extend(log(path))
    show_all(findings, _COLUMNS, output)
    if any(finding.result == "failed" for finding in findings):
        raise Failed


def log(path: Path) -> Iterator[Finding]:
    """Whether everything in the data directory is as it was written."""
    if not path.is_dir() or not any(path.iterdir()):
        yield Finding("log", "ok", f"there is none in {path} yet")
        return
    from taskscheduler.api.bootstrap import FAMILIES
    from taskscheduler.api.claim_secret import kept_secret
    from taskscheduler.streams.rocksdb.database import Database
    from taskscheduler.streams.rocksdb.refusals import DataDirInUse, DataRefused
    from taskscheduler.streams.rocksdb.verify import verify

    try:
        kept_secret(path)
    except DataRefused as error:
        yield Finding("claim secret", "failed", str(error))
    try:
        with Database(path, FAMILIES) as database:
            found = verify(database)
    except DataDirInUse as error:
        yield Finding("log", "warning", f"not read: {error}")
    except DataRefused as error:
        yield Finding("log", "failed", str(error))
    else:
        for damage in found.damage:
            yield Finding("log", "failed", damage)
        if not found.damage:
            yield Finding("log", "ok", f"{found.rows} decisions, all as they were written")


def _accept_loss(path: Path, yes: bool) -> None:
    from taskscheduler.api.bootstrap import FAMILIES
    from taskscheduler.api.server import StartError
    from taskscheduler.streams.rocksdb.database import Database
    from taskscheduler.streams.rocksdb.refusals import DataRefused

    if not path.is_dir():
        raise UsageError(f"there is no data directory {path}")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("--accept-loss needs --yes where nobody can be asked")
        say(f"Everything written to {path} after the damage will be gone for good. Keep a copy of it first.")
        if input("Go on? Type yes: ").strip() != "yes":
            raise Failed
    try:
        # Opening drops what follows the damage, and closing writes a log that is whole.
        with Database(path, FAMILIES, accept_loss=True):
            pass
    except DataRefused as error:
        raise StartError(str(error)) from error
