"""A worker that runs commands: those that it was started with a list of, and nothing else."""

import asyncio
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from taskscheduler.client.allow import NotAllowed, check, check_directory, parse
from taskscheduler.client.command import Command, Ended, Limits
from taskscheduler.client.job import Fail, Job
from taskscheduler.client.worker import Worker

EXEC_KIND = "$exec"
TEMPORARY = 75
"""EX_TEMPFAIL of sysexits.h: try again later, whatever else is said."""

PROGRESS_SECONDS = 1.0
PROGRESS_BYTES = 2 * 1024
MESSAGE_BYTES = 800


class ExecWorker(Worker):
    """Runs the commands of tasks with an `exec` target.

    `allow` are rules as `taskscheduler.client.allow.parse` reads them. Commands get the environment `env`, of that of
    their task the variables in `accept_env`, and TASK_ID, RUN_ID, ATTEMPT, SCHEDULED_FOR. They run in `cwd`, or where
    their task says within `cwd_roots`. `give_up_on` are exit codes after which no other attempt is made. Whatever else
    is as for a Worker. Raises ValueError for a rule that is none.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        queue: str = "default",
        *,
        allow: Iterable[str],
        env: Mapping[str, str] | None = None,
        accept_env: Iterable[str] = (),
        cwd: str = "/",
        cwd_roots: Iterable[str] = (),
        limits: Limits | None = None,
        give_up_on: Iterable[int] = (),
        **worker: Any,
    ) -> None:
        super().__init__(base_url, queue, **worker)
        self._allowed = [parse(rule) for rule in allow]
        if not self._allowed:
            raise ValueError("name at least one command that may be run")
        self._env = dict(env or {})
        self._accept_env = frozenset(accept_env)
        self._cwd = cwd
        self._cwd_roots = tuple(cwd_roots)
        self._limits = limits or Limits()
        self._give_up_on = frozenset(give_up_on) - {TEMPORARY}
        self.handler(EXEC_KIND)(self._run_command)

    async def _run_command(self, job: Job) -> dict[str, Any]:
        asked = job.command
        if asked is None:
            raise NotAllowed("the run has no command", type="CommandNotAllowed")
        program = check(self._allowed, asked.argv)
        command = Command(
            program,
            asked.argv[1:],
            env=self._environment(job, asked.env),
            cwd=self._cwd if asked.cwd is None else check_directory(self._cwd_roots, asked.cwd),
            limits=self._limits,
        )
        data = b"" if job.payload is None else msgspec.json.encode(job.payload)
        said = asyncio.Event()
        telling = asyncio.create_task(_tell(job, command, said))
        try:
            ended = await command.run(data, said.set)
        except asyncio.CancelledError:
            # Whoever ended it hears what it has said so far; that the run is over is known already.
            why = job.cancelled.reason or "Cancelled"
            raise Fail(
                _message(f"ended: {why}", command.output.tail(MESSAGE_BYTES)), type=why, retryable=True
            ) from None
        except (OSError, ValueError) as error:
            raise Fail(f"{asked.argv[0]} cannot be started: {error}", type="CannotStart", retryable=True) from error
        finally:
            telling.cancel()
        return self._result(ended, command)

    def _result(self, ended: Ended, command: Command) -> dict[str, Any]:
        if ended.why is None and ended.code == 0:
            return {
                "exit_code": 0,
                "output_tail": ended.tail,
                "output_bytes": ended.output_bytes,
                "duration_seconds": round(ended.duration, 3),
            }
        tail = command.output.tail(MESSAGE_BYTES)
        if ended.why == "time":
            said = f"it did not end within {self._limits.time:g} s"
            raise Fail(_message(said, tail), type="TimedOut", retryable=True)
        if ended.why == "output":
            said = f"it has put out more than {self._limits.output} bytes"
            raise Fail(_message(said, tail), type="OutputTooLarge", retryable=False)
        if ended.code < 0:
            raise Fail(_message(f"ended by signal {-ended.code}", tail), type=f"Signal{-ended.code}", retryable=True)
        retryable = ended.code not in self._give_up_on
        raise Fail(_message(f"exit code {ended.code}", tail), type=f"Exit{ended.code}", retryable=retryable)

    def _environment(self, job: Job, asked: Mapping[str, str]) -> dict[str, str]:
        for name in asked:
            if name not in self._accept_env:
                raise NotAllowed(f"the variable {name!r} may not be set by tasks here", type="VariableNotAllowed")
        when = "" if job.scheduled_for is None else job.scheduled_for.isoformat().replace("+00:00", "Z")
        ours = {"TASK_ID": job.task_id, "RUN_ID": job.run_id, "ATTEMPT": str(job.attempt), "SCHEDULED_FOR": when}
        return {**self._env, **asked, **ours}


def environment(given: Iterable[str]) -> dict[str, str]:
    """Read `NAME=value`, or `NAME` for the value that this process has, if it has one. Raises ValueError."""
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name:
            raise ValueError(f"{one!r}: write it as NAME or NAME=value")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def size(text: str) -> int:
    """Read bytes: `512MiB`, `2GiB`, `65536`. Raises ValueError."""
    for unit, factor in (("KiB", 1024), ("MiB", 1024**2), ("GiB", 1024**3), ("", 1)):
        number = text.removesuffix(unit) if unit else text
        if (not unit or number != text) and number.isascii() and number.isdigit():
            return int(number) * factor
    raise ValueError(f"{text!r} is no size: write it as 512MiB")


def whole_seconds(seconds: float) -> int:
    """Seconds as the system counts those of a processor: whole ones, at least one."""
    return max(1, math.ceil(seconds))


async def _tell(job: Job, command: Command, said: asyncio.Event) -> None:
    while True:
        await said.wait()
        said.clear()
        output = command.output
        job.progress({"output_tail": output.tail(PROGRESS_BYTES), "output_bytes": output.total})
        await asyncio.sleep(PROGRESS_SECONDS)


def _message(what: str, tail: str) -> str:
    return f"{what}; its output ends with:\n{tail}" if tail.strip() else f"{what}; it has put out nothing"
