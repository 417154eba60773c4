"""The `exec` target in requests: a command for a worker that was started with a list of those that it may run."""

from __future__ import annotations

import re

from taskscheduler.api.body import join
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import ID, Schema, array, request, text
from taskscheduler.domain.definition import ExecTarget

MOST_ARGUMENTS = 100
LONGEST_ARGUMENT = 4_096
MOST_BYTES = 32 * 1024
MOST_VARIABLES = 50
LONGEST_PATH = 1_000

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OURS = frozenset(("TASK_ID", "RUN_ID", "ATTEMPT", "SCHEDULED_FOR"))


def read_exec(fields: Fields) -> ExecTarget:
    """The target; errors are collected in `fields.errors`."""
    queue = fields.id("queue", required=True)
    argv = _read_argv(fields)
    cwd = fields.text("cwd", 1, LONGEST_PATH)
    if cwd is not None and (not cwd.startswith("/") or "\0" in cwd):
        fields.error("cwd", "must be a whole path, such as /srv/jobs")
    return ExecTarget(queue=queue or "", argv=argv, env=_read_env(fields), cwd=cwd)


def _read_argv(fields: Fields) -> tuple[str, ...]:
    given = fields.take("argv", required=True)
    if given is None:
        return ()
    if isinstance(given, str):
        fields.error(
            "argv", 'must be a list of strings, such as ["rsync", "-a", "/data"]: there is no shell to split it'
        )
        return ()
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_ARGUMENTS:
        fields.error("argv", f"must be a list of 1 to {MOST_ARGUMENTS} strings")
        return ()
    pointer = join(fields.pointer, "argv")
    for place, argument in enumerate(given):
        if not isinstance(argument, str) or len(argument) > LONGEST_ARGUMENT or "\0" in argument:
            fields.errors.add(
                join(pointer, str(place)), f"must be a string of up to {LONGEST_ARGUMENT} characters, no NUL"
            )
            return ()
    if not given[0]:
        fields.errors.add(join(pointer, "0"), "must name a command")
    if sum(map(len, given)) > MOST_BYTES:
        fields.error("argv", f"must not be longer than {MOST_BYTES} characters together; send more as the payload")
    return tuple(given)


def _read_env(fields: Fields) -> dict[str, str]:
    given = fields.take("env")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > MOST_VARIABLES:
        fields.error("env", f"must be an object of at most {MOST_VARIABLES} strings")
        return {}
    pointer = join(fields.pointer, "env")
    for name, value in given.items():
        if not _VARIABLE.fullmatch(name):
            fields.errors.add(join(pointer, name), "is not the name of a variable")
        elif name in _OURS:
            fields.errors.add(join(pointer, name), "is set by the worker")
        elif not isinstance(value, str) or len(value) > LONGEST_ARGUMENT or "\0" in value:
            fields.errors.add(join(pointer, name), f"must be a string of up to {LONGEST_ARGUMENT} characters, no NUL")
    return given


SCHEMA: Schema = request(
    {
        "type": {"const": "exec"},
        "queue": ID,
        "argv": array(
            text(0, LONGEST_ARGUMENT),
            MOST_ARGUMENTS,
            minItems=1,
            description="The command as its worker lists it, then its arguments as they are: there is no shell.",
            examples=[["rsync", "-a", "/data/", "/backup/"]],
        ),
    },
    {
        "env": {
            "type": "object",
            "maxProperties": MOST_VARIABLES,
            "additionalProperties": text(0, LONGEST_ARGUMENT),
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"},
            "description": "Variables that its worker lets tasks set.",
        },
        "cwd": text(1, LONGEST_PATH, pattern="^/", description="Where to run it, if its worker lets tasks say so."),
    },
    title="A command",
    description="Run by `taskscheduler worker exec` of `queue`, if its list allows it. The payload is standard input.",
)
