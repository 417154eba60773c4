"""`worker` and `worker exec`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.common import DEFAULT_URL
from taskscheduler.api.cli.errors import UsageError

if TYPE_CHECKING:
    from taskscheduler.client import Worker


def worker(target: str, url: str | None, queue: str | None, concurrency: int | None) -> None:
    """Run the worker that `module:attribute` names. Raises UsageError."""
    from taskscheduler.api import logs

    found = find(target)
    logs.configure()
    try:
        found.configure(base_url=url, queue=queue, concurrency=concurrency)
        found.run_forever()
    except ValueError as error:
        raise UsageError(str(error)) from error


def exec_(
    *,
    queue: Annotated[str, Parameter(help="The queue to pull from.")],
    allow: Annotated[
        list[str],
        Parameter(
            negative="", help="A command that may be run: /usr/bin/rsync, or sync='/usr/bin/rsync -a *'; repeatable."
        ),
    ],
    env: Annotated[
        list[str] | None, Parameter(negative="", help="A variable for commands, NAME or NAME=value; repeatable.")
    ] = None,
    accept_env: Annotated[
        list[str] | None, Parameter(negative="", help="A variable that tasks may set; repeatable.")
    ] = None,
    cwd: Annotated[str, Parameter(help="The directory that commands run in.")] = "/",
    accept_cwd: Annotated[
        list[str] | None, Parameter(negative="", help="A directory within which tasks may name theirs; repeatable.")
    ] = None,
    max_time: Annotated[str | None, Parameter(help="End commands after this long, whatever their task says.")] = None,
    kill_after: Annotated[str, Parameter(help="How long after TERM a command is killed.")] = "5s",
    max_memory: Annotated[str | None, Parameter(help="Address space of a command: 512MiB.")] = None,
    max_cpu: Annotated[str | None, Parameter(help="Processor time of a command.")] = None,
    max_output: Annotated[str, Parameter(help="End commands that put out more.")] = "100MiB",
    give_up_on: Annotated[
        list[int] | None, Parameter(negative="", help="An exit code that is not tried again; repeatable.")
    ] = None,
    url: Annotated[str, Parameter(env_var="TASKSCHEDULER_URL", help="The server.")] = DEFAULT_URL,
    concurrency: Annotated[int, Parameter(help="How many commands at a time.")] = 4,
    name: Annotated[str | None, Parameter(help="What this worker is called (default: host and process).")] = None,
    grace: Annotated[str, Parameter(help="How long commands may go on after SIGTERM.")] = "30s",
) -> None:
    """Run a worker that runs commands, until SIGTERM or Ctrl-C. Only those that --allow names, never through a shell.

    In a rule, words after the program are patterns for its arguments, one each: * and ? stand for any characters, ...
    at the end for any more arguments, and -- alone for none.
    """
    from taskscheduler.api import logs
    from taskscheduler.client import ExecWorker, Limits
    from taskscheduler.client.duration import seconds
    from taskscheduler.client.exec_worker import environment, size, whole_seconds

    logs.configure()
    try:
        limits = Limits(
            time=None if max_time is None else seconds(max_time),
            kill_after=seconds(kill_after),
            memory=None if max_memory is None else size(max_memory),
            cpu=None if max_cpu is None else whole_seconds(seconds(max_cpu)),
            output=size(max_output),
        )
        found = ExecWorker(
            url,
            queue,
            allow=allow,
            env=environment(env or ()),
            accept_env=accept_env or (),
            cwd=cwd,
            cwd_roots=accept_cwd or (),
            limits=limits,
            give_up_on=give_up_on or (),
            concurrency=concurrency,
            name=name,
            grace=grace,
        )
        found.run_forever()
    except ValueError as error:
        raise UsageError(str(error)) from error


def find(target: str) -> Worker:
    """The worker that `module:attribute` names; modules of the current directory can be named. Raises UsageError."""
    from taskscheduler.client import Worker

    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{target!r}: name the worker as module:attribute, such as jobs:worker")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise UsageError(f"there is no module {error.name!r} here or among what is installed") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Worker):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise UsageError(f"{target} is {kind}: it has to be a taskscheduler.client.Worker")
    return found
