"""Live events of a log with several partitions: places, resuming, gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator

from taskscheduler.domain.decision import Record
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.events import TaskResumed
from taskscheduler.streams.hub import Hub, LiveEvent


def record(task_id: str, version: int = 0) -> Record:
    return Record(
        stream=stream_of(task_id),
        record_id="r",
        expected_version=version,
        recorded_at=1,
        events=(TaskResumed(at=1, by="me"),),
    )


async def given(events: AsyncIterator[LiveEvent], count: int) -> list[tuple[str, str, bool]]:
    return [((live := await anext(events)).id, live.task_id, live.gap) for _ in range(count)]


async def test_a_place_has_a_position_for_each_partition_and_can_be_resumed_from() -> None:
    hub = Hub(2)
    for partition, position, task_id in ((1, 1, "b"), (0, 1, "a"), (1, 2, "c")):
        hub.remember(partition, position, record(task_id))
    assert await given(hub.subscribe([0, 0]), 3) == [("0.1", "b", False), ("1.1", "a", False), ("1.2", "c", False)]
    assert await given(hub.subscribe(hub.place("1.0")), 2) == [("1.1", "b", False), ("1.2", "c", False)]


async def test_another_instance_that_folded_in_another_order_goes_on_without_a_loss() -> None:
    other = Hub(2)
    for partition, position, task_id in ((0, 1, "a"), (1, 1, "b"), (1, 2, "c")):
        other.remember(partition, position, record(task_id))
    assert await given(other.subscribe([0, 1]), 2) == [("1.1", "a", False), ("1.2", "c", False)]


async def test_a_gap_in_any_partition_is_told_once() -> None:
    hub = Hub(2, past=2)
    hub.begin(0, 7)
    for partition, position, task_id in ((1, 1, "lost"), (1, 2, "b"), (0, 8, "a")):
        hub.remember(partition, position, record(task_id))
    assert await given(hub.subscribe([7, 0]), 2) == [("7.2", "b", True), ("8.2", "a", False)]
    assert await given(hub.subscribe([6, 2]), 1) == [("8.2", "a", True)]
    assert await given(hub.subscribe([7, 1]), 1) == [("7.2", "b", False)]


async def test_nothing_is_missing_where_the_log_was_read_up_to_somewhere_before() -> None:
    hub = Hub(2)
    hub.begin(0, 7)
    hub.remember(0, 8, record("a"))
    assert await given(hub.subscribe([7, 0]), 1) == [("8.0", "a", False)]


def test_what_is_no_place_of_this_log_is_none() -> None:
    hub = Hub(2)
    assert hub.place("3.4") == [3, 4]
    assert [hub.place(text) for text in ("3", "1.2.3", "a.1", "1.-2", "1.²", "1." + "9" * 19, "")] == [None] * 7


async def test_what_is_about_no_task_is_passed_over_and_leaves_no_gap() -> None:
    hub = Hub(1)
    for position, id in enumerate(("a", "calendar/holidays", "b"), start=1):
        hub.remember(0, position, record(id))
    assert await given(hub.subscribe([0]), 2) == [("1", "a", False), ("3", "b", False)]
