"""Crontabs, as crontab(5) of Debian (vixie-cron) describes them, with CRON_TZ as cronie has it."""

from __future__ import annotations

import re
from collections import Counter

from taskscheduler.api.migration.entries import Entry, Options, Reading, label, stable_id
from taskscheduler.domain.values import Instant

_VARIABLE = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s=]+))\s*=\s*(.*)""", re.S)
_MACRO = re.compile(r"(@\S+)(?:[ \t]+(.*))?", re.S)
_FIELDS = re.compile(r"((?:\S+[ \t]+){4}\S+)(?:[ \t]+(.*))?", re.S)
_WORD = re.compile(r"(\S+)(?:[ \t]+(.*))?", re.S)
_COMMAND = re.compile(r"(?:\\.|[^%])*", re.S)
_PERCENT = re.compile(r"(?<!\\)%")
_LONE = re.compile("[\udc80-\udcff]")

_ABOUT = {
    "MAILTO": "nobody is mailed: the outcome of every run is kept with the run instead",
    "TZ": "is given to the commands; it does not change when they run (CRON_TZ does)",
}


def read_crontab(
    text: str, options: Options, *, system: bool, user: str | None, timezone: str, now: Instant
) -> Reading:
    """Every line as a task, or refused with the reason.

    `system`: the sixth column is a user. `user`: whose crontab it is. `timezone`: of lines above any CRON_TZ.
    """
    table = _Table(options, system, user, timezone, now)
    for number, line in enumerate(text.split("\n"), 1):
        table.read(number, line.strip(" \t\r"))
    return table.reading


def command_and_stdin(text: str) -> tuple[str, str | None]:
    r"""What the shell runs, and what it reads: from the first `%` on, with `%` for newlines; `\%` is a percent sign."""
    written = str(_COMMAND.findall(text)[0])
    command = written.replace("\\%", "%")
    if len(written) == len(text):
        return command, None
    stdin = _PERCENT.sub("\n", text[len(written) + 1 :]).replace("\\%", "%")
    return command, stdin if not stdin or stdin.endswith("\n") else f"{stdin}\n"


class _Table:
    """Lines read one after another: a variable holds for all lines below it."""

    def __init__(self, options: Options, system: bool, user: str | None, timezone: str, now: Instant) -> None:
        self.reading = Reading(now)
        self._options = options
        self._system = system
        self._user = user
        self._timezone = timezone
        self._environment: dict[str, str] = {}
        self._seen: Counter[tuple[str, ...]] = Counter()

    def read(self, number: int, line: str) -> None:
        if not line or line.startswith("#"):
            return
        if _LONE.search(line):
            self.reading.refuse(number, _LONE.sub("�", line), "it is not UTF-8")
        elif (variable := _VARIABLE.fullmatch(line)) is not None:
            self._set(number, variable[1] or variable[2] or variable[3] or "", variable[4].strip())
        else:
            self._job(number, line)

    def _set(self, number: int, name: str, value: str) -> None:
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        self._environment[name] = value
        if name in _ABOUT:
            self.reading.notes.append(f"line {number}: {name}: {_ABOUT[name]}")

    def _job(self, number: int, line: str) -> None:
        # cronie lets a line begin with - to keep it out of its log.
        bare = line.removeprefix("-")
        match = (_MACRO if bare.startswith("@") else _FIELDS).fullmatch(bare)
        if match is None:
            found = len(bare.split())
            self.reading.refuse(
                number, line, f"expected five fields for the time and then a command, found {found} words"
            )
            return
        schedule, rest, user = " ".join(match[1].split()), match[2] or "", self._user
        if self._system and (words := _WORD.fullmatch(rest)) is not None:
            user, rest = words[1], words[2] or ""
        if schedule.lower() == "@reboot":
            reason = "it runs when the machine starts, which is no time; let the service manager start it (a unit file)"
            self.reading.refuse(number, line, reason)
            return
        command, stdin = command_and_stdin(rest)
        if not command.strip():
            wanted = "a user and a command" if self._system else "a command"
            self.reading.refuse(number, line, f"{wanted} should follow the time, and there is none")
            return
        self._take(number, line, schedule, user, rest, command, stdin)

    def _take(
        self, number: int, line: str, schedule: str, user: str | None, written: str, command: str, stdin: str | None
    ) -> None:
        what = (user or "", schedule, written)
        self._seen[what] += 1
        payload: dict[str, object] = {"command": command, "shell": self._environment.get("SHELL", "/bin/sh")}
        if user is not None:
            payload["user"] = user
        if stdin is not None:
            payload["stdin"] = stdin
        if self._environment:
            payload["environment"] = dict(self._environment)
        options, zone = self._options, self._environment.get("CRON_TZ") or self._timezone
        delay = self._environment.get("RANDOM_DELAY", "")
        jitter = {"jitter": f"{delay}m"} if delay.isdecimal() and int(delay) else {}
        task = {
            "id": stable_id("cron", f"{user or ''} {command}", *what, str(self._seen[what])),
            "name": label(command),
            "schedule": {"cron": schedule, "timezone": zone, **jitter},
            "target": {"type": "queue", "queue": options.queue, "kind": options.kind},
            "payload": payload,
            "retry": {"max_attempts": 1},
            "timeout": options.timeout,
            "overlap": "allow_all",
            "tags": {"imported_from": "crontab"},
        }
        self.reading.take(Entry(number, line, task))
