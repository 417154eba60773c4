"""What bounds schedules: from when to when, how many runs, and jitter."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given as of_any
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch
from taskscheduler.domain.schedule import (
    Cron,
    Every,
    NeverFires,
    OneTime,
    Schedule,
    count_between,
    first_fire,
    next_after,
    nominal_of,
    prev_before,
    resolve,
)
from tests.domain.scenario import DAY, HOUR, HOURLY, MINUTE, START, at, created, every, one_time

SPAN = 3 * DAY

PLAIN = st.sampled_from(
    [
        OneTime(at=START + HOUR, kind="at"),
        Every(every=25 * MINUTE, anchor=START - 7),
        Every(every=100, anchor=START + DAY),
        Every(every=5 * HOUR, anchor=START + 1, anchored=True),
        Cron("*/20 * * * *", "Europe/Berlin"),
        Cron("17 3,15 * * *"),
        Cron("0 0 1 1 *"),
    ]
)
EXACT = (HOUR, 25 * MINUTE - 7, DAY + 100, 5 * HOUR + 1, 3 * HOUR + 17 * MINUTE, 40 * MINUTE)
EDGE = st.one_of(st.none(), st.integers(START - DAY, START + SPAN), st.sampled_from([START + time for time in EXACT]))
JITTER = st.sampled_from([0, 1, 999, 40 * MINUTE, 7 * HOUR, 40 * DAY])


def walk(schedule: Schedule, since: int, until: int, most: int = 400) -> list[int]:
    """The fire times in since < t <= until, as far as `most` of them."""
    found: list[int] = []
    fire = next_after(schedule, since)
    while fire is not None and fire <= until and len(found) < most:
        found.append(fire)
        fire = next_after(schedule, fire)
    return found


@of_any(PLAIN, EDGE, EDGE)
@settings(max_examples=200, deadline=None)
def test_what_is_left_are_the_times_within_the_edges(plain: Schedule, start: int | None, end: int | None) -> None:
    bounded = replace(plain, start_at=start, end_at=end)
    since = START if start is None else max(START, start - 1)
    until = START + SPAN if end is None else min(START + SPAN, end)
    assert walk(bounded, START, START + SPAN) == walk(plain, since, until)


@of_any(PLAIN, EDGE, EDGE, JITTER, st.integers(0, 1 << 62), st.integers(0, SPAN), st.integers(0, SPAN))
@settings(max_examples=400, deadline=None)
def test_fire_times_can_be_walked_and_counted_both_ways(
    plain: Schedule, start: int | None, end: int | None, jitter: int, salt: int, one: int, other: int
) -> None:
    bounded = replace(plain, start_at=start, end_at=end, jitter=jitter, salt=salt)
    fires = walk(bounded, START, START + SPAN)
    for before, after in pairwise(fires):
        assert prev_before(bounded, after) == before
    low, high = sorted((START + one, START + other))
    if len(fires) < 400:
        assert count_between(bounded, low + 1, high + 1) == sum(low < fire <= high for fire in fires)
    for fire in fires:
        assert prev_before(bounded, fire + 1) == fire
        assert next_after(bounded, fire - 1) == fire


@of_any(PLAIN, JITTER, st.integers(0, 1 << 62))
@settings(max_examples=200, deadline=None)
def test_jitter_keeps_each_fire_between_its_time_and_the_next(plain: Schedule, jitter: int, salt: int) -> None:
    nominal = walk(plain, START, START + SPAN, 300)
    shifted = replace(plain, jitter=jitter, salt=salt)
    for time in nominal:
        following = next_after(plain, time)
        [fire] = [fire for fire in walk(shifted, time - 1, time + jitter, 3) if nominal_of(shifted, fire) == time]
        assert time <= fire <= time + jitter
        assert following is None or fire < following


def test_jitter_spreads_tasks_evenly_and_each_fire_anew() -> None:
    midnight = Cron("0 0 * * *", jitter=10 * MINUTE)
    minutes: Counter[int] = Counter()
    for number in range(2_000):
        fire = first_fire(resolve(midnight, START, START, f"task-{number}"), START)
        assert fire is not None
        minutes[(fire - START - DAY) // MINUTE] += 1
    assert set(minutes) <= set(range(11))
    # 200 are expected in each minute; five standard deviations are 67.
    assert all(133 < minutes[minute] < 267 for minute in range(10))
    mine = resolve(midnight, START, START, "task-1")
    assert mine == resolve(midnight, START + 5, START, "task-1")
    assert len({(fire - START) % DAY for fire in walk(mine, START, START + 30 * DAY)}) > 25


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        (replace(HOURLY, start_at=at("5:30")), "6:00"),
        (replace(HOURLY, start_at=at("6:00")), "6:00"),
        (replace(every(20 * MINUTE), start_at=at("5:05")), "5:05"),
        (Every(20 * MINUTE, at("0:00"), anchored=True, start_at=at("5:05")), "5:20"),
        (replace(HOURLY, end_at=at("1:00")), "1:00"),
        (replace(one_time("7:30"), end_at=at("7:30")), "7:30"),
    ],
)
def test_the_first_fire_time_within_bounds(schedule: Schedule, first: str) -> None:
    created(schedule, "0:10").then(f"created, next {first}").wakes(first)


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (replace(HOURLY, end_at=at("0:59")), "end_at"),
        (replace(HOURLY, start_at=at("5:01"), end_at=at("5:59")), "end_at"),
        (replace(one_time("7:30"), start_at=at("7:31")), "start_at"),
        (OneTime(at=0, kind="delay", delay=2 * HOUR, end_at=at("1:00")), "end_at"),
    ],
)
def test_bounds_that_leave_nothing_are_refused(schedule: Schedule, field: str) -> None:
    with pytest.raises(NeverFires) as refused:
        resolve(schedule, START, START, "a")
    assert refused.value.field == field
    kept = created(HOURLY)
    kept.when(msg.Update(DefinitionPatch(schedule=schedule)), "0:30").refused(errors.Invalid)


def test_after_the_end_the_task_is_completed() -> None:
    ended = created(replace(HOURLY, end_at=at("2:00"))).wake("1:00").claim().complete("1:01").wake("2:00")
    ended.then("queued schedule 2:00", "next -").claim().complete("2:01").status("completed").wakes(None)


def test_after_so_many_runs_the_schedule_has_ended() -> None:
    twice = created(replace(HOURLY, max_runs=2)).wake("1:00").then("queued schedule 1:00", "next 2:00")
    twice.wake("2:00").then("skipped overlap 2:00", "next 3:00")
    twice.claim("2:01").complete("2:02").when(msg.Trigger(), "2:40").claim().complete("2:41")
    twice.wake("3:00").then("queued schedule 3:00", "next -").claim().complete("3:01").status("completed").wakes(None)
    twice.when(msg.Trigger(), "4:00").then("queued manual 4:00")


def test_an_unchanged_schedule_goes_on_counting_and_another_begins_anew() -> None:
    once = replace(HOURLY, max_runs=1)
    done = created(once).wake("1:00").claim().complete("1:01")
    done.when(msg.Update(DefinitionPatch(schedule=once)), "1:10").then()
    done.when(msg.Update(DefinitionPatch(name="other")), "1:20").then("updated, next -")
    done.when(msg.Update(DefinitionPatch(schedule=replace(once, max_runs=2))), "1:30").then("updated, next 2:00")
    done.wake("2:00").then("queued schedule 2:00", "next 3:00")


def test_a_change_of_something_else_does_not_count_anew() -> None:
    twice = created(replace(HOURLY, max_runs=2)).wake("1:00").claim().complete("1:01")
    twice.when(msg.Update(DefinitionPatch(name="other")), "1:20").then("updated, next 2:00")
    twice.wake("2:00").then("queued schedule 2:00", "next -")


def test_what_is_owed_beyond_the_last_run_is_missed() -> None:
    late = created(replace(HOURLY, max_runs=2), catch_up=CatchUp("all", DAY)).wake("4:30")
    late.then(
        "next 5:00, backlog 1:00..4:30:00.001",
        "queued catch_up 1:00",
        "next 5:00, backlog 2:00..4:30:00.001",
    )
    late.claim().complete("4:31").then(
        "succeeded #1", "queued catch_up 2:00", "skipped missed 3:00", "skipped missed 4:00", "next -"
    )
    late.claim().complete("4:32").status("completed").wakes(None)


def test_nothing_waits_behind_the_last_run() -> None:
    # Two come at once: the first is the last that may run, and a buffer would let the other wait for its end.
    often = created(replace(every(20_000), max_runs=1), overlap="buffer_all").wake("0:00:45")
    often.then("queued schedule 0:00:20", "skipped missed 0:00:40", "next -")
    often.claim().complete("0:00:50").then("succeeded #1").status("completed")


def test_a_fire_with_jitter_tells_its_nominal_time() -> None:
    shifted = created(replace(HOURLY, jitter=30 * MINUTE), "0:10")
    fire = shifted.task.next_fire
    assert fire is not None and at("1:00") < fire <= at("1:30")
    shifted.wake(fire - 1).then().wake(fire)
    assert (shifted.run.scheduled_for, shifted.run.nominal_at) == (fire, at("1:00"))
    following = shifted.task.next_fire
    assert following is not None and at("2:00") <= following <= at("2:30")
    shifted.wake(following)
    assert shifted.task.last_skipped is not None
    assert shifted.task.last_skipped.nominal_at == at("2:00")
