"""Months of many tasks over the pure core: deciders that race, crash and are late, timers, users and workers.

One heap of things to happen, one virtual clock, one source of chance: the same seed gives the same months.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided
from taskscheduler.domain.decision import Verdict
from taskscheduler.domain.state import wakeup
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from tests.simulation import people
from tests.simulation.audit import Audit
from tests.simulation.decider import Ask, Decider, Draft
from tests.simulation.log import Log
from tests.simulation.nominal import nominal

START = 1_772_000_000_000
"""25 February 2026: within the next weeks clocks change in every zone that is used."""

POLICY = msg.Policy(keep_runs=60 * DAY, keep_deleted=5 * DAY)
DECIDERS = 3
HEALS = HOUR
"""After so long without a misfortune nothing may be late."""
FIRST_REPEAT, LONGEST_REPEAT = 30 * SECOND, 10 * MINUTE

SAFE_TO_REPEAT = (msg.Wake, msg.Renew, msg.Complete, msg.Fail, msg.Lose)
"""As for the command handler: where nothing to do needs no look at the end of the log."""

Life = Generator[int | Ask, Any, None]
"""Somebody's life: yields how long to wait (milliseconds), or an Ask to be given its Answer."""


class Months:
    """`run` lives through them. Raises AssertionError where a promise is broken."""

    def __init__(self, seed: int, *, tasks: int, days: int) -> None:
        self.chance = random.Random(seed)
        self.now = START
        self.end = START + days * DAY
        self.names = [f"t{number:05}" for number in range(tasks)]
        self.log = Log()
        begin, horizon = START - 10 * DAY, self.end + 60 * DAY
        self.audit = Audit(self.log, lambda schedule: nominal(schedule, begin, horizon), POLICY)
        self.deciders = [
            Decider(f"n{number}", self.log, self.audit, POLICY, self.chance.randrange(-400, 400))
            for number in range(DECIDERS)
        ]
        self.counts: Counter[str] = Counter()
        self.well_since = START
        self._timers: set[tuple[str, int | None]] = set()
        """Those in the heap: one that was set before, and again, is there once."""
        self._out_until = 0
        self._slow_until = 0
        self._late_until = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def run(self) -> bytes:
        """All of it; the state at the end, encoded."""
        people.settle_in(self)
        self.live(self._misfortunes())
        self.live(self._rounds())
        heap = self._heap
        while heap and heap[0][0] <= self.end + 2 * HEALS:
            self.now, _, what, args = heapq.heappop(heap)
            what(*args)
        self.now = self.end + 2 * HEALS
        self.audit.sweep(self.now, HEALS)
        for decider in self.deciders:
            decider.follow()
            assert decider.tasks == self.audit.tasks, f"{decider.name} ends with another state than the log gives"
        return self.audit.replay()

    def at(self, time: int, what: Callable[..., None], *args: Any) -> None:
        """Let something happen at an instant."""
        heapq.heappush(self._heap, (time, next(self._order), what, args))

    def live(self, life: Life, given: Any = None) -> None:
        """Begin a life, or go on with it."""
        try:
            wanted = life.send(given)
        except StopIteration:
            return
        if isinstance(wanted, int):
            self.at(self.now + wanted, self.live, life)
        else:
            wanted.answer = lambda answer: self.live(life, answer)
            self.ask(wanted)

    def until_up(self) -> int:
        """How long it takes until somebody answers: a moment, unless nothing runs."""
        return max(0, self._out_until - self.now) + self.chance.randrange(1, 5_000)

    # Commands.

    def ask(self, ask: Ask, *, beside: Decider | None = None) -> None:
        """Give a command to one of the deciders that run (to another one than `beside`)."""
        up = [decider for decider in self.deciders if decider.up and decider is not beside]
        if not up:
            self.at(self.now + SECOND, ask.answer, None)
            return
        decider = self.chance.choice(up)
        if decider.state(ask.task_id).version < ask.version or self.chance.random() < 0.6:
            decider.follow()
        asks = [ask]
        if self.chance.random() < 0.05:
            # A trigger that waits for the same task is decided together with it.
            asks.insert(0, Ask(ask.task_id, msg.Wake()))
        self._decide(decider, asks)

    def _decide(self, decider: Decider, asks: Sequence[Ask]) -> None:
        draft = self._draft(decider, asks)
        if decider.behind and (
            draft.refused or (draft.record is None and not all(isinstance(a.command, SAFE_TO_REPEAT) for a in asks))
        ):
            decider.follow()
            draft = self._draft(decider, asks)
        for ask, error in draft.refused:
            if draft.record is not None:
                # What it was refused for is not on the log yet.
                self.at(self.now + 1, self.ask, ask)
                continue
            self.counts[type(error).__name__] += 1
            self.audit.refused(ask.task_id, ask.command, error, draft.now)
            ask.answer(error)
        if draft.record is None:
            for ask, decided in draft.accepted:
                self.counts["nothing"] += 1
                if decided.replayed is None:
                    self.audit.nothing(ask.task_id, ask.command, draft.state, draft.now)
                self._reply(ask, decided)
            return
        carried_out = tuple(ask.command for ask, decided in draft.accepted if decided.replayed is None)
        self.audit.asked[draft.record.record_id] = carried_out
        wait = self._time_to_append()
        if wait:
            self.at(self.now + wait, self._land, decider, decider.starts, draft)
        else:
            self._land(decider, decider.starts, draft)

    def _draft(self, decider: Decider, asks: Sequence[Ask]) -> Draft:
        return decider.draft(asks, self.now, self.chance.getrandbits(60))

    def _time_to_append(self) -> int:
        luck = self.chance.random()
        if self.now < self._slow_until:
            return self.chance.randrange(50_000)
        return 0 if luck < 0.9 else self.chance.randrange(1, 200) if luck < 0.999 else self.chance.randrange(60_000)

    def _land(self, decider: Decider, starts: int, draft: Draft) -> None:
        record = draft.record
        assert record is not None
        crashed = decider.starts != starts
        if crashed and self.chance.random() < 0.5:
            self.counts["vanished"] += 1
            self._no_answer(draft)
            return
        position = self.log.append(record, self.now)
        if self.chance.random() < 0.01:
            # A producer that heard nothing sends again.
            self.log.append(record, self.now)
        self._read()
        if crashed or self.chance.random() < 0.005:
            self.counts["unanswered"] += 1
            self._no_answer(draft)
            return
        decider.follow()
        if self.audit.verdicts[position - 1] is Verdict.ACCEPTED:
            for ask, decided in draft.accepted:
                self._reply(ask, decided)
        else:
            self._decide(decider, [ask for ask, _ in draft.accepted])

    def _no_answer(self, draft: Draft) -> None:
        for ask, _ in draft.accepted:
            ask.answer(None)

    def _reply(self, ask: Ask, decided: Decided) -> None:
        self.audit.done(ask.task_id, ask.command, ask.key, decided)
        ask.answer(decided if decided.refused is None else decided.refused)

    # What follows from the log.

    def _read(self) -> None:
        for record, state in self.audit.read():
            timer = (state.id, record.wakeup)
            if record.wakeup is not None and timer not in self._timers:
                self._timers.add(timer)
                self.at(max(record.wakeup, self.now), self._due, *timer)
            for event in record.events:
                if isinstance(event, ev.RunQueued | ev.RunRequeued):
                    people.offer(self, state, event.run_id)

    def _due(self, task_id: str, due_at: int, repeat: int = FIRST_REPEAT) -> None:
        """The timer of a stream is due: it gives a trigger, and again until a decision has moved it."""
        state = self.audit.state(task_id)
        if wakeup(state) != due_at:
            self._timers.discard((task_id, due_at))
            return
        if self.now < self._out_until:
            self.at(self.now + self.until_up(), self._due, task_id, due_at)
            return
        self.at(self.now + repeat, self._due, task_id, due_at, min(2 * repeat, LONGEST_REPEAT))
        copies = 2 if self.chance.random() < 0.03 else 1
        for _ in range(copies):
            ask = Ask(task_id, msg.Wake(), due_at=due_at, version=state.version)
            if self.now < self._late_until or (copies > 1 and self.chance.random() < 0.5):
                self.at(self.now + self.chance.randrange(10 * MINUTE), self.ask, ask)
            else:
                self.ask(ask)

    # Misfortunes.

    def _misfortunes(self) -> Life:
        chance = self.chance
        while True:
            yield int(chance.expovariate(1 / (14 * HOUR)))
            if self.now > self.end:
                return
            what = chance.choice(("crash", "crash", "crash", "outage", "slow", "late"))
            self.counts[what] += 1
            self.well_since = self.end
            length = chance.choice((SECOND, 4 * MINUTE, 3 * HOUR, DAY, chance.randrange(3 * DAY)))
            length = min(length, self.end - self.now)
            match what:
                case "crash":
                    decider = chance.choice(self.deciders)
                    yield from self._down([decider], min(length, 3 * HOUR))
                case "outage":
                    self._out_until = self.now + length
                    yield from self._down(self.deciders, length)
                    self.live(people.tidies_up(self))
                case "slow":
                    self._slow_until = self.now + 10 * MINUTE
                    yield 10 * MINUTE
                case "late":
                    self._late_until = self.now + 20 * MINUTE
                    yield 30 * MINUTE
            self.well_since = self.now + MINUTE

    def _down(self, deciders: Sequence[Decider], length: int) -> Life:
        for decider in deciders:
            decider.crash()
        yield length
        for decider in deciders:
            decider.start()
            people.lost_with(self, decider)

    def _rounds(self) -> Life:
        while True:
            yield self.chance.randrange(6 * HOUR)
            for decider in self.deciders:
                if decider.up:
                    decider.save()
            if self.chance.random() < 0.2 and self.now - self.well_since > 2 * HEALS:
                self.audit.sweep(self.now, HEALS)
                self.counts["sweeps"] += 1
