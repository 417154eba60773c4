"""What holds for every history of a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.backfill import MAX_BACKFILL_RUNS
from taskscheduler.domain.decide import decide
from taskscheduler.domain.decision import Accepted, Record, apply
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.evolve import evolve
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, MAX_BACKFILLS, Task, UsedKey, run_due, wakeup, without_runs
from taskscheduler.streams.codec import decode_record, encode_record
from tests.support.books import Books
from tests.support.ledger import Ledger
from tests.support.moves import KINDS, WAITS, Dice, command, definition

START = 1_772_000_000_000  # February 2026: the clocks change within the first weeks
POLICY = msg.Policy(keep_runs=20 * 86_400_000, keep_deleted=5 * 86_400_000)

MOVES = st.lists(
    st.tuples(st.integers(0, KINDS - 1), st.integers(0, len(WAITS) - 1), st.integers(0, 1 << 30)), max_size=40
)


class Step(NamedTuple):
    command: msg.Command
    now: int
    before: Task
    events: tuple[ev.Event, ...]
    after: Task


def history(first: int, moves: list[tuple[int, int, int]], keyed: bool = False) -> Iterator[Step]:
    """The decisions that a row of moves leads to, refused ones left out; only domain errors may be raised."""
    task, now = Task("a"), START
    asked: msg.Command
    for number, (kind, wait, seed) in enumerate([(KINDS - 1, 0, first), *moves]):
        if (pause := WAITS[wait]) is None:
            now = max(now, wakeup(task) or now)
            asked = msg.Wake()
        else:
            now += pause
            asked = command(kind, Dice(seed), task, now)
        if not number:
            asked = msg.Create(definition(Dice(seed), now))
        key = msg.Key(f"k{seed % 5}", str(kind)) if keyed and seed % 2 else None
        try:
            decided = decide(task, asked, msg.Context(now, seed, key=key), POLICY)
        except DomainError:
            continue
        before = task
        if decided.events:
            task = apply(task, decided.events, now)
        yield Step(asked, now, before, decided.events, task)


@given(st.integers(0, 1 << 30), MOVES)
@settings(max_examples=300, deadline=None)
def test_every_nominal_time_is_accounted_for_exactly_once(first: int, moves: list[tuple[int, int, int]]) -> None:
    ledger = Ledger()
    for step in history(first, moves):
        ledger.record(step.events)
        ledger.check(step.after, step.now)


@given(st.integers(0, 1 << 30), MOVES, st.integers(0, 1 << 30))
@settings(max_examples=300, deadline=None)
def test_the_ledger_balances_after_every_decision(first: int, moves: list[tuple[int, int, int]], cut: int) -> None:
    books, counted = Books(), Ledger()
    for step in history(first, moves):
        counted.record(step.events)
        counted.check(step.after, step.now)
        if step.events:
            record = Record(
                stream=stream_of("a"),
                record_id="r",
                expected_version=step.before.version,
                recorded_at=step.now,
                events=step.events,
            )
            books.record(Accepted(0, 1, step.now, record, step.before, step.after))
        ledger = books.ledger(step.after, step.now)
        assert ledger.balanced, ledger.differences
        if step.after.definition is not None:
            fired, skipped = ledger.fired + ledger.caught_up, sum(ledger.skipped.values())
            assert (fired, skipped) == (counted.scheduled, counted.skipped)
        assert ledger.nominal == ledger.accounted
        assert ledger.owed + ledger.pending == len(counted.open)
        # A ledger of a part of the time is that part of the ledger.
        at = START + cut % (step.now - START + 2)
        older, newer = books.ledger(step.after, step.now, end=at), books.ledger(step.after, step.now, start=at)
        assert older.balanced and newer.balanced
        for name in ("nominal", "fired", "caught_up", "owed", "pending", "to_come"):
            assert getattr(older, name) + getattr(newer, name) == getattr(ledger, name), name


@given(st.integers(0, 1 << 30), MOVES)
@settings(max_examples=150, deadline=None)
def test_a_due_wake_moves_the_wakeup_past_now(first: int, moves: list[tuple[int, int, int]]) -> None:
    for step in history(first, moves):
        due = wakeup(step.after)
        # What is created to run now is only queued by the trigger that follows.
        assert due is None or due > step.now or isinstance(step.command, msg.Create)
        if due is None:
            continue
        now = max(due, step.now)
        woken = decide(step.after, msg.Wake(), msg.Context(now, 1), POLICY)
        assert woken.events
        following = wakeup(woken.task)
        assert following is None or following > now
        assert decide(woken.task, msg.Wake(), msg.Context(now, 2), POLICY).events == ()


@given(st.integers(0, 1 << 30), MOVES)
@settings(max_examples=100, deadline=None)
def test_a_wake_too_soon_decides_nothing(first: int, moves: list[tuple[int, int, int]]) -> None:
    for step in history(first, moves):
        due = wakeup(step.after)
        if due is None or due > step.now:
            now = step.now if due is None else due - 1
            assert decide(step.after, msg.Wake(), msg.Context(now, 1), POLICY).events == ()


@given(st.integers(0, 1 << 30), MOVES, st.booleans())
@settings(max_examples=150, deadline=None)
def test_replay_gives_the_same_state(first: int, moves: list[tuple[int, int, int]], keyed: bool) -> None:
    replayed, state = Task("a"), Task("a")
    for step in history(first, moves, keyed):
        if not step.events:
            assert step.after == step.before
            continue
        record = Record(
            stream="task/a",
            record_id="r",
            expected_version=step.before.version,
            recorded_at=step.now,
            wakeup=wakeup(step.after),
            events=step.events,
        )
        decoded = decode_record(encode_record(record))
        assert decoded == record
        replayed = apply(replayed, decoded.events, decoded.recorded_at)
        state = step.after
        assert replayed == state
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Task) == state


@given(st.integers(0, 1 << 30), MOVES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_versions_count_decisions_and_revisions_changes(
    first: int, moves: list[tuple[int, int, int]], keyed: bool
) -> None:
    for step in history(first, moves, keyed):
        assert step.after.version == step.before.version + bool(step.events)
        changes = sum(isinstance(event, ev.TaskUpdated) for event in step.events)
        if any(isinstance(event, ev.TaskCreated | ev.TaskPurged) for event in step.events):
            continue
        assert step.after.revision == step.before.revision + changes


@given(st.integers(0, 1 << 30), MOVES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_state_is_bounded_and_consistent(first: int, moves: list[tuple[int, int, int]], keyed: bool) -> None:
    for step in history(first, moves, keyed):
        task = step.after
        assert len(task.runs) <= MAX_ACTIVE_RUNS
        assert task.dues == {run.id: due for run in task.runs.values() if (due := run_due(run)) is not None}
        for run in task.runs.values():
            assert run.status in ("queued", "running", "retrying")
            assert (run.retry_at is not None) == (run.status == "retrying")
            assert (run.available_at is not None) == (run.status == "queued")
            assert [a.number for a in run.attempts] == list(range(1, len(run.attempts) + 1))
            ended = run.attempts if run.status != "running" else run.attempts[:-1]
            assert all(attempt.outcome is not None for attempt in ended)
        counts = task.counts
        assert counts.fired == counts.succeeded + counts.failed + counts.cancelled + len(task.runs)
        if task.backlog is not None:
            assert task.backlog.next < task.backlog.until
            assert task.runs or task.pause is not None
        assert len(task.backfills) <= MAX_BACKFILLS
        assert task.backfilling == sum(run.backfill_id is not None for run in task.runs.values()) <= MAX_BACKFILL_RUNS
        # The runs have rows of their own.
        assert len(msgspec.msgpack.encode(without_runs(task))) < 20_000


@given(st.integers(0, 1 << 30), MOVES)
@settings(max_examples=100, deadline=None)
def test_an_attempt_is_claimed_once_and_ended_once(first: int, moves: list[tuple[int, int, int]]) -> None:
    claimed: set[tuple[str, int]] = set()
    ended: set[tuple[str, int]] = set()
    for step in history(first, moves):
        for event in step.events:
            if isinstance(event, ev.AttemptClaimed):
                assert (event.run_id, event.number) not in claimed
                claimed.add((event.run_id, event.number))
            elif isinstance(event, ev.AttemptSucceeded | ev.AttemptFailed | ev.AttemptReleased):
                assert (event.run_id, event.number) in claimed - ended
                ended.add((event.run_id, event.number))


@given(st.integers(0, 1 << 30), MOVES)
@settings(max_examples=50, deadline=None)
def test_deciding_is_deterministic(first: int, moves: list[tuple[int, int, int]]) -> None:
    assert list(history(first, moves)) == list(history(first, moves))


def simple(at: int) -> Definition:
    return Definition(name="t", schedule=OneTime(at=at), target=NoopTarget())


INSTANTS = st.integers(-(1 << 52), 1 << 52)
RUN_IDS = st.sampled_from(["r1", "r2", "r3"])
ANY_EVENT: st.SearchStrategy[ev.Event] = st.one_of(
    *(
        st.builds(
            kind,
            **{
                name: strategy
                for name, strategy in {
                    "at": INSTANTS,
                    "run_id": RUN_IDS,
                    "number": st.integers(0, 4),
                    "definition": st.builds(
                        Definition,
                        name=st.just("t"),
                        schedule=st.builds(OneTime, at=INSTANTS),
                        target=st.just(NoopTarget()),
                    ),
                    "next_fire": st.none() | INSTANTS,
                    "retry_at": st.none() | INSTANTS,
                    "nominal_at": INSTANTS,
                    "nominal_until": st.none() | INSTANTS,
                }.items()
                if name in kind.__struct_fields__
            },
        )
        for kind in ev.Event.__args__  # type: ignore[attr-defined]
    )
)


@given(st.integers(0, 1 << 30), MOVES, st.lists(ANY_EVENT, max_size=30))
@settings(max_examples=200, deadline=None)
def test_evolve_takes_any_event_on_any_state(
    first: int, moves: list[tuple[int, int, int]], events: list[ev.Event]
) -> None:
    task = Task("a")
    for step in history(first, moves):
        task = step.after
    for event in events:
        task = evolve(task, event)
        wakeup(task)
        assert task.status
        assert task.last_run is None or task.last_run.id
    assert isinstance(task.keys, dict)
    assert all(isinstance(used, UsedKey) for used in task.keys.values())
