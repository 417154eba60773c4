"""The options that describe a schedule and a task, as fields of a request."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from taskscheduler.api.cli.common import instant, json_value, pairs
from taskscheduler.api.cli.errors import UsageError


@Parameter(name="*")
@dataclass(frozen=True)
class ScheduleOptions:
    """When to run; without any of these, now and once."""

    at: Annotated[str | None, Parameter(help="Once, at this instant: 2030-01-31T08:00:00Z.")] = None
    delay: Annotated[str | None, Parameter(help="Once, after this long: 90s, 1h30m, PT2H.")] = None
    every: Annotated[str | None, Parameter(help="Again and again, this far apart: 15m; with --timezone also P1M.")] = (
        None
    )
    anchor: Annotated[str | None, Parameter(help="With --every: an instant from which the steps are counted.")] = None
    cron: Annotated[str | None, Parameter(help="By a cron expression of five to seven fields: '0 2 * * *'.")] = None
    rrule: Annotated[
        str | None, Parameter(help="By a recurrence rule of RFC 5545: 'FREQ=WEEKLY;INTERVAL=2;BYDAY=TU'.")
    ] = None
    dtstart: Annotated[
        str | None, Parameter(help="With --rrule: the local time at which it begins, such as 2030-01-31T09:00:00.")
    ] = None
    timezone: Annotated[
        str | None,
        Parameter(help="The zone by whose clock --cron goes (default UTC), or --every."),
    ] = None
    gap: Annotated[
        Literal["skip", "shift"] | None,
        Parameter(help="With --timezone: what becomes of local times that a clock change skips."),
    ] = None
    fold: Annotated[
        Literal["first", "last", "both"] | None,
        Parameter(help="With --timezone: which of times that come twice."),
    ] = None
    days: Annotated[
        Literal["and", "or"] | None, Parameter(help="With --cron: how day of month and day of week combine.")
    ] = None

    any: Annotated[
        list[str] | None,
        Parameter(negative="", help="One of several schedules that fire together, as JSON; repeatable."),
    ] = None
    except_: Annotated[
        list[str] | None,
        Parameter(
            name="--except",
            negative="",
            help="What does not fire: 2030-12-25, 2030-12-24/2031-01-02 (days or instants), or JSON; repeatable.",
        ),
    ] = None
    manual: Annotated[
        bool, Parameter(negative="", show_default=False, help="Never by itself: only after other tasks, or by hand.")
    ] = False
    start_at: Annotated[str | None, Parameter(help="No fire time before this instant.")] = None
    end_at: Annotated[str | None, Parameter(help="No fire time after this instant.")] = None
    max_runs: Annotated[int | None, Parameter(help="How many runs the schedule makes before it has ended.")] = None
    jitter: Annotated[str | None, Parameter(help="Put each fire time off by up to this long.")] = None

    def schedule(self) -> dict[str, Any] | None:
        """The schedule with its bounds, or None when no option says anything. Raises UsageError."""
        bounds = _given(
            {
                "start_at": instant(self.start_at, "--start-at"),
                "end_at": instant(self.end_at, "--end-at"),
                "max_runs": self.max_runs,
                "jitter": self.jitter,
                "except": None if self.except_ is None else [_exclusion(text) for text in self.except_],
            }
        )
        form = self._form()
        if form is None and bounds:
            names = [f"--{name.replace('_', '-')}" for name in bounds]
            raise UsageError(
                f"{' and '.join(names)} bound a schedule: say --at, --delay, --every, --cron or --rrule too"
            )
        return None if form is None else {**form, **bounds}

    def _form(self) -> dict[str, Any] | None:
        """The schedule without bounds, or None when no option says anything. Raises UsageError."""
        kinds = {
            "at": self.at,
            "delay": self.delay,
            "every": self.every,
            "cron": self.cron,
            "rrule": self.rrule,
            "any": self.any,
            "manual": self.manual or None,
        }
        given = [f"--{kind}" for kind, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other: a task has one schedule")
        if self.anchor is not None and self.every is None:
            raise UsageError("--anchor goes with --every")
        clocked = not {"--every", "--cron", "--rrule"}.isdisjoint(given)
        for name in ("gap", "fold"):
            if getattr(self, name) is not None and not clocked:
                raise UsageError(f"--{name} goes with --cron, --every or --rrule")
        if self.timezone is not None and not clocked and self.any is None:
            raise UsageError("--timezone goes with --cron, --every, --rrule or --any")
        if self.dtstart is not None and self.rrule is None:
            raise UsageError("--dtstart goes with --rrule")
        if self.days is not None and self.cron is None:
            raise UsageError("--days goes with --cron")
        if self.at is not None:
            return {"at": instant(self.at, "--at")}
        if self.delay is not None:
            return {"delay": self.delay}
        if self.every is not None:
            return _given({"every": self.every, "anchor": instant(self.anchor, "--anchor"), **self._clock()})
        if self.cron is not None:
            return _given({"cron": self.cron, **self._clock(), "days": self.days})
        if self.rrule is not None:
            return _given({"rrule": self.rrule, **self._clock(), "dtstart": self.dtstart})
        if self.manual:
            return {"manual": True}
        if self.any is not None:
            return _given({"any": [_json_object(text, "--any") for text in self.any], "timezone": self.timezone})
        return None

    def _clock(self) -> dict[str, Any]:
        dst = _given({"gap": self.gap, "fold": self.fold})
        return {"timezone": self.timezone, "dst": dst or None}


def _json_object(text: str, option: str) -> dict[str, Any]:
    value = json_value(text, option)
    if not isinstance(value, dict):
        raise UsageError(f'{option}: write it as JSON such as {{"cron": "0 2 * * *"}}')
    return value


def _exclusion(text: str) -> dict[str, Any]:
    if text.startswith(("{", "[", '"', "@")):
        return _json_object(text, "--except")
    first, slash, last = text.partition("/")
    return {"from": first, "to": last} if slash else {"date": text}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


NO_SCHEDULE = ScheduleOptions()


@Parameter(name="*")
@dataclass(frozen=True)
class TaskOptions(ScheduleOptions):
    """What to run, when and how."""

    http: Annotated[str | None, Parameter(help="Call this URL.")] = None
    method: Annotated[str | None, Parameter(help="With --http: the method (default POST).")] = None
    header: Annotated[
        list[str] | None, Parameter(negative="", help="With --http or --kafka: a header, name=value; repeatable.")
    ] = None
    bearer: Annotated[
        str | None, Parameter(help="With --http: the secret of the server that is sent as a bearer token.")
    ] = None
    sign: Annotated[
        str | None, Parameter(help="With --http: the secret of the server that requests are signed with.")
    ] = None
    queue: Annotated[str | None, Parameter(help="Give it to a worker of this queue.")] = None
    kind: Annotated[str | None, Parameter(help="With --queue: the handler that is to run it.")] = None
    exec: Annotated[
        str | None, Parameter(help="Run this command on a worker of --queue: 'rsync -a /data /backup', no shell.")
    ] = None
    env: Annotated[
        list[str] | None, Parameter(negative="", help="With --exec: a variable, name=value; repeatable.")
    ] = None
    cwd: Annotated[str | None, Parameter(help="With --exec: the directory to run it in.")] = None
    kafka: Annotated[str | None, Parameter(help="Produce it to this Kafka topic.")] = None
    key: Annotated[str | None, Parameter(help="With --kafka: the key of the message.")] = None
    noop: Annotated[bool, Parameter(negative="", show_default=False, help="Do nothing, successfully.")] = False
    payload: Annotated[str | None, Parameter(help="JSON, or @file, or @- for standard input.")] = None
    tag: Annotated[list[str] | None, Parameter(negative="", help="A tag, key=value; repeatable.")] = None
    priority: Annotated[int | None, Parameter(help="1 (first) to 9, default 5.")] = None
    timeout: Annotated[str | None, Parameter(help="How long an attempt may take, from its claim to its end.")] = None
    queue_timeout: Annotated[str | None, Parameter(help="How long a run may wait to be claimed.")] = None
    heartbeat_timeout: Annotated[
        str | None, Parameter(help="The longest time between two heartbeats of who runs it.")
    ] = None
    deadline: Annotated[str | None, Parameter(help="How long a run may take in all, retries included.")] = None
    retry: Annotated[str | None, Parameter(help="The retry policy: JSON or @file.")] = None
    max_attempts: Annotated[int | None, Parameter(help="How often a run is tried, the first time included.")] = None
    overlap: Annotated[
        Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"] | None,
        Parameter(help="What becomes of a fire time that comes while a run is active."),
    ] = None
    catch_up: Annotated[
        Literal["all", "latest", "none"] | None, Parameter(help="Which of the fire times missed meanwhile still run.")
    ] = None
    concurrency: Annotated[
        str | None, Parameter(help="key=limit: so many runs of all tasks with this key are active at once.")
    ] = None
    pause_on_failure: Annotated[
        int | None, Parameter(help="Pause the task after so many runs in a row that failed for good.")
    ] = None

    then: Annotated[
        list[str] | None, Parameter(negative="", help="A task that runs when a run of this succeeded; repeatable.")
    ] = None
    on_failure: Annotated[
        list[str] | None, Parameter(negative="", help="A task that runs when a run of this failed; repeatable.")
    ] = None
    after: Annotated[
        list[str] | None,
        Parameter(negative="", help="Run after runs of this task; of several, when all have ended; repeatable."),
    ] = None
    after_any: Annotated[
        bool, Parameter(negative="", show_default=False, help="With --after: whenever one of them has ended.")
    ] = False
    after_on: Annotated[
        Literal["success", "failure", "end"] | None, Parameter(help="With --after: which ends count (success).")
    ] = None

    def fields(self) -> dict[str, Any]:
        """The fields of the request that these options set. Raises UsageError."""
        found: dict[str, Any] = {}
        if (schedule := self.schedule()) is not None:
            found["schedule"] = schedule
        if (target := self.target()) is not None:
            found["target"] = target
        if self.payload is not None:
            found["payload"] = json_value(self.payload, "--payload")
        if self.tag is not None:
            found["tags"] = pairs(self.tag)
        if self.priority is not None:
            found["priority"] = self.priority
        for name in ("timeout", "queue_timeout", "heartbeat_timeout", "deadline"):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        if (retry := self._retry()) is not None:
            found["retry"] = retry
        if self.overlap is not None:
            found["overlap"] = self.overlap
        if self.catch_up is not None:
            found["catch_up"] = {"policy": self.catch_up}
        if self.concurrency is not None:
            key, _, limit = self.concurrency.rpartition("=")
            if not key or not limit.isdecimal():
                raise UsageError(f"--concurrency {self.concurrency!r}: write it as customer-42=2")
            found["concurrency"] = {"key": key, "limit": int(limit)}
        if self.pause_on_failure is not None:
            found["pause_on_failure"] = self.pause_on_failure
        found |= self._chain()
        return found

    def _chain(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.then is not None:
            found["then"] = self.then
        if self.on_failure is not None:
            found["on_failure"] = self.on_failure
        if self.after is not None:
            when = "any" if self.after_any else "all"
            found["after"] = {"tasks": self.after, "when": when, "on": self.after_on or "success"}
        elif self.after_any or self.after_on is not None:
            raise UsageError("--after-any and --after-on go with --after")
        return found

    def target(self) -> dict[str, Any] | None:
        """The target, or None when no option says anything. Raises UsageError."""
        given = [name for name, is_set in self._targets() if is_set]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other: a task has one target")
        if self.http is None and {self.method, self.bearer, self.sign, None} != {None}:
            raise UsageError("--method, --bearer and --sign go with --http")
        if self.http is None and self.kafka is None and self.header is not None:
            raise UsageError("--header goes with --http or --kafka")
        if self.queue is None and self.kind is not None:
            raise UsageError("--kind goes with --queue")
        if self.exec is None and (self.env is not None or self.cwd is not None):
            raise UsageError("--env and --cwd go with --exec")
        if self.kafka is None and self.key is not None:
            raise UsageError("--key goes with --kafka")
        headers = None if self.header is None else pairs(self.header, "header")
        if self.noop:
            return {"type": "noop"}
        if self.http is not None:
            auth = None if self.bearer is None else {"bearer": self.bearer}
            sign = None if self.sign is None else {"secret": self.sign}
            with_secrets = {"headers": headers, "auth": auth, "sign": sign}
            return _given({"type": "http", "url": self.http, "method": self.method, **with_secrets})
        if self.kafka is not None:
            return _given({"type": "kafka", "topic": self.kafka, "key": self.key, "headers": headers})
        if self.queue is not None:
            if self.exec is not None:
                return self._exec(self.exec, self.queue)
            if self.kind is None:
                raise UsageError("--queue goes with --kind, which names the worker's handler")
            return {"type": "queue", "queue": self.queue, "kind": self.kind}
        if self.exec is not None:
            raise UsageError("--exec goes with --queue, which names the workers that may run it")
        return None

    def _exec(self, command: str, queue: str) -> dict[str, Any]:
        if self.kind is not None:
            raise UsageError("--exec and --kind exclude each other: a task has one target")
        try:
            target: dict[str, Any] = {"type": "exec", "queue": queue, "argv": shlex.split(command)}
        except ValueError as error:
            raise UsageError(f"--exec {command!r}: {error}") from error
        if self.env is not None:
            target["env"] = pairs(self.env, "env")
        if self.cwd is not None:
            target["cwd"] = self.cwd
        return target

    def _targets(self) -> tuple[tuple[str, bool], ...]:
        named = {"--http": self.http, "--queue": self.queue, "--kafka": self.kafka}
        return (*((option, value is not None) for option, value in named.items()), ("--noop", self.noop))

    def _retry(self) -> dict[str, Any] | None:
        retry = None if self.retry is None else json_value(self.retry, "--retry")
        if retry is not None and not isinstance(retry, dict):
            raise UsageError('--retry: write it as {"max_attempts": 3}')
        if self.max_attempts is None:
            return retry
        return {**(retry or {}), "max_attempts": self.max_attempts}


NOTHING = TaskOptions()
