"""`import crontab|k8s|celery|tasks`: what other schedulers have, as tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, contents
from taskscheduler.api.cli.errors import Failed, UsageError
from taskscheduler.api.cli.output import Columns, format_of, say, show, show_all
from taskscheduler.api.cli.views import schedule_text
from taskscheduler.api.migration.entries import Options, Reading, Refusal, Unreadable
from taskscheduler.api.migration.making import Row, looked_at, made, row
from taskscheduler.client import Unavailable

File = Annotated[str, Parameter(allow_leading_hyphen=True, help="The file (- for standard input).")]
SPOOL = ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/cron/tabs")
"""Where a crontab is named after its user."""

SYSTEM = ("/etc/crontab", "/etc/cron.d/")


@Parameter(name="*")
@dataclass(frozen=True)
class Doing:
    """Whether to do it."""

    plan: Annotated[bool, Parameter(negative="", help="Only tell what would be made; so it is without --execute.")] = (
        False
    )
    execute: Annotated[bool, Parameter(negative="", help="Do it; without this it is only told what would be done.")] = (
        False
    )


@Parameter(name="*")
@dataclass(frozen=True)
class Becoming:
    """What the file does not say of its tasks."""

    queue: Annotated[str, Parameter(help="The queue of the workers that are to run them.")] = "commands"
    kind: Annotated[str | None, Parameter(help="The handler of the workers.")] = None
    timezone: Annotated[str | None, Parameter(help="The zone of those that name none.")] = None
    timeout: Annotated[str, Parameter(help="How long an attempt may take, where the file does not say.")] = "1d"

    def options(self, kind: str | None) -> Options:
        """With the kind that is used where none was chosen."""
        return Options(self.queue, self.kind or kind, self.timezone, self.timeout)


DOING = Doing()
BECOMING = Becoming()


class Import(msgspec.Struct, frozen=True):
    """What was read, and what became of it or would."""

    file: str
    done: bool
    tasks: list[Row]
    refused: list[Refusal]
    notes: list[str]


_ROWS: Columns = {
    "line": lambda one: one.line,
    "id": lambda one: one.task["id"],
    "name": lambda one: one.task["name"],
    "schedule": lambda one: schedule_text(one.task.get("schedule")) + (", paused" if one.paused else ""),
    "state": lambda one: _state(one),
}


def crontab(
    file: File,
    *,
    system: Annotated[bool, Parameter(negative="", help="It has a column for the user, as /etc/crontab has.")] = False,
    user: Annotated[str | None, Parameter(help="Whose crontab it is, if it has no column for that.")] = None,
    becoming: Becoming = BECOMING,
    doing: Doing = DOING,
    common: Common = COMMON,
) -> None:
    """Make tasks of the lines of a crontab: `import crontab --system /etc/crontab`, then with `--execute`.

    Each becomes a task for a worker of the queue: the payload has command, shell, user, stdin and environment.
    """
    from taskscheduler.api.migration.crontab import read_crontab

    if system and user is not None:
        raise UsageError("--user goes with a crontab that has no column for it; with --system every line has one")
    if user is None and not system and str(Path(file).absolute().parent) in SPOOL:
        user = Path(file).name
    if not system and str(Path(file).absolute()).startswith(SYSTEM):
        say(f"{file} is a system crontab: with --system its sixth column is taken for the user")
    zone = becoming.timezone or _zone_of_machine()
    text = _contents(file, errors="surrogateescape")
    _bring(
        file,
        read_crontab(text, becoming.options("shell"), system=system, user=user, timezone=zone, now=_now()),
        doing,
        common,
    )


def k8s(file: File, *, becoming: Becoming = BECOMING, doing: Doing = DOING, common: Common = COMMON) -> None:
    """Make tasks of Kubernetes CronJobs: `kubectl get cronjobs -A -o yaml | taskscheduler import k8s -`.

    Each becomes a task for a worker of the queue: the payload has cronjob, image, command, args and environment.
    """
    from taskscheduler.api.migration.kubernetes import read_cronjobs

    _bring(file, _read(file, lambda text: read_cronjobs(text, becoming.options("container"), _now())), doing, common)


def celery(file: File, *, becoming: Becoming = BECOMING, doing: Doing = DOING, common: Common = COMMON) -> None:
    """Make tasks of a Celery beat schedule, in Python (which is parsed, never executed) or JSON.

    Each becomes a task for a worker of the queue: the payload has task, args and kwargs; the kind is the task's name.
    """
    from taskscheduler.api.migration.celery import tasks_of
    from taskscheduler.api.migration.celery_source import from_json, from_python

    def read(text: str) -> Reading:
        is_json = file.endswith(".json") or text.lstrip().startswith("{")
        return tasks_of((from_json if is_json else from_python)(text), becoming.options(None), _now())

    _bring(file, _read(file, read), doing, common)


def tasks(file: File, *, doing: Doing = DOING, common: Common = COMMON) -> None:
    """Make the tasks that `taskscheduler export` wrote."""
    from taskscheduler.api.migration.tasks import read_tasks

    _bring(file, _read(file, lambda text: read_tasks(text, _now())), doing, common)


def _bring(file: str, reading: Reading, doing: Doing, common: Common) -> None:
    if doing.plan and doing.execute:
        raise UsageError("--plan and --execute exclude each other")
    rows: list[Row] = []
    refused = list(reading.refused)
    with common.client() as client:
        work: Iterable[Row | Refusal]
        if doing.execute:
            work = made(client, reading.entries, _now())
        else:
            work = looked_at(client, reading.entries, _now())
        try:
            for one in work:
                if isinstance(one, Row):
                    rows.append(one)
                else:
                    refused.append(one)
        except Unavailable as error:
            if doing.execute:
                raise
            say(f"which of them are there already is not known: {error}")
            rows = [row(entry, "unknown") for entry in reading.entries]
    _tell(Import(file, doing.execute, rows, sorted(refused, key=lambda one: one.line or 0), reading.notes), common)
    if refused:
        raise Failed


def _tell(found: Import, common: Common) -> None:
    if format_of(common.output) == "table":
        show_all(found.tasks, _ROWS, "table")
    else:
        show(found, {}, common.output)
    name = "standard input" if found.file == "-" else found.file
    for one in found.tasks:
        for note in one.notes:
            say(f"{_where(name, one.line)}: {one.task['name']}: {note}")
    for note in found.notes:
        say(f"{name}: {note}")
    for refusal in found.refused:
        say(f"{_where(name, refusal.line)}: not taken: {refusal.entry}: {refusal.reason}")
    if not found.done:
        say("nothing was changed: --execute does it")


def _state(one: Row) -> str:
    if one.state == "there":
        return "there already"
    return f"there already, but other in {', '.join(one.differs)}" if one.state == "differs" else one.state


def _where(name: str, line: int | None) -> str:
    return name if line is None else f"{name}:{line}"


def _read(file: str, read: Any) -> Reading:
    try:
        reading: Reading = read(_contents(file))
    except Unreadable as error:
        raise UsageError(f"{file}: {error}") from error
    return reading


def _contents(file: str, errors: str = "strict") -> str:
    try:
        return contents(file).decode("utf-8", errors)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: it is not UTF-8: {error}") from error


def _zone_of_machine() -> str:
    from tzlocal import get_localzone_name

    zone = str(get_localzone_name() or "UTC")
    say(f"times are in {zone}, the zone of this machine: --timezone names another")
    return zone


def _now() -> int:
    return time.time_ns() // 1_000_000
