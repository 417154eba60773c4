"""Random histories of a few tasks, for properties."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import strategies as st

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, Definition, DefinitionPatch, NoopTarget
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.events import Error
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.limit_definition import Granted, LimitDefinition, limit_id
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.values import DAY, MINUTE, SECOND
from tests.projections.history import START, History

IDS = ("a", "b")

Step = Callable[[History], None]

_names = st.sampled_from(["one", "two", "Zwei", ""])
_tags = st.dictionaries(st.sampled_from(["team", "env", "env:x"]), st.sampled_from(["ops", "x:y", ""]), max_size=2)
_schedules: st.SearchStrategy[Schedule] = st.one_of(
    st.just(OneTime(at=0)),
    st.integers(0, 5).map(lambda n: OneTime(at=START + n * MINUTE, kind="at")),
    st.sets(st.sampled_from(["a", "holidays"])).map(
        lambda names: Every(
            every=MINUTE,
            anchor=START,
            anchored=True,
            excluded=tuple(ExceptCalendar(name, 1, ("1999-12-24",)) for name in sorted(names)),
        )
    ),
    st.sampled_from([10 * SECOND, MINUTE, DAY]).map(lambda every: Every(every=every, anchor=START, anchored=True)),
)
_definitions = st.builds(
    Definition,
    name=_names,
    schedule=_schedules,
    target=st.just(NoopTarget()),
    tags=_tags,
    retry=st.integers(1, 3).map(lambda n: Retry(max_attempts=n, jitter=0.0)),
    queue_timeout=st.sampled_from([None, None, 5 * MINUTE]),
    catch_up=st.builds(CatchUp, policy=st.sampled_from(["all", "latest", "none"]), limit=st.integers(1, 5)),
)
_patches = st.one_of(
    _names.map(lambda name: DefinitionPatch(name=name)),
    _tags.map(lambda tags: DefinitionPatch(tags=tags)),
    _schedules.map(lambda schedule: DefinitionPatch(schedule=schedule)),
)
_plain = st.sampled_from(
    [msg.Cancel(), msg.Delete(), msg.Pause(), msg.Resume(), msg.Trigger(), msg.Retry(), msg.Wake(), msg.Wake()]
)
_follows = st.builds(
    lambda name, version: msg.Follow(ExceptCalendar(name, version, (f"1999-12-{version:02}",))),
    st.sampled_from(["a", "holidays"]),
    st.integers(1, 9),
)
_of_fire_times: st.SearchStrategy[msg.Command] = st.one_of(
    st.sampled_from([msg.Resume(missed="latest"), msg.Resume(missed="all"), msg.PurgeOwed()]),
    st.builds(
        msg.Backfill,
        start=st.integers(0, 5).map(lambda n: START - n * MINUTE),
        until=st.just(START),
        overlap=st.sampled_from(["buffer_all", "allow_all"]),
    ),
    _schedules.flatmap(
        lambda schedule: st.integers(1, 3).map(
            lambda n: msg.Update(DefinitionPatch(schedule=schedule), START + n * 2 * MINUTE)
        )
    ),
)
_commands: st.SearchStrategy[msg.Command] = st.one_of(
    _definitions.map(msg.Create), _follows, _patches.map(msg.Update), _plain, _plain, _plain, _of_fire_times
)


def _command(task_id: str, command: msg.Command) -> Step:
    def step(history: History) -> None:
        with contextlib.suppress(DomainError):
            history.do(task_id, command)

    return step


def _advance(by: int) -> Step:
    def step(history: History) -> None:
        history.advance(by)

    return step


def _work(task_id: str, which: int, how: str) -> Step:
    """Wake, then claim one of the active runs, or complete, fail or lose it if it is running."""

    def step(history: History) -> None:
        history.wake(task_id)
        runs = list(history.task(task_id).runs.values())
        if not runs:
            return
        run = runs[which % len(runs)]
        if run.status == "queued":
            claim = msg.Claim(run_id=run.id, worker="worker", token_hash="hash", lease=30 * SECOND)
            history.do(task_id, claim)
        elif run.status == "running":
            held = (run.id, len(run.attempts), "hash")
            match how:
                case "complete":
                    history.do(task_id, msg.Complete(*held, result='"done"'))
                case "fail":
                    history.do(task_id, msg.Fail(*held, error=Error("Boom", "it broke")))
                case "give up":
                    history.do(task_id, msg.Fail(*held, error=Error("Bad", "it broke"), retryable=False))
                case _:
                    history.do(task_id, msg.Lose(*held))

    return step


def _dead_letter(task_id: str, purged: bool) -> Step:
    """Run the dead letter that the task has last again, or take it off the list."""

    def step(history: History) -> None:
        last = history.task(task_id).last_finished
        if last is None or last.status != "failed" or last.finished_at is None:
            return
        error = last.error or last.attempts[-1].error
        assert error is not None
        purge = msg.PurgeDeadLetter(last.id, last.finished_at, error.type)
        with contextlib.suppress(DomainError):
            history.do(task_id, purge if purged else msg.Retry(last.id))

    return step


def _report_late(task_id: str) -> Step:
    """What the holder of the attempt that a timer ended last may still say."""

    def step(history: History) -> None:
        for ended in history.task(task_id).unheard[-1:]:
            with contextlib.suppress(DomainError):
                history.do(task_id, msg.Complete(ended.run_id, ended.number, ended.token_hash, '"late"'))

    return step


def _calendar(name: str, days: tuple[str, ...] | None) -> Step:
    def step(history: History) -> None:
        with contextlib.suppress(DomainError):
            if days is None:
                history.undefine(name)
            else:
                history.define(name, *days)

    return step


def _limit(name: str, most: int | None, grants: str) -> Step:
    """Define a limit or delete it, then ask for slots, or release them."""

    def step(history: History) -> None:
        id = limit_id(name)
        with contextlib.suppress(DomainError):
            history.do(id, msg.DeleteLimit() if most is None else msg.DefineLimit(LimitDefinition(most)))
        wants = tuple(msg.Want(Granted(grant, "t", "r", 1), 3) for grant in grants)
        history.do(id, msg.GrantSlots(wants) if len(grants) > 1 else msg.ReleaseSlots(tuple(grants)))

    return step


_limits = st.builds(
    _limit, st.sampled_from(["key:a", "queue:q"]), st.sampled_from([1, 2, None]), st.sampled_from(["ab", "bcd", "a"])
)
_days = st.sampled_from([("2026-12-25",), ("2026-12-25", "2027-01-01"), (), None])
_calendars = st.builds(_calendar, st.sampled_from(["a", "holidays"]), _days)

_task_ids = st.sampled_from(IDS)
_hows = st.sampled_from(["complete", "complete", "fail", "give up", "lose"])
_times = st.sampled_from([1, SECOND, 31 * SECOND, MINUTE, 10 * MINUTE, DAY, 31 * DAY])

_works = st.builds(_work, _task_ids, st.integers(0, 3), _hows)
_step: st.SearchStrategy[Step] = st.one_of(
    st.builds(_command, _task_ids, _commands),
    _works,
    _works,
    _works,
    _calendars,
    st.builds(_dead_letter, _task_ids, st.booleans()),
    _task_ids.map(_report_late),
    _limits,
    _times.map(_advance),
    _times.map(_advance),
)


def _created(definitions: list[Definition]) -> list[Step]:
    return [_command(task_id, msg.Create(definition)) for task_id, definition in zip(IDS, definitions, strict=True)]


# Every history begins with its tasks and goes on for a while: left to itself, most of one would be about nothing.
steps: st.SearchStrategy[list[Step]] = st.builds(
    lambda created, rest: created + rest,
    st.lists(_definitions, min_size=len(IDS), max_size=len(IDS)).map(_created),
    st.lists(_step, min_size=15, max_size=60),
)
