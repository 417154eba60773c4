"""The end of a pause: which of the fire times that came in it run."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, DefinitionPatch
from taskscheduler.domain.state import MAX_ACTIVE_RUNS
from tests.domain.scenario import HOUR, HOURLY, MINUTE, Scenario, created, every, one_time, replace

SKIP = "skipped paused"


def resume(missed: str) -> msg.Resume:
    return msg.Resume(missed=missed)  # type: ignore[arg-type]


def paused(**fields: object) -> Scenario:
    """Paused at half past midnight; the catch-up window is shorter than anything that follows."""
    catch_up = CatchUp("none", MINUTE, 2)
    return created(HOURLY, **{"catch_up": catch_up, **fields}).when(msg.Pause(), "0:30")  # type: ignore[arg-type]


def test_the_latest_is_caught_up_whatever_the_policy_and_its_window() -> None:
    task = paused().when(resume("latest"), "3:30")
    task.then(f"{SKIP} 1:00", f"{SKIP} 2:00", "resumed, missed latest", "queued catch_up 3:00", "next 4:00")
    task.claim().complete("3:31").wake("4:00").then("queued schedule 4:00", "next 5:00")


def test_all_are_caught_up_one_after_another_within_the_limit() -> None:
    task = paused().when(resume("all"), "3:30")
    task.then(
        f"{SKIP} 1:00",
        "resumed, missed all",
        "next 4:00, backlog 2:00..3:30:00.001",
        "queued catch_up 2:00",
        "next 4:00, backlog 3:00..3:30:00.001",
    )
    task.claim().complete("3:31").then("succeeded #1", "queued catch_up 3:00", "next 4:00")
    assert (task.task.counts.fired, task.task.counts.skipped) == (2, 1)


@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
def test_a_pause_without_fire_times_leaves_nothing(missed: str) -> None:
    said = "resumed" if missed == "skip" else f"resumed, missed {missed}"
    paused().when(resume(missed), "0:40").then(said).wakes("1:00")


def test_a_resume_of_what_is_not_paused_changes_nothing() -> None:
    paused().when(resume("skip"), "1:30").when(resume("all"), "1:31").then()


def test_other_decisions_in_the_pause_settle_none_of_them() -> None:
    task = paused().when(msg.Trigger(), "1:30").then("queued manual 1:30").claim().complete("1:31").then("succeeded #1")
    task.when(msg.Update(DefinitionPatch(name="n")), "2:30").then("updated, next 1:00").wake("2:40").then()
    task.when(resume("all"), "2:50")
    task.then(
        "resumed, missed all",
        "next 3:00, backlog 1:00..2:50:00.001",
        "queued catch_up 1:00",
        "next 3:00, backlog 2:00..2:50:00.001",
    )


@pytest.mark.parametrize(
    ("overlap", "events"),
    [
        ("skip", ["resumed, missed latest", "skipped overlap 2:00", "next 3:00"]),
        ("buffer_one", ["resumed, missed latest", "next 3:00, backlog 2:00..2:00:00.001"]),
        ("buffer_all", ["resumed, missed latest", "next 3:00, backlog 2:00..2:30:00.001"]),
        ("cancel_other", ["resumed, missed latest", "run cancelled", "queued catch_up 2:00", "next 3:00"]),
        ("allow_all", ["resumed, missed latest", "queued catch_up 2:00", "next 3:00"]),
    ],
)
def test_overlap_holds_for_the_latest(overlap: str, events: list[str]) -> None:
    task = created(HOURLY, overlap=overlap).when(msg.Trigger(), "0:10").when(msg.Pause(), "0:30")
    task.when(resume("latest"), "2:30").then(f"{SKIP} 1:00", *events)


def test_what_waited_since_a_pause_is_caught_up_and_what_came_after_it_is_not() -> None:
    task = created(HOURLY, overlap="buffer_all").when(msg.Trigger(), "0:10").when(msg.Pause(), "0:30")
    task.when(resume("latest"), "1:30").wake("2:00").then("next 3:00, backlog 1:00..2:00:00.001")
    task.claim("2:10").complete("2:11")
    task.then("succeeded #1", "queued catch_up 1:00", "next 3:00, backlog 2:00..2:00:00.001")
    task.claim().complete("2:12").then("succeeded #1", "queued schedule 2:00", "next 3:00")


def test_all_join_what_was_owed_before_the_pause() -> None:
    task = created(HOURLY, overlap="buffer_all", catch_up=CatchUp("none", MINUTE, 3)).wake("1:00").wake("2:00")
    task.when(msg.Pause(), "2:30").when(resume("all"), "4:30")
    task.then("resumed, missed all", "next 5:00, backlog 2:00..4:30:00.001")
    # One more than the limit allows: the oldest gives way.
    task.when(msg.Pause(), "4:31").when(resume("all"), "5:30")
    task.then("skipped missed 2:00", "resumed, missed all", "next 6:00, backlog 3:00..5:30:00.001")
    task.claim().complete("5:31")
    task.then("succeeded #1", "queued catch_up 3:00", "next 6:00, backlog 4:00..5:30:00.001")


def test_what_was_owed_before_the_pause_and_lies_apart_gives_way() -> None:
    task = created(HOURLY, overlap="buffer_one", catch_up=CatchUp("none", MINUTE, 3)).wake("1:00").wake("2:00")
    task.wake("3:00").then("skipped overlap 3:00", "next 4:00, backlog 2:00..2:00:00.001")
    task.when(msg.Pause(), "3:30").when(resume("all"), "4:30")
    task.then("skipped missed 2:00", "resumed, missed all", "next 5:00, backlog 4:00..4:30:00.001")


def test_max_runs_ends_it() -> None:
    task = created(replace(HOURLY, max_runs=1), catch_up=CatchUp("none", MINUTE, 3)).when(msg.Pause(), "0:30")
    task.when(resume("all"), "3:30")
    task.then(
        "resumed, missed all",
        "next 4:00, backlog 1:00..3:30:00.001",
        "queued catch_up 1:00",
        "skipped missed 2:00",
        "skipped missed 3:00",
        "next -",
    )


@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
def test_the_only_run_of_a_one_time_task_is_never_skipped(missed: str) -> None:
    task = created(one_time("1:00")).when(msg.Pause(), "0:30").when(resume(missed), "9:00")
    assert task.events()[1:] == ["queued schedule 1:00", "next -"]


@pytest.mark.parametrize(
    ("command", "events"),
    [
        (msg.Cancel(), [f"{SKIP} 1:00", f"{SKIP} 2:00", "next 3:00", "cancelled"]),
        (msg.Delete(), [f"{SKIP} 1:00", f"{SKIP} 2:00", "next 3:00", "deleted"]),
        (
            msg.Update(DefinitionPatch(schedule=replace(HOURLY, cron="15 * * * *"))),
            [f"{SKIP} 1:00", f"{SKIP} 2:00", "next 3:00", "updated, next 3:15"],
        ),
    ],
)
def test_an_end_in_the_pause_skips_them(command: msg.Command, events: list[str]) -> None:
    paused().when(command, "2:30").then(*events)


def test_purge_drops_what_is_owed() -> None:
    task = created(HOURLY, overlap="buffer_all").wake("1:00").wake("2:00").wake("3:00")
    assert task.task.backlog is not None
    assert task.task.backlog.count == 2
    task.when(msg.PurgeOwed(), "3:30").then("skipped purged 2:00", "skipped purged 3:00", "next 4:00").status("running")
    task.when(msg.PurgeOwed(), "3:31").refused(errors.WrongState)
    task.claim().complete("3:32").then("succeeded #1").wakes("4:00")


def test_purge_is_not_for_what_a_pause_holds_back() -> None:
    task = created(HOURLY, catch_up=CatchUp("all", 9 * HOUR, 9)).wake("2:30").when(msg.Pause(), "2:40")
    task.when(msg.PurgeOwed(), "3:30").then("skipped purged 2:00", "next 3:00")
    task.when(msg.PurgeOwed(), "3:31").refused(errors.WrongState)
    task.when(resume("latest"), "3:40").then("resumed, missed latest", "skipped overlap 3:00", "next 4:00")


def test_a_cancelled_task_owes_nothing() -> None:
    task = created(HOURLY, overlap="buffer_all").wake("1:00").wake("2:00").when(msg.Cancel(), "2:30")
    task.when(msg.PurgeOwed(), "2:31").refused(errors.WrongState)


def test_the_latest_does_not_run_where_too_many_do() -> None:
    task = created(every(MINUTE), overlap="allow_all", catch_up=CatchUp(limit=1_000))
    task.when(msg.Pause(), "0:00:30").when(resume("all"), "16:40:30")
    assert len(task.task.runs) == MAX_ACTIVE_RUNS
    task.when(msg.Pause(), "16:40:40").when(resume("latest"), "16:42:30")
    task.then(f"{SKIP} 16:41", "resumed, missed latest", "skipped too_many_active 16:42", "next 16:43")
    assert len(task.task.runs) == MAX_ACTIVE_RUNS


def test_what_waited_for_a_run_before_the_pause_is_not_caught_up() -> None:
    task = (
        created(HOURLY, overlap="buffer_one", timeout=9 * HOUR).wake("1:00").claim("1:01", lease=9 * HOUR).wake("2:00")
    )
    task.when(msg.Pause(), "2:30").when(resume("latest"), "3:30").then(
        "resumed, missed latest", "skipped overlap 3:00", "next 4:00, backlog 2:00..2:00:00.001"
    )
    task.complete("3:40").then("succeeded #1", "queued schedule 2:00", "next 4:00")
