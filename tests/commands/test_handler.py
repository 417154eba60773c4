"""One test for each way in which commands, instances and the log can cross each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from taskscheduler.commands.handler import GATHER, VALID_FOR, Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decision import Record, Verdict
from taskscheduler.domain.definition import Definition, DefinitionPatch, NoopTarget
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.state import Task, wakeup
from taskscheduler.domain.values import HOUR, MINUTE, Instant
from tests.support.memory_log import Follower, MemoryLog
from tests.support.virtual_time import clock, virtual

TIMEOUT = 10.0


NOW = OneTime(at=0)
HOURLY = Every(every=HOUR, anchor=0)


def create(schedule: Schedule = NOW, **fields: object) -> msg.Create:
    return msg.Create(
        Definition(**{"name": "t", "schedule": schedule, "target": NoopTarget(), **fields})  # type: ignore[arg-type]
    )


class Instance:
    """A handler with a follower of its own on a shared log."""

    def __init__(self, log: MemoryLog, name: str = "i", *, held: bool = False) -> None:
        self.folded = Follower(log, held=held)
        self.late = 0
        self.seen: list[tuple[str, str]] = []
        seeds = count(1)
        self.handler = CommandHandler(
            log,
            self.folded,
            clock=self.clock,
            seed=lambda: next(seeds),
            instance=name,
            timeout=TIMEOUT,
            observe=lambda verb, result: self.seen.append((verb, result)),
        )

    def clock(self) -> Instant:
        return clock() - self.late

    def state(self, task_id: str = "a") -> Task:
        return self.folded.state(task_id)

    async def do(self, command: msg.Command, task_id: str = "a", **more: object) -> Done:
        return await self.handler.handle(task_id, command, **more)  # type: ignore[arg-type]

    def start(self, command: msg.Command, task_id: str = "a", **more: object) -> asyncio.Task[Done]:
        return asyncio.ensure_future(self.do(command, task_id, **more))


async def settled() -> None:
    """Let everything run that can without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


async def refusal(work: asyncio.Future[Done]) -> BaseException:
    [error] = await asyncio.gather(work, return_exceptions=True)
    assert isinstance(error, BaseException)
    return error


def actors(log: MemoryLog) -> list[str]:
    return [record.actor for record in log.records]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(clock)


@virtual
async def test_a_command_becomes_a_record(log: MemoryLog) -> None:
    one = Instance(log)
    done = await one.do(create(HOURLY), actor="ada", trace="t", cause="c")
    [record] = log.records
    assert (record.stream, record.expected_version, record.recorded_at) == (stream_of("a"), 0, clock())
    assert (record.actor, record.trace, record.cause) == ("ada", "t", "c")
    assert record.valid_until == clock() + VALID_FOR
    assert record.wakeup == wakeup(one.state()) == clock() + HOUR
    assert done.token == "0:1"
    assert done.decided.task == one.state()
    assert one.seen == [("create", "accepted")]


@virtual
async def test_refusals_and_changes_of_nothing_write_nothing(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY))
    for command, kind in ((create(), errors.TaskExists), (msg.Retry(), errors.WrongState)):
        with pytest.raises(kind):
            await one.do(command)
    done = await one.do(msg.Resume())
    assert (done.token, done.decided.events) == ("0:1", ())
    with pytest.raises(errors.TaskNotFound):
        await one.do(msg.Cancel(), "other")
    assert len(log.records) == 1


@virtual
async def test_what_comes_together_for_a_task_is_one_decision(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY))
    dones = await asyncio.gather(*(one.do(msg.Trigger()) for _ in range(5)))
    assert len(log.records) == 2
    assert len({done.decided.run_id for done in dones}) == 5
    assert all(done.token == "0:2" for done in dones)
    assert all(done.decided.task.version == 2 for done in dones)
    assert len(one.state().runs) == 5


@virtual
async def test_what_different_actors_ask_are_different_decisions(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY), actor="ada")
    asked = ("ada", "bob", "ada", "eve", "bob")
    await asyncio.gather(*(one.do(msg.Trigger(), actor=actor) for actor in asked))
    assert actors(log) == ["ada", "ada", "bob", "eve"]
    assert [len(record.events) for record in log.records] == [1, 2, 2, 1]


@virtual
async def test_a_trigger_joins_any_decision_and_names_no_actor(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(), actor="ada")
    wake = Ask("a", msg.Wake(), actor="scheduler", cause="timer")
    await asyncio.gather(one.handler.handle_many([wake]), one.do(msg.Trigger(), actor="bob"))
    assert actors(log) == ["ada", "bob"]
    assert log.records[1].cause is None


@virtual
async def test_decisions_on_many_tasks_go_in_one_append(log: MemoryLog) -> None:
    one = Instance(log)
    answers = await one.handler.handle_many([Ask(f"t{n}", create(HOURLY)) for n in range(100)])
    assert all(isinstance(answer, Done) for answer in answers)
    assert log.appends == 1
    assert len(log.records) == 100


@virtual
async def test_answers_come_in_order_each_on_its_own(log: MemoryLog) -> None:
    one = Instance(log)
    asks = [Ask("a", create(HOURLY)), Ask("b", msg.Cancel()), Ask("a", msg.Trigger()), Ask("c", create())]
    answers = await one.handler.handle_many(asks)
    assert [type(answer) for answer in answers] == [Done, errors.TaskNotFound, Done, Done]
    assert await one.handler.handle_many([]) == []


@virtual
async def test_nobody_is_refused_before_what_others_decided_is_known(log: MemoryLog) -> None:
    ahead, behind = Instance(log, "ahead"), Instance(log, "behind", held=True)
    await ahead.do(create(HOURLY))
    trigger = behind.start(msg.Trigger())
    await settled()
    assert not trigger.done()
    behind.folded.release()
    assert (await trigger).decided.run_id in behind.state().runs


@virtual
async def test_nobody_hears_that_nothing_is_to_be_done_before_that_is_known(log: MemoryLog) -> None:
    ahead, behind = Instance(log, "ahead"), Instance(log, "behind")
    await ahead.do(create(HOURLY))
    await ahead.do(msg.Pause())
    behind.folded.held = True
    await ahead.do(msg.Resume())
    pause = behind.start(msg.Pause())
    await settled()
    assert not pause.done()
    behind.folded.release()
    assert (await pause).decided.task.status == "paused"
    assert ahead.state().status == "paused"


@virtual
async def test_a_wrong_precondition_is_checked_against_what_is_known_to_others(log: MemoryLog) -> None:
    ahead, behind = Instance(log, "ahead"), Instance(log, "behind")
    await ahead.do(create(HOURLY))
    behind.folded.held = True
    await ahead.do(msg.Update(DefinitionPatch(name="x")))
    right, wrong = behind.start(msg.Trigger(), if_match=2), behind.start(msg.Trigger(), "a", if_match=9)
    await settled()
    behind.folded.release()
    assert (await right).decided.task.revision == 2
    assert type(await refusal(wrong)) is errors.RevisionMismatch


@virtual
async def test_without_the_log_nobody_is_refused(log: MemoryLog) -> None:
    one = Instance(log)
    log.down = True
    error = await refusal(one.start(msg.Cancel()))
    assert isinstance(error, Unavailable)
    assert error.outcome == "none"


@virtual
async def test_who_lost_decides_again_on_what_won(log: MemoryLog) -> None:
    first, second = Instance(log, "first"), Instance(log, "second")
    await first.do(create(HOURLY))
    log.held.clear()
    racing = [first.start(msg.Trigger()), second.start(msg.Trigger())]
    await settled()
    log.held.set()
    dones = await asyncio.gather(*racing)
    assert first.folded.verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.CONFLICT, Verdict.ACCEPTED]
    assert first.state() == second.state()
    assert {done.decided.run_id for done in dones} == set(first.state().runs)
    assert ("trigger", "conflict") in second.seen


@virtual
async def test_who_lost_at_the_door_decides_again_too() -> None:
    log = MemoryLog(clock, refuses=True)
    first, second = Instance(log, "first"), Instance(log, "second")
    await first.do(create(HOURLY))
    log.held.clear()
    racing = [first.start(msg.Trigger()), second.start(msg.Trigger())]
    racing.append(second.start(create(HOURLY), "fresh"))
    await settled()
    log.held.set()
    await asyncio.gather(*racing)
    assert len(first.state().runs) == 2
    assert [v for v in first.folded.verdicts if v is not Verdict.ACCEPTED] == []


@virtual
async def test_who_lost_may_be_refused_in_the_end(log: MemoryLog) -> None:
    first, second = Instance(log, "first"), Instance(log, "second")
    log.held.clear()
    racing = [first.start(create(HOURLY, name="1")), second.start(create(HOURLY, name="2"))]
    await settled()
    log.held.set()
    assert isinstance(await racing[0], Done)
    assert type(await refusal(racing[1])) is errors.TaskExists
    assert second.state().definition == first.state().definition
    assert first.state().definition.name == "1"  # type: ignore[union-attr]


@virtual
async def test_a_claim_is_given_to_one_of_two_instances(log: MemoryLog) -> None:
    first, second = Instance(log, "first"), Instance(log, "second")
    await first.do(create())
    await first.do(msg.Wake())
    [run_id] = first.state().runs
    log.held.clear()
    claims = [
        first.start(msg.Claim(run_id, "w1", "t1", MINUTE), actor="w1"),
        second.start(msg.Claim(run_id, "w2", "t2", MINUTE), actor="w2"),
    ]
    await settled()
    log.held.set()
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Done, errors.NotClaimable]
    assert [attempt.worker for attempt in second.state().runs[run_id].attempts] == ["w1"]


@virtual
async def test_a_claim_after_a_cancel_that_it_did_not_see(log: MemoryLog) -> None:
    first, second = Instance(log, "first"), Instance(log, "second")
    await first.do(create())
    await first.do(msg.Wake())
    [run_id] = first.state().runs
    second.folded.held = True
    await first.do(msg.Cancel())
    claim = second.start(msg.Claim(run_id, "w", "t", MINUTE))
    await settled()
    second.folded.release()
    assert type(await refusal(claim)) is errors.NotClaimable
    assert first.state().runs == second.state().runs == {}


@virtual
async def test_an_update_between_due_and_trigger_does_not_make_the_fire_vanish(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY))
    due = one.state().next_fire
    assert due is not None
    await asyncio.sleep(HOUR / 1000 + 1)
    await one.do(msg.Update(DefinitionPatch(schedule=Every(every=2 * HOUR, anchor=0))))
    [answer] = await one.handler.handle_many([Ask("a", msg.Wake(), due_at=due)])
    assert isinstance(answer, Done)
    assert answer.decided.events == ()
    assert [run.nominal_at for run in one.state().runs.values()] == [due]


@virtual
async def test_a_trigger_is_decided_no_earlier_than_it_was_due(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY))
    due = one.state().next_fire
    assert due is not None
    await asyncio.sleep(HOUR / 1000)
    one.late = 700
    await one.handler.handle_many([Ask("a", msg.Wake(), due_at=due)])
    assert log.records[-1].recorded_at == due
    await one.do(msg.Pause())
    assert log.records[-1].recorded_at == due, "the time of a stream never goes back"


@virtual
async def test_the_verdict_is_that_of_the_first_occurrence(log: MemoryLog) -> None:
    one = Instance(log)
    log.duplicates = True
    done = await one.do(create(HOURLY))
    assert done.decided.task.version == 1
    await one.do(msg.Trigger())
    assert one.folded.verdicts == [Verdict.ACCEPTED, Verdict.CONFLICT] * 2
    assert len(one.state().runs) == 1


@virtual
async def test_a_record_that_lands_too_late_is_refused_and_decided_again(log: MemoryLog) -> None:
    one = Instance(log)
    one.late = VALID_FOR + 1
    trial = one.start(create(HOURLY))
    await settled()
    assert one.folded.verdicts[0] is Verdict.EXPIRED
    one.late = 0
    assert (await trial).decided.task.version == 1
    assert ("create", "expired") in one.seen


@virtual
async def test_no_verdict_in_time_is_unknown_and_safe_to_repeat_under_the_key(log: MemoryLog) -> None:
    one = Instance(log)
    key = msg.Key("k", "body")
    await one.do(create(HOURLY))
    one.folded.held = True
    began = clock()
    error = await refusal(one.start(msg.Trigger(), key=key))
    assert isinstance(error, Unavailable)
    assert error.outcome == "unknown"
    assert clock() - began == TIMEOUT * 1000
    one.folded.release()
    done = await one.do(msg.Trigger(), key=key)
    assert done.decided.replayed is not None
    assert [done.decided.run_id] == list(one.state().runs)
    assert len(log.records) == 2


@pytest.mark.parametrize("lands", [True, False])
@virtual
async def test_a_lost_reply_is_unknown_and_safe_to_repeat_under_the_key(log: MemoryLog, lands: bool) -> None:
    one = Instance(log)
    key = msg.Key("k", "body")
    log.loses_replies, log.down = lands, not lands
    error = await refusal(one.start(create(HOURLY), key=key))
    assert isinstance(error, Unavailable)
    assert error.outcome == "unknown"
    assert str(error).startswith("the reply was lost: " if lands else "the log is down: ")
    log.loses_replies = log.down = False
    done = await one.do(create(HOURLY), key=key)
    assert (done.decided.replayed is not None) == lands
    assert one.state().version == 1


@virtual
async def test_the_same_key_twice_at_once_is_done_once(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY))
    key = msg.Key("k", "body")
    dones = await asyncio.gather(*(one.do(msg.Trigger(), key=key) for _ in range(3)))
    assert len({done.decided.run_id for done in dones}) == 1
    assert len(one.state().runs) == 1


@virtual
async def test_who_waits_longest_does_not_take_the_others_with_it(log: MemoryLog) -> None:
    """Of two in one append the older reaches its deadline; the younger gets its verdict."""
    one, other = Instance(log, "one"), Instance(log, "other")
    await one.do(create(HOURLY))
    one.folded.held = True
    await other.do(create(HOURLY), "b")
    old = one.start(msg.Cancel(), "b")
    await asyncio.sleep(TIMEOUT - 1)
    log.held.clear()
    one.folded.release()
    young = one.start(msg.Trigger())
    await asyncio.sleep(2)
    error = await refusal(old)
    assert isinstance(error, Unavailable)
    assert error.outcome == "unknown"
    assert not young.done()
    log.held.set()
    assert isinstance(await young, Done)
    assert one.state("b").status == "cancelled"


@virtual
async def test_a_refusal_does_not_rest_on_what_is_not_on_the_log_yet(log: MemoryLog) -> None:
    one, other = Instance(log, "one"), Instance(log, "other")
    await one.do(create(HOURLY))
    await one.do(msg.Pause())
    one.folded.held = True
    await other.do(create(HOURLY), "b")
    pause = one.start(msg.Pause())
    await settled()
    log.held.clear()
    first = one.start(msg.Trigger())
    await settled()
    cancel = one.start(msg.Cancel())
    one.folded.release()
    await settled()
    log.failing = {log.appends + 1}
    log.held.set()
    assert isinstance(await first, Done)
    assert isinstance(await refusal(cancel), Unavailable)
    assert (await pause).decided.task.status == "paused"


@virtual
async def test_the_second_of_two_creations_is_refused_when_the_first_is_there(log: MemoryLog) -> None:
    one = Instance(log)
    both = await asyncio.gather(one.do(create(name="1")), one.do(create(name="2")), return_exceptions=True)
    assert [type(answer) for answer in both] == [Done, errors.TaskExists]


@virtual
async def test_a_busy_task_does_not_hold_up_another(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create(HOURLY), "a")
    log.held.clear()
    first = one.start(msg.Trigger(), "a")
    await settled()
    behind = one.start(msg.Trigger(), "a")
    await settled()
    assert log.appends == 2
    other = one.start(create(HOURLY), "b")
    await asyncio.sleep(GATHER)
    await settled()
    assert log.appends == 3
    log.held.set()
    await asyncio.gather(first, behind, other)
    assert [record.stream for record in log.records] == ["task/a", "task/a", "task/b", "task/a"]


class _Broken(Follower):
    def state(self, task_id: str) -> Task:
        if task_id == "broken":
            raise RuntimeError("this row cannot be read")
        return super().state(task_id)


@virtual
async def test_a_task_that_cannot_be_decided_is_reported_and_harms_no_other(log: MemoryLog) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    handler = CommandHandler(log, _Broken(log), clock=clock, seed=lambda: 1, instance="i")
    answers = await handler.handle_many([Ask("broken", create()), Ask("a", create())])
    assert [type(answer) for answer in answers] == [Unavailable, Done]
    assert isinstance(reported[0], RuntimeError)


class _Failing(MemoryLog):
    async def append(self, records: Sequence[Record]) -> list:  # type: ignore[type-arg]
        raise RuntimeError("a bug")


@virtual
async def test_a_log_with_a_bug_leaves_nobody_waiting() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    one = Instance(_Failing(clock))
    assert isinstance(await refusal(one.start(create())), Unavailable)
    assert isinstance(reported[0], RuntimeError)


@virtual
async def test_who_goes_away_harms_nobody(log: MemoryLog) -> None:
    one = Instance(log)
    log.held.clear()
    gone, stays = one.start(create(HOURLY)), one.start(create(HOURLY), "b")
    await settled()
    gone.cancel()
    log.held.set()
    assert isinstance(await stays, Done)
    assert one.state("a").version == 1


@virtual
async def test_draining_waits_for_what_is_on_its_way(log: MemoryLog) -> None:
    one = Instance(log)
    work = one.start(create(HOURLY))
    await asyncio.sleep(0)
    await one.handler.drain()
    await settled()
    assert work.done()


@virtual
async def test_many_racing_instances_lose_nothing(log: MemoryLog) -> None:
    instances = [Instance(log, f"i{n}") for n in range(4)]
    await instances[0].do(create(HOURLY))
    dones = await asyncio.gather(*(one.do(msg.Trigger()) for one in instances for _ in range(10)))
    runs = {done.decided.run_id for done in dones}
    assert len(runs) == 40
    assert all(set(one.state().runs) == runs for one in instances)
    accepted = [record for record, v in zip(log.records, instances[0].folded.verdicts, strict=True) if v == "accepted"]
    assert [record.expected_version for record in accepted] == list(range(len(accepted)))


@virtual
async def test_a_late_report_is_recorded_and_refused(log: MemoryLog) -> None:
    one = Instance(log)
    await one.do(create())
    await one.do(msg.Wake())
    [run_id] = one.state().runs
    await one.do(msg.Claim(run_id, "w", "t", 1000), actor="w")
    await asyncio.sleep(1)
    for expected in (ev.ReportedLate, ev.ReportedLate):
        assert type(await refusal(one.start(msg.Complete(run_id, 1, "t")))) is errors.ClaimLost
        assert type(log.records[-1].events[-1]) is expected
    assert len(log.records) == 4
