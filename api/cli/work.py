"""`worker`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.errors import UsageError

if TYPE_CHECKING:
    from taskscheduler.client import Worker


def worker(
    target: Annotated[str, Parameter(help="The worker as module:attribute, such as jobs:worker.")],
    /,
    *,
    url: Annotated[str | None, Parameter(env_var="TASKSCHEDULER_URL", help="The server.")] = None,
    queue: Annotated[str | None, Parameter(help="The queue to pull from.")] = None,
    concurrency: Annotated[int | None, Parameter(help="How many runs at a time.")] = None,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C: the first lets running handlers finish, a second one ends at once.

    What the options leave out is as the worker was made.
    """
    from taskscheduler.api import logs

    found = find(target)
    logs.configure()
    try:
        found.configure(base_url=url, queue=queue, concurrency=concurrency)
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
