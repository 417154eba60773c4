"""`task create` and `task update`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, Key, document, instant, json_value
from taskscheduler.api.cli.definition import NOTHING, TaskOptions
from taskscheduler.api.cli.errors import UsageError
from taskscheduler.api.cli.output import show
from taskscheduler.api.cli.views import TASK
from taskscheduler.api.cli.waiting import wait_for_first_run


def create(
    name: Annotated[str | None, Parameter(help="What people call the task.")] = None,
    *,
    id: Annotated[str | None, Parameter(help="Its id; without one the server makes one.")] = None,
    options: TaskOptions = NOTHING,
    file: Annotated[
        str | None, Parameter(name=["--file", "-f"], help="The task as JSON or YAML (- for standard input).")
    ] = None,
    wait: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Wait until the first run has ended; exit 1 if it failed."),
    ] = False,
    unique: Annotated[str | None, Parameter(help="A key that no other task has until this one has ended.")] = None,
    unique_period: Annotated[str | None, Parameter(help="With --unique: for so long instead.")] = None,
    on_conflict: Annotated[
        Literal["reject", "replace", "return_existing"] | None,
        Parameter(help="With --unique: what to do when another task has the key (default: fail)."),
    ] = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Create a task: `task create nightly --cron '0 2 * * *' --timezone Europe/Berlin --http https://example.org/`."""
    fields: dict[str, Any] = {} if file is None else document(file)
    fields.update({key: value for key, value in (("id", id), ("name", name)) if value is not None})
    fields.update(options.fields())
    if not fields.get("name"):
        raise UsageError("the task needs a name: taskscheduler task create NAME ...")
    if "target" not in fields:
        raise UsageError("say what to run: --http URL, --queue QUEUE --kind KIND, --kafka TOPIC, or --noop")
    if unique is not None:
        given = {"key": unique, "period": unique_period, "on_conflict": on_conflict}
        fields["unique"] = {name: value for name, value in given.items() if value is not None}
    elif unique_period is not None or on_conflict is not None:
        raise UsageError("--unique-period and --on-conflict go with --unique")
    if idempotency_key is not None:
        fields["idempotency_key"] = idempotency_key
    with common.client() as client:
        try:
            task = client.create_task(**fields)
        except TypeError as error:
            raise UsageError(f"--file {file}: {str(error).lower()}") from error
        if wait:
            wait_for_first_run(client, task.id, common)
        else:
            show(task, TASK, common.output)


def update(
    task_id: str,
    /,
    *,
    name: Annotated[str | None, Parameter(help="Another name.")] = None,
    options: TaskOptions = NOTHING,
    patch: Annotated[
        str | None, Parameter(help='A JSON merge patch, or @file: {"priority": null} gives a default back.')
    ] = None,
    effective_from: Annotated[
        str | None, Parameter(help="The new schedule holds for fire times from this instant on, not from now.")
    ] = None,
    keep_schedule: Annotated[
        bool, Parameter(negative="", show_default=False, help="Take a planned change of the schedule back.")
    ] = False,
    if_match: Annotated[int | None, Parameter(help="Only if the task is at this revision; else exit 4.")] = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Change the definition of a task: only what is named changes."""
    changes = {} if patch is None else json_value(patch, "--patch")
    if not isinstance(changes, dict):
        raise UsageError('--patch: write it as {"priority": 1}')
    if name is not None:
        changes["name"] = name
    changes.update(options.fields())
    if (then := instant(effective_from, "--effective-from")) is not None:
        changes["effective_from"] = then
    if keep_schedule:
        if "schedule" in changes:
            raise UsageError("--keep-schedule takes a planned change back; leave it out to give another schedule")
        changes["pending_schedule"] = None
    if not changes:
        raise UsageError("say what to change, such as --priority 1")
    with common.client() as client:
        task = client.update_task(task_id, changes, if_match=if_match, idempotency_key=idempotency_key)
    show(task, TASK, common.output)
