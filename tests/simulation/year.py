"""A year in the life of one task, folded as both profiles fold it, with its fire times counted in two ways.

Tasks know nothing of each other, so each lives its year alone; what they share are the times at which nothing runs.
The same seed and number give the same year.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, cast

from msgspec.structs import replace

from taskscheduler.commands.ports import DecisionLog, Entry
from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import decide
from taskscheduler.domain.decision import Accepted, Record, Verdict
from taskscheduler.domain.definition import CatchUp, Definition, DefinitionPatch, NoopTarget, QueueTarget
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.ledger import Ledger
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.settle import SCHEDULER
from taskscheduler.domain.state import Task, wakeup
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from taskscheduler.streams.codec import decode_envelope, decode_record, encode_record
from taskscheduler.streams.flink.due import Repeats, Watched, fired, judged
from taskscheduler.streams.replica import Kept, Position, Replica
from taskscheduler.streams.timers import Timers
from tests.simulation.year_schedules import START, schedule, zones
from tests.support.books import Books
from tests.support.ledger import Ledger as Counted
from tests.support.ledger import fire_times
from tests.support.memory_tables import TimerRows

END = START + 365 * DAY
POLICY = msg.Policy(keep_runs=300 * DAY, keep_deleted=5 * DAY)
VALID_FOR = 30 * SECOND
REPEATS = Repeats()
ENDINGS = (SECOND, SECOND, 8 * SECOND, 10 * MINUTE, 3 * HOUR, 30 * HOUR)


def outages(seed: int) -> list[tuple[int, int]]:
    """When nothing runs, for all tasks of a seed: from when to when. Everything is restarted after each."""
    chance = random.Random(f"outages {seed}")
    found: list[tuple[int, int]] = []
    at = START
    while (at := at + int(chance.expovariate(1 / (26 * DAY)))) < END - 3 * DAY:
        length = chance.choice((2 * SECOND, 40 * SECOND, 10 * MINUTE, 3 * HOUR, 2 * DAY))
        found.append((at, at + length))
        at += length
    return found


class Rows:
    """Implements Store for one task."""

    dirty = 0

    def __init__(self, kept: Kept | None = None, position: Position | None = None) -> None:
        self.kept, self._position = kept, position or Position()

    def load(self, task_id: str) -> Kept | None:
        return self.kept

    def save(self, task_id: str, kept: Kept, run_ids: object, keys: object) -> None:
        self.kept = kept

    def position(self) -> Position:
        return self._position

    def set_position(self, position: Position) -> None:
        self._position = position

    def flush(self) -> int:
        return 0


class Year:
    """`live` lives it. Raises AssertionError where a promise is broken. Needs a running event loop, never awaits it."""

    def __init__(self, seed: int, number: int, observe: Callable[[Accepted], None] = lambda _: None) -> None:
        self.chance = random.Random(f"year {seed} {number}")
        self.id = f"t{number:05}"
        self.zone = zones()[number % len(zones())]
        self.counts: Counter[str] = Counter()
        self.now = START
        self.books, self.counted = Books(), Counted()
        self.backfilled: list[int] = []
        """The nominal times that runs of backfills were made for."""
        self._observe = observe
        self._outages = outages(seed)
        self._timers = Timers(TimerRows())
        self._in_flink = number % 2 == 0
        self._watched = Watched()
        self._position = 0
        self._records: list[Entry] = []
        """What was appended since the state was saved."""
        self._saved = Rows()
        self._begin(self._saved)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._set: set[int] = set()
        """Moments at which the timers are looked at."""

    @property
    def task(self) -> Task:
        kept = self._rows.kept
        return Task(self.id) if kept is None else kept.state

    def live(self) -> Ledger:
        """The whole year; the ledger of it."""
        chance = self.chance
        self._at(START + chance.randrange(30 * DAY), self._create)
        for _ in range(chance.choice((0, 0, 1, 2, 4, 9))):
            self._at(START + chance.randrange(365 * DAY), self._use)
        for start, end in self._outages:
            self._at(end, self._restart, start)
        while self._heap and self._heap[0][0] <= END:
            at, _, what, arguments = heapq.heappop(self._heap)
            up = self._up(at)
            if up > at and what != self._restart:
                # Whatever comes while nothing runs comes soon after.
                self._at(up + chance.randrange(1, 3_000), what, *arguments)
                continue
            self.now = max(self.now, at)
            what(*arguments)
        self.now = END
        self._do(msg.Wake())
        ledger = self._check(self.now)
        paused = self.task.pause is not None
        assert paused or not ledger.pending, f"{ledger.pending} fire times have come, and nobody looks at them"
        assert not ledger.owed or self.task.runs or paused, f"{ledger.owed} fire times wait for nothing"
        self._replica.flush()
        return ledger

    # What happens.

    def _create(self) -> None:
        self._do(msg.Create(self._definition()))

    def _use(self) -> None:
        chance, task = self.chance, self.task
        if task.definition is None:
            if task.version:
                self._create()
            return
        luck = chance.random()
        if luck < 0.25:
            self._do(msg.Pause("a break"))
            self._at(self.now + chance.choice((MINUTE, 9 * HOUR, 3 * DAY, 20 * DAY)), self._do, self._resume())
        elif luck < 0.45:
            self._do(msg.Update(self._patch()))
        elif luck < 0.58:
            self._do(self._replan())
        elif luck < 0.7:
            until = self.now - chance.randrange(20 * DAY)
            self._do(msg.Backfill(until - chance.randrange(9 * DAY), until, chance.choice(("buffer_all", "allow_all"))))
        elif luck < 0.73:
            for backfill_id in task.backfills:
                self._do(msg.CancelBackfill(backfill_id))
        elif luck < 0.77:
            self._do(msg.PurgeOwed())
        elif luck < 0.82:
            self._do(msg.Trigger())
        elif luck < 0.86:
            self._do(msg.Retry())
        elif luck < 0.9:
            self._do(self._resume())
        elif luck < 0.95:
            self._do(msg.Cancel())
        else:
            self._do(msg.Delete())
            self._at(self.now + 6 * DAY, self._use)

    def _resume(self) -> msg.Resume:
        return msg.Resume(missed=self.chance.choice(("skip", "latest", "all")))

    def _replan(self) -> msg.Update:
        """A change of schedule from an instant on, or that there shall be none."""
        if self.chance.random() < 0.2:
            return msg.Update(DefinitionPatch(), drop_pending=True)
        start = self.now + self.chance.choice((MINUTE, 9 * HOUR, self.chance.randrange(40 * DAY)))
        return msg.Update(DefinitionPatch(schedule=schedule(self.chance, start, self.zone)), start)

    def _definition(self) -> Definition:
        chance = self.chance
        return Definition(
            name="t",
            schedule=schedule(chance, self.now, self.zone),
            target=QueueTarget("q", "k") if chance.random() < 0.5 else NoopTarget(),
            retry=Retry(max_attempts=chance.choice((1, 3)), initial=chance.choice((0, MINUTE, HOUR)), jitter=0.5),
            timeout=chance.choice((5 * MINUTE, HOUR, 2 * DAY)),
            overlap=chance.choice(("skip", "skip", "buffer_one", "buffer_all", "cancel_other", "allow_all")),
            catch_up=self._catch_up(),
            pause_on_failure=chance.choice((None, None, None, None, 1, 3)),
        )

    def _catch_up(self) -> CatchUp:
        window = self.chance.choice((0, HOUR, DAY, 30 * DAY))
        return CatchUp(self.chance.choice(("all", "latest", "none")), window, self.chance.choice((1, 3, 100)))

    def _patch(self) -> DefinitionPatch:
        match self.chance.randrange(4):
            case 0 | 1:
                return DefinitionPatch(schedule=schedule(self.chance, self.now, self.zone))
            case 2:
                return DefinitionPatch(catch_up=self._catch_up(), overlap=self._definition().overlap)
            case _:
                return DefinitionPatch(name=f"n{self.chance.randrange(3)}")

    def _offer(self, run_id: str) -> None:
        """A run can be claimed; most are claimed soon, and over soon."""
        luck = self.chance.random()
        wait = self.chance.randrange(3 * SECOND if luck < 0.97 else 5 * HOUR)
        self._at(self.now + wait, self._claim, run_id, luck < 0.85)

    def _claim(self, run_id: str, at_once: bool) -> None:
        token = f"{self.chance.getrandbits(40):x}"
        number = len(self.task.runs[run_id].attempts) + 1 if run_id in self.task.runs else 1
        claim = msg.Claim(run_id, "w", token, 10 * HOUR)
        if at_once:
            self._do(claim, msg.Complete(run_id, number, token, "1"))
            return
        self._do(claim)
        if (luck := self.chance.random()) < 0.9:
            report: msg.Command = msg.Complete(run_id, number, token)
            if luck < 0.2:
                report = msg.Fail(run_id, number, token, ev.Error("E", "why"), luck < 0.15)
            self._at(self.now + self.chance.choice(ENDINGS), self._do, report)

    def _restart(self, since: int) -> None:
        """Everything that runs is gone. What was saved before is folded on, and gives the same state."""
        self.counts["restarts"] += 1
        before = self._rows.kept
        self._begin(Rows(self._saved.kept, self._saved.position()))
        if self._records:
            self._replica.fold(self._records)
        assert self._rows.kept == before, "after a restart the state is another one"
        if self.chance.random() < 0.7:
            self._records, self._saved = [], Rows(self._rows.kept, self._rows.position())
        for run in self.task.runs.values():
            attempt = run.active_attempt
            if attempt is not None and self.chance.random() < 0.5:
                self._do(msg.Lose(run.id, attempt.number, attempt.token_hash))
        self._check(self.now)
        self._at(self.now + self.chance.randrange(MINUTE), self._tidy_up)

    def _tidy_up(self) -> None:
        """Soon after a restart somebody may not want what is owed any more."""
        if self.task.backlog is not None and self.chance.random() < 0.3:
            self._do(msg.PurgeOwed())

    # Decisions, and what is made of them.

    def _do(self, *commands: msg.Command, due_at: int = 0) -> None:
        chance, task = self.chance, self.task
        now = max(self.now, due_at, task.recorded_at)
        drafted, events = task, []
        for command in commands:
            try:
                decided = decide(drafted, command, msg.Context(now, chance.getrandbits(50)), POLICY)
            except errors.DomainError as error:
                self.counts[type(error).__name__] += 1
                continue
            drafted, events = decided.task, [*events, *decided.events]
        if not events:
            return
        record = Record(
            stream=stream_of(self.id),
            record_id=f"{self._position:x}",
            expected_version=task.version,
            recorded_at=now,
            wakeup=wakeup(drafted),
            valid_until=now + VALID_FOR,
            events=tuple(events),
        )
        late = chance.random() < 0.001
        assert self._append(record, now + VALID_FOR + 1 if late else now) is not late
        if late:
            self._append(record, now)
        elif chance.random() < 0.003:
            assert not self._append(record, now), "a record that was sent twice was accepted twice"
        decided_on = replace(drafted, version=task.version + 1, recorded_at=now)
        assert self.task == decided_on, "the fold gives another state than the decision"
        for event in events:
            if isinstance(event, ev.RunQueued | ev.RunRequeued):
                self._offer(event.run_id)
            elif isinstance(event, ev.TaskPaused) and event.by == SCHEDULER:
                self.counts["pauses after failures"] += 1
                self._at(self.now + chance.choice((HOUR, 3 * DAY)), self._do, self._resume())

    def _append(self, record: Record, appended_at: int) -> bool:
        """Fold a record as both profiles do; whether it was accepted."""
        data = encode_record(record)
        self._position += 1
        before = self._rows.kept
        entry = Entry(0, self._position, appended_at, decode_record(data))
        self._records.append(entry)
        self._replica.fold([entry])
        self._watched, verdict = judged(self._watched, decode_envelope(data), appended_at, appended_at)
        accepted = self._rows.kept is not before
        self.counts[verdict] += 1
        assert accepted is (verdict is Verdict.ACCEPTED), f"the replica and the job differ in {record}"
        kept, watched = self._rows.kept or Kept(Task(self.id)), self._watched
        mine, theirs = (kept.state.version, kept.wakeup, kept.chain), (watched.version, watched.wakeup, watched.chain)
        assert mine == theirs, f"the replica keeps {mine}, the job {theirs}"
        self._watch()
        return accepted

    def _begin(self, rows: Rows) -> None:
        self._rows = rows
        self._replica = Replica(cast(DecisionLog, None), rows, [self])

    def apply(self, accepted: Sequence[Accepted]) -> None:
        """Take in what the replica accepts; what it folds again after a restart is known."""
        for change in accepted:
            if change.position <= self.counts["position"]:
                continue
            self.counts["position"] = change.position
            self._timers.apply([change])
            self.books.record(change)
            for event in change.record.events:
                if isinstance(event, ev.TaskPurged):
                    self.backfilled = []
                elif isinstance(event, ev.RunQueued) and event.cause == "backfill" and event.nominal_at is not None:
                    self.backfilled.append(event.nominal_at)
            self.counted.record(change.record.events)
            self.counted.check(change.after, change.record.recorded_at)
            self._observe(change)

    # Timers.

    def _watch(self) -> None:
        """Look at the timer when it is due."""
        due = self._watched.timer if self._in_flink else self._timers.next_due()
        if due is not None and due not in self._set and due <= END:
            self._set.add(due)
            self._at(due, self._look, due)

    def _look(self, due: int) -> None:
        self._set.discard(due)
        wake = None
        if self._in_flink:
            timer = self._watched.timer
            if timer is not None and timer <= self.now:
                self._watched, trigger = fired(self._watched, stream_of(self.id), timer, self.now, REPEATS)
                wake = None if trigger is None else trigger.due_at
        else:
            wake = next((trigger.due_at for trigger in self._timers.due(self.now, 1)), None)
        if wake is not None:
            luck = self.chance.random()
            if luck < 0.98:
                self._at(self.now + self.chance.randrange(30), self._trigger, wake)
            elif luck < 0.995:
                self._at(self.now + self.chance.randrange(5 * MINUTE), self._trigger, wake)
        self._watch()

    def _trigger(self, due_at: int) -> None:
        self._do(msg.Wake(), due_at=due_at)

    # Counting.

    def _check(self, now: int) -> Ledger:
        """The ledger so far: balanced, and the same that is counted by walking from event to event."""
        task, counted = self.task, self.counted
        counted.check(task, now)
        ledger = self.books.ledger(task, now)
        assert ledger.balanced, f"the ledger has differences: {ledger.differences}"
        assert ledger.nominal == ledger.accounted
        if task.definition is not None:
            sums = ledger.fired + ledger.caught_up, sum(ledger.skipped.values()), ledger.owed + ledger.pending
            expected = counted.scheduled, counted.skipped, len(counted.open) + self._come_of_a_planned_change(now)
            assert sums == expected, f"the ledger says {sums}, and by its events it is {expected}"
        return ledger

    def _come_of_a_planned_change(self, now: int) -> int:
        """How many times of a schedule have come that was to take force, and has not because nothing ran."""
        planned = self.counted.pending
        if planned is None or planned.effective_from > now:
            return 0
        return len(fire_times(planned.schedule, planned.next_fire - 1, now))

    def _up(self, at: int) -> int:
        return next((end for start, end in self._outages if start <= at < end), at)

    def _at(self, at: int, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._heap, (at, next(self._order), what, arguments))
