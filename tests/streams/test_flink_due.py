"""What the job of Flink keeps of a stream is what a replica keeps, and its one timer asks until it is answered."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.commands.ports import Entry
from taskscheduler.domain.decision import Envelope, Record, Verdict
from taskscheduler.domain.entities import id_of
from taskscheduler.domain.events import TaskPaused
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import MINUTE, SECOND
from taskscheduler.streams.flink.due import BEHIND, LAST_TIMER, LONGEST_HOLD, Repeats, Watched, fired, judged
from taskscheduler.streams.flink.routing import routing_keys
from taskscheduler.streams.replica import Kept, Position, Replica
from tests.support.memory_log import MemoryLog

NOW = 1_800_000_000_000
REPEATS = Repeats()
NEW = Watched()


def record(stream: str = "task/a", version: int = 0, **more: object) -> Record:
    given = {"record_id": f"{stream}@{version}", "recorded_at": NOW, "events": (TaskPaused(at=1, by="ada"),), **more}
    return Record(stream=stream, expected_version=version, **given)  # type: ignore[arg-type]


def watched(record: Envelope, of: Watched = NEW, *, now: int = NOW, appended_at: int = NOW) -> Watched:
    after, verdict = judged(of, record, appended_at, now)
    assert verdict is Verdict.ACCEPTED
    return after


class Store:
    """A replica's store, in memory."""

    dirty = 0

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._position = Position()

    def load(self, task_id: str) -> Kept | None:
        return self._kept.get(task_id)

    def save(self, task_id: str, kept: Kept, run_ids: Iterable[str], keys: Iterable[str]) -> None:
        self._kept[task_id] = kept

    def position(self) -> Position:
        return self._position

    def set_position(self, position: Position) -> None:
        self._position = position

    def flush(self) -> int:
        return 0


DRAWN = st.tuples(
    st.sampled_from(["task/a", "task/b", "task/ü"]),
    st.sampled_from([0, 0, 0, 0, -1, 1, 7]),
    st.none() | st.integers(0, NOW + MINUTE),
    st.none() | st.integers(-3, 3),
)
"""Stream, how far the expected version is off, wakeup, and how long after its append the record was still valid."""


@given(drawn=st.lists(DRAWN, max_size=40))
async def test_it_keeps_what_a_replica_keeps(drawn: list[tuple[str, int, int | None, int | None]]) -> None:
    kept: dict[str, Watched] = {}
    entries = []
    for position, (stream, off, wakeup, slack) in enumerate(drawn, 1):
        before = kept.get(stream, Watched())
        at = NOW + position
        valid_until = None if slack is None else at + slack
        made = record(stream, before.version + off, record_id=f"r{position}", wakeup=wakeup, valid_until=valid_until)
        entries.append(Entry(0, position, at, made))
        kept[stream], _ = judged(before, made, at, NOW)
    store = Store()
    replica = Replica(MemoryLog(), store)
    if entries:
        replica.fold(entries)
    for stream, mine in kept.items():
        theirs = store.load(id_of(stream)) or Kept(Task(id_of(stream)))
        assert (mine.version, mine.wakeup, mine.chain) == (theirs.state.version, theirs.wakeup, theirs.chain)
    replica.flush()


@pytest.mark.parametrize(
    ("refused", "verdict"),
    [
        (record(version=0, wakeup=NOW + 9), Verdict.CONFLICT),
        (record(version=2, wakeup=None), Verdict.CONFLICT),
        (record(version=1, wakeup=NOW + 9, valid_until=NOW - 1), Verdict.EXPIRED),
    ],
)
def test_a_record_that_is_refused_changes_nothing(refused: Record, verdict: Verdict) -> None:
    before = watched(record(wakeup=NOW + 5))
    assert judged(before, refused, NOW, NOW) == (before, verdict)


def test_the_timer_is_where_the_wakeup_is_and_goes_with_it() -> None:
    state = watched(record(wakeup=NOW + 5))
    assert state.timer == NOW + 5
    state = watched(record(version=1, wakeup=NOW + 3), state)
    assert state.timer == NOW + 3
    state = watched(record(version=2), state)
    assert (state.version, state.timer) == (3, None)


def test_a_trigger_is_given_and_repeated_until_a_decision_moves_the_wakeup() -> None:
    state = watched(record(wakeup=NOW))
    at, waits = NOW, []
    for _ in range(8):
        state, trigger = fired(state, "task/a", at, at + 2, REPEATS)
        assert trigger is not None
        assert (trigger.stream, trigger.version, trigger.due_at, trigger.fired_at) == ("task/a", 1, NOW, at + 2)
        assert state.timer is not None
        waits.append(state.timer - at - 2)
        at = state.timer
    assert waits == [one * SECOND for one in (30, 60, 120, 240, 480, 600, 600, 600)]
    answered = watched(record(version=1, wakeup=NOW + MINUTE), state)
    assert (answered.timer, answered.waited) == (NOW + MINUTE, 0)
    assert fired(answered, "task/a", at, at, REPEATS) == (answered, None)


def test_a_decision_that_leaves_the_wakeup_does_not_answer_but_raises_the_version() -> None:
    state, _ = fired(watched(record(wakeup=NOW)), "task/a", NOW, NOW, REPEATS)
    state = watched(record(version=1, wakeup=NOW), state)
    assert state.timer == NOW + 30 * SECOND
    _, trigger = fired(state, "task/a", NOW + 30 * SECOND, NOW + 30 * SECOND, REPEATS)
    assert trigger is not None
    assert trigger.version == 2


def test_a_timer_that_is_not_the_one_set_gives_nothing() -> None:
    state = watched(record(wakeup=NOW + 5))
    assert fired(state, "task/a", NOW + 4, NOW + 5, REPEATS) == (state, None)
    assert fired(Watched(), "task/a", NOW, NOW, REPEATS) == (Watched(), None)


def test_a_first_trigger_is_given_however_late_but_a_late_repeat_is_put_off() -> None:
    late = NOW + 10 * MINUTE
    state, trigger = fired(watched(record(wakeup=NOW)), "task/a", NOW, late, REPEATS)
    assert trigger is not None
    assert state.timer is not None
    on_time = state.timer + BEHIND
    assert fired(state, "task/a", state.timer, on_time, REPEATS)[1] is not None
    behind = on_time + 1
    put_off, trigger = fired(state, "task/a", state.timer, behind, REPEATS)
    assert trigger is None
    assert put_off.timer == behind + 30 * SECOND
    assert fired(put_off, "task/a", put_off.timer, put_off.timer, REPEATS)[1] is not None


@pytest.mark.parametrize(
    ("distance", "hold"), [(0, 0), (999, 0), (1_000, 100), (30 * SECOND, 3 * SECOND), (24 * 60 * MINUTE, LONGEST_HOLD)]
)
def test_what_is_read_from_afar_waits_for_its_answer(distance: int, hold: int) -> None:
    appended_at = NOW - distance
    assert watched(record(wakeup=appended_at), appended_at=appended_at).timer == NOW + hold
    assert watched(record(wakeup=NOW + LONGEST_HOLD), appended_at=appended_at).timer == NOW + LONGEST_HOLD


@pytest.mark.parametrize("wakeup", [2**70, -(2**70)])
def test_an_instant_that_no_timer_can_have_does_no_harm(wakeup: int) -> None:
    state = watched(record(wakeup=wakeup))
    assert state.wakeup == wakeup
    assert state.timer == (LAST_TIMER if wakeup > 0 else NOW)


def test_state_of_another_release_is_read() -> None:
    decode = msgspec.json.Decoder(Watched).decode
    assert decode('{"version":3,"chain":"ab"}') == Watched(3, None, "ab")
    assert decode('{"version":3,"chain":"ab","of a later release":[1]}') == Watched(3, None, "ab")


@pytest.mark.parametrize("partitions", [1, 3, 4, 64])
def test_the_key_of_a_trigger_leads_kafkas_client_to_the_partition_meant(partitions: int) -> None:
    keys = routing_keys(partitions)
    everywhere = list(range(partitions))
    assert [DefaultPartitioner()(key.encode(), everywhere, everywhere) for key in keys] == everywhere
