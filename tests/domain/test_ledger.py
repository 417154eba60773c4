"""The ledger by hand: what schedules name, and what is said of it."""

from __future__ import annotations

from datetime import datetime

import pytest
from msgspec.structs import replace

from taskscheduler.domain.events import Backlog, SkipReason
from taskscheduler.domain.ledger import MOST_DIFFERENCES, Balance, Difference, Era, How, Ledger, Open, Settled
from taskscheduler.domain.schedule import Cron, Every, OneTime, next_after, nominal_of
from taskscheduler.domain.values import DAY, HOUR, MINUTE

START = 1_767_225_600_000
"""1 January 2026"""

HOURLY = Every(every=HOUR, anchor=START)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def row(time: int, how: How = "fired", reason: SkipReason | None = None) -> Settled:
    return Settled(time, time, 1, how, reason)


def hour(number: int) -> int:
    return START + number * HOUR


def ledger(eras: list[Era], rows: list[Settled], end: int, *, start: int = START, open: Open | None = None) -> Ledger:
    balance = Balance(eras, start, end, open or Open(end - 1, None))
    balance.settle(rows)
    return balance.close()


def test_each_time_is_told_by_what_became_of_it() -> None:
    rows = [row(hour(1)), row(hour(2), "caught_up"), row(hour(3), "skipped", "overlap"), row(hour(4))]
    open = Open(hour(8), hour(8), Backlog(hour(5), hour(7)))
    rows.append(row(hour(7), "skipped", "missed"))
    found = ledger([Era(HOURLY, START)], rows, hour(11), open=open)
    assert found == Ledger(
        nominal=10,
        fired=2,
        caught_up=1,
        skipped={"overlap": 1, "missed": 1},
        owed=2,
        pending=1,
        to_come=2,
        differing=0,
        differences=[],
    )
    assert found.balanced
    assert found.accounted == 10


def test_what_vanished_is_named_as_one_stretch() -> None:
    rows = [row(hour(1)), row(hour(4)), row(hour(6))]
    found = ledger([Era(HOURLY, START)], rows, hour(7), open=Open(hour(6), hour(7)))
    said = "no run, no skip, and it is not to come"
    assert found.differences == [
        Difference(hour(2), hour(3), 2, 0, said),
        Difference(hour(5), hour(5), 1, 0, said),
    ]
    assert (found.nominal, found.accounted, found.differing, found.balanced) == (6, 3, 3, False)


def test_what_was_settled_twice_or_named_by_nobody_is_told() -> None:
    rows = [row(hour(1)), row(hour(1)), row(hour(1) + MINUTE), row(hour(2))]
    found = ledger([Era(HOURLY, START)], rows, hour(3), open=Open(hour(2), hour(3)))
    assert [(one.first, one.nominal, one.accounted) for one in found.differences] == [
        (hour(1), 1, 2),
        (hour(1) + MINUTE, 0, 1),
    ]
    assert (found.fired, found.differing) == (2, 2)


def test_a_stretch_counts_for_as_many_times_as_lie_in_the_range() -> None:
    stretch = Settled(hour(1), hour(200), 200, "skipped", "paused")
    era = Era(HOURLY, START)
    assert ledger([era], [stretch], hour(201), open=Open(hour(200), hour(201))).skipped == {"paused": 200}
    assert ledger([era], [stretch], hour(9), start=hour(4), open=Open(hour(200), hour(201))).skipped == {"paused": 5}
    wrong = Settled(hour(1), hour(200), 199, "skipped", "paused")
    found = ledger([era], [wrong], hour(201), open=Open(hour(200), hour(201)))
    assert [(one.nominal, one.accounted) for one in found.differences] == [(200, 199)]
    assert not found.balanced


def test_a_stretch_after_one_of_its_times_was_settled_is_told() -> None:
    rows = [row(hour(3)), Settled(hour(3), hour(110), 108, "skipped", "missed")]
    found = ledger([Era(HOURLY, START)], rows, hour(111), start=hour(3), open=Open(hour(110), hour(111)))
    assert [one.detail for one in found.differences] == ["some of these were settled more than once"]


def test_one_schedule_after_another() -> None:
    other = Every(every=40 * MINUTE, anchor=hour(2))
    eras = [Era(HOURLY, START, hour(2)), Era(other, hour(2), hour(3)), Era(OneTime(at=hour(2)), hour(3), hour(3))]
    # The hour at which the first was replaced is still its own; a one-time schedule names a time that is past.
    rows = [row(hour(1)), row(hour(2)), row(hour(2)), row(hour(2) + 40 * MINUTE)]
    found = ledger(eras, rows, hour(9))
    assert (found.nominal, found.fired, found.differences) == (4, 4, [])
    assert not ledger(eras, rows[:2] + rows[3:], hour(9)).balanced


def test_what_is_open_under_one_schedule_is_not_under_the_one_before() -> None:
    # Paused, a one-time task waits for a time before the last of the schedule that it replaced.
    eras = [Era(HOURLY, START, hour(3)), Era(OneTime(at=hour(1)), hour(3))]
    for open in (Open(hour(4), hour(1)), Open(hour(4), None, Backlog(hour(1), hour(9)))):
        found = ledger(eras, [row(hour(1)), row(hour(2))], hour(5), open=open)
        assert [one.first for one in found.differences] == [hour(3)]
        assert found.pending + found.owed == 1


def test_a_time_that_is_settled_before_it_is_due_leaves_the_others_open() -> None:
    found = ledger([Era(HOURLY, START)], [row(hour(1)), row(hour(4))], hour(6), open=Open(hour(2), hour(2)))
    assert (found.fired, found.pending, found.to_come, found.balanced) == (2, 1, 2, True)


def test_what_has_come_long_ago_and_was_not_looked_at_is_told() -> None:
    open = Open(hour(5), hour(2), forgotten_before=hour(4))
    found = ledger([Era(HOURLY, START)], [row(hour(1))], hour(7), open=open)
    assert (found.pending, found.to_come, found.differing) == (2, 1, 2)
    assert [(one.first, one.nominal) for one in found.differences] == [(hour(2), 2)]
    jittered = replace(HOURLY, jitter=50 * MINUTE, salt=3)
    fires = range_of(jittered, START, 5)
    open = Open(fires[4], fires[1], forgotten_before=fires[3])
    found = ledger([Era(jittered, START)], [row(hour(1))], hour(7), open=open)
    assert (found.pending, found.to_come, found.differing) == (2, 1, 2)


def test_a_planned_change_ends_one_schedule_and_begins_another() -> None:
    other = Every(every=10 * MINUTE, anchor=START)
    eras = [Era(HOURLY, START, before=hour(3)), Era(other, hour(3) - 1, planned=True)]
    found = ledger(eras, [row(hour(1))], hour(4), open=Open(hour(1), hour(2)))
    assert (found.nominal, found.fired, found.to_come, found.differences) == (8, 1, 7, [])
    waiting = ledger(eras, [row(hour(1)), row(hour(2))], hour(4), open=Open(hour(3) + 1, hour(3)))
    assert (waiting.fired, waiting.pending, waiting.to_come, waiting.balanced) == (2, 1, 5, True)
    # Without the change the task would wait for the third hour.
    assert ledger(eras, [row(hour(1)), row(hour(2))], hour(4), open=Open(hour(2), None)).balanced


def test_a_schedule_that_ended_names_nothing_more() -> None:
    ended = [Era(HOURLY, START, hour(3))]
    rows = [row(hour(n)) for n in (1, 2, 3)]
    assert ledger(ended, rows, hour(99)).balanced
    late = ledger(ended, [*rows, row(hour(4))], hour(99))
    assert [(one.first, one.nominal, one.accounted) for one in late.differences] == [(hour(4), 0, 1)]


def test_a_task_that_waits_for_nothing_or_for_another_time_is_told() -> None:
    era = [Era(HOURLY, START)]
    rows = [row(hour(1)), row(hour(2))]
    forgotten = ledger(era, rows, hour(3), open=Open(hour(2), None))
    assert [(one.first, one.detail) for one in forgotten.differences] == [
        (hour(3), "it will come, and the task does not wait for it")
    ]
    astray = ledger(era, rows, hour(3), open=Open(hour(2), hour(3) - 1))
    assert [one.first for one in astray.differences] == [hour(3) - 1]
    # One-time schedules have nothing more to come.
    assert ledger([Era(OneTime(at=hour(1)), START)], [row(hour(1))], hour(9)).balanced


def test_times_that_jitter_puts_off_are_told_by_their_nominal_time() -> None:
    schedule = Every(every=HOUR, anchor=START, jitter=59 * MINUTE, salt=7)
    fires = range_of(schedule, START, 12)
    nominal = [nominal_of(schedule, fire) for fire in fires]
    assert nominal == [hour(n) for n in range(1, 13)]
    put_off = next(n for n, fire in enumerate(fires) if fire > nominal[n])
    now = fires[put_off] - 1
    rows = [row(time) for time in nominal[:put_off]]
    open = Open(now, fires[put_off])
    found = ledger([Era(schedule, START)], rows, hour(13), open=open)
    assert (found.fired, found.pending, found.to_come, found.differences) == (put_off, 0, 12 - put_off, [])
    # Replaced before it fired, it is none of the schedule's times any more.
    ended = ledger([Era(schedule, START, now)], rows, hour(13), open=open)
    assert (ended.nominal, ended.differences) == (put_off, [])


def test_a_day_of_each_clock_change() -> None:
    berlin = Cron("30 2 * * *", "Europe/Berlin", gap="skip", fold="both")
    since = at("2026-03-28T12:00+01:00")
    spring = ledger([Era(berlin, since)], [], at("2026-03-30T12:00+02:00"), start=since, open=Open(since, since + DAY))
    assert spring.nominal == 1
    since = at("2026-10-24T12:00+02:00")
    autumn = ledger([Era(berlin, since)], [], at("2026-10-26T12:00+01:00"), start=since, open=Open(since, since + DAY))
    assert autumn.nominal == 3


@pytest.mark.parametrize("gap", [1, 2])
def test_only_so_many_differences_are_named_but_all_are_counted(gap: int) -> None:
    rows = [row(hour(n)) for n in range(1, 1000) if n % (gap + 1) == 0]
    found = ledger([Era(HOURLY, START)], rows, hour(1000), open=Open(hour(999), hour(1000)))
    assert len(found.differences) == MOST_DIFFERENCES
    assert found.differing == found.nominal - found.fired == 999 - len(rows)


def range_of(schedule: Every, since: int, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        fire = next_after(schedule, since)
        assert fire is not None
        found.append(fire)
        since = fire
    return found
