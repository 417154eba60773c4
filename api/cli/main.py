"""The commands there are, and what becomes of what goes wrong in one: a line on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from taskscheduler.api.cli.errors import FAILED, INTERRUPTED, OK, USAGE, Failed, exit_code, explain

_MODULES = "taskscheduler.api.cli."


def _release() -> str:
    from importlib.metadata import version

    return f"taskscheduler {version('taskscheduler')}"


def _worker(
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
    from taskscheduler.api.cli.work import worker

    worker(target, url, queue, concurrency)


def build() -> App:
    """The whole command line; each command's module is imported when the command is used."""
    app = App(
        name="taskscheduler",
        help="A durable scheduler: tasks that run once, every so often or by cron, and are never lost.",
        version=_release,
        help_format="plaintext",
    )
    task = App(name="task", help="Create, look at and change tasks.")
    schedule = App(name="schedule", help="Look at schedules.")
    operation = App(name="operation", help="Do something to many tasks at once.")
    calendar = App(name="calendar", help="Days that schedules may leave out.")
    dlq = App(name="dlq", help="Runs that failed for good: look at them, run them again, purge them.")
    limit = App(name="limit", help="How many runs at once, and how fast.")
    config = App(name="config", help="Look at the settings of the server.")
    cluster = App(name="cluster", help="Run a whole cluster on this machine.")
    flink = App(name="flink", help="The job that keeps the timers of a cluster.")
    replay = App(name="replay", help="Hold what was made of the log against it, make it anew, take the log elsewhere.")
    ledger = App(name="ledger", help="What became of every fire time.")
    worker = App(name="worker", help="Run workers that pull from a queue, and see those that run.")
    import_ = App(name="import", help="Make tasks of what other schedulers have: crontabs, CronJobs, beat schedules.")
    nouns = (worker, task, schedule, calendar, limit, dlq, operation, ledger, import_, cluster, flink, replay, config)
    for noun in nouns:
        app.command(noun)
    groups = {"": app, **{noun.name[0]: noun for noun in nouns}}
    for parent, name, target, help in _COMMANDS:
        groups[parent].command(_MODULES + target, name=name, help=help)
    worker.default(_worker)
    return app


_COMMANDS = (
    ("", "serve", "serve:serve", "Run the server until SIGTERM or Ctrl-C."),
    ("worker", "list", "workers:list_workers", "List the workers that were seen."),
    ("worker", "get", "workers:get", "Show a worker."),
    ("worker", "drain", "workers:drain", "Let a worker end what runs, take no more, and leave."),
    ("worker", "exec", "work:exec_", "Run a worker that runs commands, of a list."),
    ("", "doctor", "doctor:doctor", "Check this machine, the settings and the data directory."),
    ("", "completion", "completion:completion", "Print or install completion for bash, zsh or fish."),
    ("task", "create", "create:create", "Create a task."),
    ("task", "update", "create:update", "Change the definition of a task."),
    ("task", "get", "tasks:get", "Show a task."),
    ("task", "list", "tasks:list_tasks", "List tasks."),
    ("task", "cancel", "tasks:cancel", "Cancel a task and its active runs at once."),
    ("task", "pause", "tasks:pause", "Let nothing fire until resumed."),
    ("task", "resume", "fire_times:resume", "End a pause, and say what becomes of the fire times in it."),
    ("task", "purge-owed", "fire_times:purge_owed", "Skip the fire times that wait to run."),
    ("task", "backfill", "fire_times:backfill", "Run a task for fire times that are over."),
    ("task", "cancel-backfill", "fire_times:cancel_backfill", "Cancel a backfill and its active runs."),
    ("task", "trigger", "tasks:trigger", "Run a task now, whatever its schedule says."),
    ("task", "retry", "tasks:retry", "Run the last failed run of a task again."),
    ("task", "delete", "tasks:delete", "Delete a task; its history is kept for a while."),
    ("task", "runs", "history:runs", "List the runs of a task, newest first."),
    ("task", "events", "history:events", "List what happened to a task."),
    ("task", "watch", "history:watch", "Show events as they happen, of one task or of all."),
    ("task", "graph", "graph:graph", "Show what runs before and after a task."),
    ("task", "ledger", "ledger:task_ledger", "Count what became of a task's fire times."),
    ("task", "why", "ledger:why", "Say why a task did or did not run at an instant."),
    ("schedule", "preview", "schedules:preview", "Show when a schedule would fire."),
    ("dlq", "list", "dlq:list_letters", "List runs that failed for good, newest first."),
    ("dlq", "groups", "dlq:groups", "Count them by the type of their error."),
    ("dlq", "get", "dlq:get", "Show the whole story of one."),
    ("dlq", "retry", "dlq:retry", "Run one again, or many by a filter."),
    ("dlq", "purge", "dlq:purge", "Take one off the list, or many by a filter."),
    ("ledger", "check", "ledger:check", "Hold every fire time of all tasks against what became of it."),
    ("calendar", "put", "calendars:put", "Make a calendar, or let it be another one."),
    ("calendar", "get", "calendars:get", "Show a calendar, its days, and what uses it."),
    ("calendar", "list", "calendars:list_calendars", "List calendars."),
    ("calendar", "delete", "calendars:delete", "Delete a calendar that no task uses."),
    ("calendar", "import", "calendars:import_", "Make a calendar of an iCalendar file."),
    ("operation", "start", "bulk:start", "Do something to many tasks, or say to how many it would be done."),
    ("operation", "list", "bulk:list_operations", "List operations, the newest first."),
    ("operation", "get", "bulk:get", "Show an operation and how far it is."),
    ("operation", "cancel", "bulk:cancel", "Let an operation go no further."),
    ("limit", "set", "limits:set_limit", "Define a limit, or let it be another one."),
    ("limit", "get", "limits:get", "Show a limit, and how much of it is in use."),
    ("limit", "list", "limits:list_limits", "List limits."),
    ("limit", "delete", "limits:delete", "Take a limit away."),
    ("import", "crontab", "importing:crontab", "Make tasks of the lines of a crontab."),
    ("import", "k8s", "importing:k8s", "Make tasks of Kubernetes CronJobs."),
    ("import", "celery", "importing:celery", "Make tasks of a Celery beat schedule."),
    ("import", "tasks", "importing:tasks", "Make the tasks that an export wrote."),
    ("", "export", "exporting:export", "Write all tasks as JSON lines."),
    ("cluster", "up", "cluster:up", "Start Kafka, Cassandra, Flink and our own processes."),
    ("cluster", "down", "cluster:down", "Stop them; their data stays."),
    ("cluster", "status", "cluster:status", "Show what runs where, and how it is."),
    ("cluster", "fetch", "cluster:fetch", "Fetch the jars that a cluster needs."),
    ("flink", "submit", "flink:submit", "Start the job, from a savepoint or from the beginning of the log."),
    ("flink", "status", "flink:status", "Show how the job is."),
    ("flink", "savepoint", "flink:savepoint", "Save the state of the job."),
    ("flink", "stop", "flink:stop", "Save the state of the job and end it."),
    ("replay", "verify", "replay:verify", "Compare states, read models and timers with the log folded afresh."),
    ("replay", "rebuild", "replay:rebuild", "Make all read models anew from the log, then switch to them."),
    ("replay", "export", "replay_files:export", "Write all that is on the log into a file."),
    ("replay", "import", "replay_files:import_", "Append an export to an empty log."),
    ("config", "show", "configuration:show", "Show every setting, its value and where that comes from."),
)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    app = build()
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        sys.stderr.write("taskscheduler: the command line is not UTF-8\n")
        return USAGE
    try:
        result: Any = app(arguments, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError:
        return USAGE  # said already
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; what is still buffered must not raise again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Failed as failure:
        return failure.code
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        sys.stderr.write(f"taskscheduler: {explain(error)}\n")
        return code
    return result if isinstance(result, int) else OK


def main() -> None:
    """Entry point of the `taskscheduler` script."""
    raise SystemExit(run(sys.argv[1:]))
