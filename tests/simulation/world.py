"""A scheduler, its users, workers and misfortunes, in virtual time. The same seed gives the same world."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import get_args

from msgspec.structs import replace

from taskscheduler.commands.handler import Unavailable
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import (
    CatchUp,
    Definition,
    DefinitionPatch,
    HttpTarget,
    NoopTarget,
    Overlap,
    QueueTarget,
    Target,
)
from taskscheduler.domain.errors import ClaimLost, DomainError
from taskscheduler.domain.events import BackfillOverlap, Error
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from taskscheduler.streams.dispatch.queue import Given
from taskscheduler.streams.replay.refold import refolded_digest
from tests.simulation.book import Book
from tests.support.memory_log import MemoryLog
from tests.support.node import Node, end_others
from tests.support.virtual_time import clock

POLICY = msg.Policy(keep_runs=9 * DAY, keep_deleted=5 * DAY)
WORKERS = 4
HEALS: int = 30 * MINUTE
"""After so long without a misfortune nothing may be late."""


class Calls:
    """The http target: mostly fine."""

    group = "http"
    at_once = 20

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def call(self, attempt: Attempted) -> Outcome:
        await asyncio.sleep(self._chance.choice((0.1, 1, 5, 50)))
        if self._chance.random() < 0.8:
            return Outcome(result='{"status":200}')
        return Outcome(error=Error("http_503", "busy"), retry_after=self._chance.choice((None, 90 * SECOND)))


class World:
    """`run` lives through `days` and checks as it goes."""

    def __init__(self, seed: int, path: Path, *, tasks: int, days: int) -> None:
        self.chance = random.Random(seed)
        self.path = path
        self.names = [f"t{number:04}" for number in range(tasks)]
        self.end = clock() + days * DAY
        self.log = MemoryLog(clock, refuses=self.chance.random() < 0.5)
        self.book = Book(self.log)
        self.boots = 0
        self.well_since = clock()
        self.misfortunes: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.acknowledged: set[tuple[str, str]] = set()
        self.nothing_happened: set[tuple[str, str]] = set()
        self.completed: set[tuple[str, int]] = set()
        self._keys = 0
        self._people: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Raises AssertionError where a promise is broken."""
        node = await self._boot()
        while clock() < self.end:
            await asyncio.sleep(self.chance.expovariate(1 / 30_000))
            node = await self._misfortune(node)
        self._mend()
        await asyncio.sleep(2 * HEALS / 1000)
        self._check(node)
        self.book.check_all(clock())
        digest = node.store.digest()
        await node.crash()
        position, refolded = await refolded_digest(self.log, self.path / "refolded")
        assert (position, refolded) == (len(self.log.entries), digest), "a full fold gives another state"

    async def _boot(self) -> Node:
        self.boots += 1
        node = Node(
            self.path / "data",
            self.log,
            clock,
            name=f"n{self.boots}",
            seed=self.chance.getrandbits(64),
            policy=POLICY,
            targets=[Calls(self.chance)],
        )
        await node.start()
        self.book.read(clock())
        differing = [name for name in self.names if node.state(name) != self.book.tasks.get(name, node.state(name))]
        assert not differing, f"the state of {differing} is not what the log says"
        people = [self._user(node, creates=number == 0) for number in range(2)]
        people += [self._worker(node, f"w{number}") for number in range(WORKERS)]
        self._people = [asyncio.create_task(person) for person in people]
        return node

    async def _misfortune(self, node: Node) -> Node:
        log, chance = self.log, self.chance
        self._check(node)
        self._mend()
        what = chance.choice(("crash", "stop", "down", "lost replies", "duplicates", "slow", "none", "none"))
        self.misfortunes[what] += 1
        if what in ("crash", "stop"):
            if what == "crash":
                await asyncio.sleep(chance.random())
                await node.crash()
            else:
                await node.stop(grace=chance.choice((0.0, 10.0)))
                await end_others()
            await asyncio.sleep(chance.choice((0, 1, 90, 5_000, 200_000)))
            self.book.check_all(clock())
            node = await self._boot()
        elif what == "down":
            log.down = True
        elif what == "lost replies":
            log.loses_replies = True
        elif what == "duplicates":
            log.duplicates = True
        elif what == "slow":
            log.held.clear()
        if what != "none":
            self.well_since = clock()
        if what in ("down", "lost replies", "slow"):
            await asyncio.sleep(chance.choice((1, 15, 400, 4_000)))
            self._mend()
        return node

    def _mend(self) -> None:
        if self.log.down or self.log.loses_replies or not self.log.held.is_set():
            self.well_since = clock()
        self.log.down = self.log.loses_replies = self.log.duplicates = False
        self.log.held.set()

    def _check(self, node: Node) -> None:
        now = clock()
        self.book.read(now)
        assert node.replica.failure is None
        if now - self.well_since > HEALS:
            self.book.check_prompt(now)
        lost = {key for key in self.acknowledged if not self.book.keys[key]}
        assert not lost, f"acknowledged and lost: {lost}"
        done = {key for key in self.nothing_happened if self.book.keys[key]}
        assert not done, f"was said not to have happened: {done}"
        for attempt in self.completed:
            assert self.book.ended.get(attempt) == "succeeded", f"{attempt} was reported and is lost"

    async def _user(self, node: Node, creates: bool) -> None:
        if creates and self.boots == 1:
            for name in self.names:
                await self._ask(node, name, msg.Create(self._definition()))
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / 400))
            name = self.chance.choice(self.names)
            known = self.book.tasks.get(name)
            if known is not None and known.deleted_at is not None and self.chance.random() < 0.9:
                continue
            await self._ask(node, name, self._command(name))

    async def _ask(self, node: Node, name: str, command: msg.Command) -> None:
        self._keys += 1
        key, outcomes = f"k{self._keys}", set[str]()
        for _ in range(self.chance.choice((1, 5))):
            try:
                await node.do(command, name, key=msg.Key(key, "b"), actor="ada")
            except DomainError as error:
                self.answers[type(error).__name__] += 1
                return
            except Unavailable as error:
                outcomes.add(error.outcome)
                self.answers[error.outcome] += 1
                await asyncio.sleep(error.retry_after)
            else:
                self.answers["done"] += 1
                self.acknowledged.add((name, key))
                return
        if outcomes == {"none"}:
            self.nothing_happened.add((name, key))

    def _command(self, name: str) -> msg.Command:
        chance = self.chance
        if not self.book.tasks.get(name) or not self.book.tasks[name].exists:
            return msg.Create(self._definition())
        match chance.randrange(25):
            case 0:
                return msg.Delete()
            case 1:
                return msg.Cancel()
            case 2 | 3:
                return msg.Pause("p")
            case 4 | 5 | 6 | 7 | 8:
                return msg.Resume(missed=chance.choice(("skip", "latest", "all")))
            case 9 | 10 | 11:
                return msg.Trigger()
            case 12 | 13:
                return msg.Retry()
            case 14 | 15 | 16:
                return msg.Update(DefinitionPatch(schedule=self._schedule()))
            case 18 | 19:
                until = clock() - chance.choice((0, 0, HOUR))
                overlap: BackfillOverlap = chance.choice(("buffer_all", "allow_all"))
                return msg.Backfill(until - chance.choice((3 * HOUR, DAY)), until, overlap)
            case 20:
                known = self.book.tasks[name].backfills
                return msg.CancelBackfill(chance.choice([*known, "none"]))
            case 21:
                return msg.PurgeOwed()
            case 22:
                then = clock() + chance.choice((MINUTE, 5 * HOUR, DAY))
                return msg.Update(DefinitionPatch(schedule=self._schedule()), effective_from=then)
            case 17:
                return msg.Update(DefinitionPatch(target=self._target(), priority=1 + chance.randrange(9)))
            case _:
                return msg.Update(DefinitionPatch(name=f"n{chance.randrange(3)}"))

    def _definition(self) -> Definition:
        chance = self.chance
        return Definition(
            name="t",
            schedule=self._schedule(),
            target=self._target(),
            retry=Retry(max_attempts=chance.choice((1, 3, 5)), initial=chance.choice((0, 1_000, 60_000))),
            timeout=chance.choice((20 * SECOND, 5 * MINUTE, HOUR)),
            catch_up=CatchUp(chance.choice(("all", "latest", "none")), chance.choice((MINUTE, HOUR, 3 * DAY)), 10),
            priority=1 + chance.randrange(9),
            overlap=chance.choice(get_args(Overlap)),
            pause_on_failure=chance.choice((None, None, 1, 3)),
            queue_timeout=chance.choice((None, None, None, MINUTE, HOUR)),
            heartbeat_timeout=chance.choice((None, None, 10 * SECOND)),
            deadline=chance.choice((None, None, None, 2 * MINUTE, DAY)),
        )

    def _schedule(self) -> Schedule:
        chance, of = self.chance, self._named()
        if isinstance(of, OneTime) or chance.random() < 0.6:
            return of
        most = chance.choice((None, None, 1, 5))
        return replace(of, jitter=chance.choice((0, MINUTE, HOUR)), max_runs=most, start_at=clock() + MINUTE)

    def _named(self) -> Schedule:
        chance, now = self.chance, clock()
        match chance.randrange(8):
            case 0:
                return OneTime(at=0)
            case 1:
                return OneTime(at=now + chance.randrange(20 * DAY), kind="at")
            case 2:
                return OneTime(at=0, kind="delay", delay=chance.randrange(3 * DAY))
            case 3:
                return Every(every=chance.choice((20 * MINUTE, 3 * HOUR, DAY)), anchor=0)
            case 4:
                return Every(every=chance.randrange(HOUR, 3 * DAY), anchor=now - DAY, anchored=True)
            case 5:
                return Cron("0 */2 * * *")
            case 6:
                return Cron("30 1-3 * * *", "Europe/Berlin")
            case _:
                return Cron("0 9 * * MON-FRI", "America/New_York")

    def _target(self) -> Target:
        chance = self.chance
        match chance.randrange(4):
            case 0:
                return HttpTarget("http://x")
            case 1:
                return QueueTarget(f"q{chance.randrange(2)}", f"k{chance.randrange(2)}")
            case _:
                return NoopTarget()

    async def _worker(self, node: Node, name: str) -> None:
        polls = 0
        while True:
            polls += 1
            try:
                claims = await node.queue.claim(
                    f"q{polls % 2}",
                    worker=name,
                    max=self.chance.choice((1, 5)),
                    wait=20 * MINUTE,
                    lease=30 * SECOND,
                    request_id=f"{self.boots}-{polls}" if self.chance.random() < 0.7 else None,
                )
                await asyncio.gather(*(self._work(node, given) for given in claims))
            except Unavailable as error:
                await asyncio.sleep(error.retry_after)

    async def _work(self, node: Node, given: Given) -> None:
        chance = self.chance
        behaviour = chance.random()
        try:
            if behaviour < 0.1:
                await asyncio.sleep(40)
            elif behaviour < 0.2:
                await asyncio.sleep(5)
                await node.queue.fail(given.token, Error("E", "why"), chance.random() < 0.8)
            else:
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(20)
                    if (await node.queue.heartbeat(given.token)).cancel_requested:
                        return
                await node.queue.complete(given.token, "1")
                self.completed.add((given.run_id, given.attempt))
        except (ClaimLost, Unavailable) as error:
            self.answers[type(error).__name__] += 1
