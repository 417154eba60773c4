"""Calendars: what a decision on one makes of it, and how the tasks that use it follow."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.calendar import Calendar, calendar_id, decide
from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import apply
from taskscheduler.domain.definition import DefinitionPatch
from taskscheduler.domain.entities import empty, id_of, rules_of, stream_of
from taskscheduler.domain.errors import CalendarNotFound, KeyReused, RevisionMismatch, WrongState
from taskscheduler.domain.excluded import ExceptCalendar, ExceptDays
from taskscheduler.domain.schedule import Cron, Every, OneTime
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import SECOND
from tests.domain.scenario import HOUR, HOURLY, START, CatchUp, Scenario, at, created

CHRISTMAS, NEW_YEAR = "2026-12-25", "2027-01-01"


class Calendars:
    """One calendar whose decisions are taken one after another."""

    def __init__(self) -> None:
        self.state = Calendar(calendar_id("holidays"))
        self.now = START

    def when(self, command: msg.Command, *, key: msg.Key | None = None, if_match: int | None = None) -> Decided:
        self.now += 1
        decided = decide(self.state, command, msg.Context(self.now, 1, "ada", key, if_match), msg.Policy())
        if decided.events:
            before, self.state = self.state, apply(self.state, decided.events, self.now)
            assert self.state == replace(decided.calendar, version=before.version + 1, recorded_at=self.now)
        return decided


def define(*days: str, note: str = "") -> msg.DefineCalendar:
    return msg.DefineCalendar(CalendarDefinition(dates=days, note=note), ResolvedDays(days, len(days)))


def test_a_calendar_is_made_changed_and_deleted() -> None:
    one = Calendars()
    assert (one.state.exists, one.state.name) == (False, "holidays")
    one.when(define(CHRISTMAS))
    made = one.state
    assert made.resolved == ResolvedDays((CHRISTMAS,), 1)
    assert (made.version, made.defined, made.created_version) == (1, 1, 1)
    assert made.created_at == made.updated_at == START + 1
    [event] = one.when(define(CHRISTMAS, NEW_YEAR)).events
    assert event == ev.CalendarDefined(START + 2, CalendarDefinition(dates=(CHRISTMAS, NEW_YEAR)), one.state.resolved)
    assert (one.state.defined, one.state.created_version) == (2, 1)
    assert (one.state.created_at, one.state.updated_at) == (START + 1, START + 2)
    [gone] = one.when(msg.DeleteCalendar()).events
    assert gone == ev.CalendarDeleted(START + 3, by="ada")
    assert (one.state.exists, one.state.resolved, one.state.version) == (False, None, 3)
    one.when(define(CHRISTMAS))
    assert (one.state.defined, one.state.created_version, one.state.created_at) == (4, 4, START + 4)


def test_what_is_there_already_is_not_defined_again() -> None:
    one = Calendars()
    one.when(define(CHRISTMAS))
    assert one.when(define(CHRISTMAS)).events == ()
    assert len(one.when(define(CHRISTMAS, note="why")).events) == 1
    renewed = msg.DefineCalendar(
        CalendarDefinition(dates=(CHRISTMAS,), note="why"), ResolvedDays((CHRISTMAS,), 1, 2026)
    )
    assert len(one.when(renewed).events) == 1, "holidays of more years are other days, even of the same definition"


def test_what_is_not_there_cannot_be_deleted() -> None:
    one = Calendars()
    with pytest.raises(CalendarNotFound):
        one.when(msg.DeleteCalendar())
    one.when(define(CHRISTMAS))
    one.when(msg.DeleteCalendar())
    with pytest.raises(CalendarNotFound):
        one.when(msg.DeleteCalendar())


def test_only_at_the_version_that_is_insisted_on() -> None:
    one = Calendars()
    one.when(define(CHRISTMAS))
    one.when(define(NEW_YEAR), key=msg.Key("k", "f"))
    for command in (define(CHRISTMAS), msg.DeleteCalendar()):
        with pytest.raises(RevisionMismatch, match="at version 2"):
            one.when(command, if_match=1)
    one.when(define(CHRISTMAS), if_match=2)
    one.when(msg.DeleteCalendar(), if_match=3)


def test_a_key_is_good_for_one_request() -> None:
    one = Calendars()
    key = msg.Key("k", "one")
    one.when(define(CHRISTMAS), key=key)
    again = one.when(define(CHRISTMAS), key=key)
    assert again.events == ()
    assert again.replayed is not None
    assert again.replayed.verb == "create"
    with pytest.raises(KeyReused):
        one.when(define(NEW_YEAR), key=msg.Key("k", "two"))
    one.when(define(CHRISTMAS), key=msg.Key("other", "one"))
    assert (one.state.version, one.state.defined) == (2, 1), "a key that is used changes no day"


def test_nothing_else_can_be_asked_of_a_calendar() -> None:
    with pytest.raises(WrongState):
        Calendars().when(msg.Trigger())


def test_streams_are_told_by_their_ids() -> None:
    assert (stream_of("a"), id_of("task/a")) == ("task/a", "a")
    assert stream_of("calendar/a") == id_of("calendar/a") == "calendar/a"
    assert (empty("a"), empty("calendar/a")) == (Task("a"), Calendar("calendar/a"))
    for unknown in ("unknown/a", "a", "/a"):
        with pytest.raises(ValueError, match="stream"):
            id_of(unknown)
    with pytest.raises(ValueError, match="unknown/a"):
        rules_of("unknown/a")


def holidays(version: int, *days: str, name: str = "holidays") -> ExceptCalendar:
    return ExceptCalendar(name, version, days)


def using(*calendars: ExceptCalendar, cron: str = "0 * * * *") -> Scenario:
    return created(Cron(cron, excluded=(ExceptDays("2020-01-01", "2020-01-02"), *calendars)))


def held(task: Scenario) -> list[ExceptCalendar]:
    assert task.task.definition is not None
    return [one for one in task.task.definition.schedule.excluded if isinstance(one, ExceptCalendar)]


def test_a_task_follows_a_newer_version_of_a_calendar_that_it_uses() -> None:
    task = using(holidays(3, CHRISTMAS), holidays(7, name="other"))
    before = task.task
    task.when(msg.Follow(holidays(4, CHRISTMAS, NEW_YEAR)), "0:30").then("followed")
    assert held(task) == [holidays(4, CHRISTMAS, NEW_YEAR), holidays(7, name="other")]
    assert (task.task.revision, task.task.updated_at) == (before.revision, before.updated_at)
    assert task.task.next_fire == at("1:00")
    task.wakes("1:00")


@pytest.mark.parametrize("version", [1, 3])
def test_a_version_that_is_not_newer_changes_nothing(version: int) -> None:
    using(holidays(3, CHRISTMAS)).when(msg.Follow(holidays(version, NEW_YEAR)), "0:30").then()


def test_who_does_not_use_it_does_not_follow() -> None:
    created(HOURLY).when(msg.Follow(holidays(4)), "0:30").then()
    using(holidays(3, name="other")).when(msg.Follow(holidays(4)), "0:30").then()
    Scenario(Task("a"), msg.Policy()).when(msg.Follow(holidays(4)), "0:30").then()
    for end in (msg.Cancel(), msg.Delete()):
        using(holidays(3)).when(end, "0:10").when(msg.Follow(holidays(4)), "0:30").then()


def test_what_has_come_is_settled_first() -> None:
    using(holidays(3)).when(msg.Follow(holidays(4)), "1:00:10").then("queued schedule 1:00", "next 2:00", "followed")


def patch(*calendars: ExceptCalendar, **fields: object) -> msg.Update:
    schedule = Cron("0 * * * *", excluded=(ExceptDays("2020-01-01", "2020-01-02"), *calendars))
    return msg.Update(DefinitionPatch(schedule=schedule, **fields))  # type: ignore[arg-type]


def test_the_same_schedule_given_again_is_no_change_whatever_its_calendar_has_become() -> None:
    newer = using(holidays(3)).when(patch(holidays(4, NEW_YEAR)), "0:30").then("followed")
    assert (held(newer), newer.task.revision) == ([holidays(4, NEW_YEAR)], 1)
    older = using(holidays(3, CHRISTMAS)).when(patch(holidays(2)), "0:30").then()
    assert (held(older), older.task.revision) == ([holidays(3, CHRISTMAS)], 1)


def test_an_update_that_was_read_before_the_calendar_changed_does_not_take_days_back() -> None:
    task = using(holidays(3, CHRISTMAS)).when(patch(holidays(2), name="renamed"), "0:30").then("updated, next 1:00")
    assert held(task) == [holidays(3, CHRISTMAS)]
    task = using(holidays(3)).when(patch(holidays(4), name="renamed"), "0:30").then("followed", "updated, next 1:00")
    assert (held(task), task.task.revision) == ([holidays(4)], 2)


def test_how_many_runs_were_made_is_not_forgotten() -> None:
    schedule = Cron("0 * * * *", max_runs=2, excluded=(holidays(3),))
    task = created(schedule).wake("1:00").claim("1:00").complete("1:01").when(msg.Follow(holidays(4)), "1:30")
    assert task.task.scheduled == 1
    task.wake("2:00").then("queued schedule 2:00", "next -")
    task.claim("2:00").complete("2:01").when(msg.Follow(holidays(5)), "2:30").wakes(None)


def test_its_days_do_not_fire_and_what_is_given_back_does() -> None:
    day = "2026-01-02"
    task = using(holidays(1), cron="0 */6 * * *").wakes("6:00")
    task.when(msg.Follow(holidays(2, "2026-01-05")), "0:30").wakes("24:00")
    task.when(msg.Follow(holidays(3, day, "2026-01-05/2026-01-06")), "0:40").wakes("48:00")
    task.when(msg.Follow(holidays(4, day)), "7:00").then("followed").wakes("12:00")
    assert task.task.counts.skipped == 0, "what was left out when it came is no fire time"
    task.wake("12:00").then("queued schedule 12:00", "next 18:00")


def test_what_leaves_nothing_ends_the_schedule_until_it_leaves_something_again() -> None:
    schedule = Cron("0 */6 * * *", end_at=at("24:00") - 1, excluded=(holidays(1),))
    task = created(schedule).when(msg.Follow(holidays(2, "2026-01-05")), "0:30").wakes(None).status("completed")
    task.when(msg.Follow(holidays(3)), "7:00").wakes("12:00").status("scheduled")


def owing() -> Scenario:
    """A task that is behind: its fire times of 1:00 to 3:00 are caught up one after another."""
    schedule = Cron("0 * * * *", excluded=(holidays(1),))
    return created(schedule, catch_up=CatchUp("all", 10 * HOUR, 10)).wake("3:30")


def test_what_is_owed_stays_owed_where_its_days_stay() -> None:
    task = owing()
    assert task.events()[-2:] == ["queued catch_up 1:00", "next 4:00, backlog 2:00..3:30:00.001"]
    task.when(msg.Follow(holidays(2, "2026-01-07")), "3:40").then("followed")
    assert task.task.backlog is not None
    task.claim("3:41").complete("3:42")
    assert "queued catch_up 2:00" in task.events()


def test_what_is_owed_of_a_day_that_is_left_out_now_was_missed() -> None:
    task = owing().when(msg.Follow(holidays(2, "2026-01-05")), "3:40")
    task.then("skipped missed 2:00", "skipped missed 3:00", "next 4:00", "followed").wakes("24:00")


def test_other_days_that_are_as_many_are_other_fire_times() -> None:
    schedule = Every(12 * HOUR, START, anchored=True, excluded=(holidays(1, "2026-01-07"),))
    task = created(schedule).when(msg.Pause(), "1:00").when(msg.Follow(holidays(2, "2026-01-08")), "120:00")
    dropped = ["12:00", "24:00", "36:00", "72:00", "84:00", "96:00", "108:00", "120:00"]
    task.then(*(f"skipped paused {time}" for time in dropped), "next 132:00", "followed")


def test_a_calendar_is_followed_at_once_however_long_a_pause_has_been() -> None:
    schedule = Every(SECOND, START, anchored=True, excluded=(holidays(1),))
    task = created(schedule).when(msg.Pause(), "1:00")
    began = time.process_time()
    task.when(msg.Follow(holidays(2, "2026-06-01")), "720:00").then("followed")
    assert time.process_time() - began < 0.1
    assert task.task.next_fire == at("1:00:01"), "what came in the pause waits for its end"


def test_what_jitter_put_off_still_fires_unless_its_day_is_left_out() -> None:
    schedule = Cron("0 0 * * *", jitter=10 * HOUR, excluded=(holidays(1),))
    task = created(schedule, "-1:00")
    fire = task.task.next_fire
    assert fire is not None
    assert at("0:00") < fire, "the test needs one that is put off"
    kept = Scenario(task.task, msg.Policy()).when(msg.Follow(holidays(2, "2026-01-07")), "0:00:00.001")
    assert kept.task.next_fire == fire
    gone = Scenario(task.task, msg.Policy()).when(msg.Follow(holidays(2, "2026-01-05")), "0:00:00.001")
    assert gone.task.next_fire is not None
    assert gone.task.next_fire >= at("24:00")


def test_a_one_time_task_goes_by_a_calendar_until_its_time_has_come() -> None:
    once = OneTime(at("12:00"), "at", excluded=(holidays(1),))
    task = created(once).when(msg.Follow(holidays(2, "2026-01-05")), "1:00").wakes(None)
    task.when(msg.Follow(holidays(3)), "2:00").wakes("12:00")
    late = created(once).when(msg.Pause(), "1:00").wake("12:30").then()
    late.when(msg.Follow(holidays(2, "2026-01-07")), "12:35").then("followed").wakes(None)
    late.when(msg.Follow(holidays(3, "2026-01-05")), "12:40").then("skipped paused 12:00", "next -", "followed")
    late.when(msg.Resume(), "13:00").then("resumed").wakes(None)
