"""Keeps read models in another place up with the log: the role `projections`.

Partitions are folded each for itself, and what comes of it is written for all of them together while the next records
are folded. When the read models are away nothing is lost: folding waits, and goes on where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import structlog

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.values import Instant
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.looking import until
from taskscheduler.streams.projection_follower import FarViews, Follower, Lag

WAITING = 8_000
"""Records that are folded and not written, at most."""

GATHERED, LONGEST_GATHERED = 0.02, 0.25
"""Seconds for which a write waits for more: a row that changes again meanwhile is written once. It waits as long as the
last write took, so that what is behind does half the work instead of falling back further."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts after a failure; they double, and vary so that instances do not come together."""

WATCH = 1.0
"""Seconds between two looks at the ends of the log and at which read models are in force."""

SWEEP = 5
"""Looks after which emptied pieces of tables are forgotten."""

LAST_WRITE = 5.0
"""Seconds for what is folded to be written when a partition goes to another instance."""

logger = structlog.get_logger("taskscheduler")


class Projecting:
    """Projects the partitions that are assigned to it.

    `views` opens the read models in force, and gives None when they are the ones that it is given: they are asked for
    again and again, since another generation may have been made. `path` is the folder of the states, one in each.
    """

    def __init__(
        self,
        log: DecisionLog,
        views: Callable[[FarViews | None], Awaitable[FarViews | None]],
        path: Path,
        *,
        clock: Callable[[], Instant],
    ) -> None:
        self._log = log
        self._open = views
        self._path = path
        self._clock = clock
        self._views: FarViews | None = None
        self._assigned: set[int] = set()
        self._followers: dict[int, Follower] = {}
        self._following: dict[int, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._leaving = False
        self.failures: dict[str, str] = {}
        """What does not work right now, by what it is: `views`, or `partition 3`. Every one is tried again."""
        self.written = 0
        """Records that were folded here and are in the read models."""

    @property
    def lag(self) -> dict[int, Lag]:
        """By partition."""
        return {partition: follower.lag for partition, follower in self._followers.items()}

    @property
    def opened(self) -> bool:
        """Whether there are read models to write."""
        return self._views is not None

    @property
    def positions(self) -> dict[int, int]:
        """Up to where each partition is folded here."""
        return {partition: follower.position for partition, follower in self._followers.items()}

    @property
    def saved(self) -> dict[int, int]:
        """Up to where each partition is in the read models."""
        return {partition: follower.saved for partition, follower in self._followers.items()}

    async def assign(self, partitions: Collection[int]) -> None:
        """Project these from now on and no others. What is folded of those that go is written first, if that can be."""
        async with self._changing:
            self._assigned = set(partitions)
            if not self._loops:
                self._loops = [
                    asyncio.create_task(self._again("views", self._write)),
                    asyncio.create_task(self._again("watch", self._watch)),
                ]
            await self._leave(self._following.keys() - self._assigned)
            self._begin()

    async def stop(self) -> None:
        """Write what is folded, if that can be, and end. Idempotent."""
        async with self._changing:
            self._assigned = set()
            await self._leave(self._following.keys())
            loops, self._loops = self._loops, []
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    def changed(self) -> None:
        """There is something to write."""
        self._changed.set()

    async def room(self) -> None:
        """Returns when not too much waits to be written."""
        await until(self._has_room, self._room)

    def well(self, partition: int) -> None:
        """The partition is being followed."""
        self.failures.pop(f"partition {partition}", None)

    def _has_room(self) -> bool:
        return not self._leaving and (self._views is None or self._views.pending < WAITING)

    def _begin(self) -> None:
        views = self._views
        if views is None:
            return
        for partition in self._assigned - self._following.keys():
            path = self._path / f"partition-{partition}"
            self._followers[partition] = follower = Follower(self._log, views, partition, path, self, self._clock)
            self._following[partition] = asyncio.create_task(self._again(f"partition {partition}", follower.run))

    async def _leave(self, partitions: Collection[int]) -> None:
        gone = list(partitions)
        if not gone:
            return
        self._leaving = True
        try:
            with contextlib.suppress(ViewsUnavailable, TimeoutError):
                async with asyncio.timeout(LAST_WRITE):
                    await self._flush()
            tasks = [self._following.pop(partition) for partition in gone]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._leaving = False
            self._room.set()
        for partition in gone:
            del self._followers[partition]
            self.failures.pop(f"partition {partition}", None)

    async def _write(self) -> None:
        """Write whatever there is, again and again."""
        loop, took = asyncio.get_running_loop(), 0.0
        while True:
            await self._changed.wait()
            await asyncio.sleep(min(max(GATHERED, took), LONGEST_GATHERED))
            self._changed.clear()
            began = loop.time()
            try:
                await self._flush()
            except BaseException:
                self._changed.set()
                raise
            took = loop.time() - began
            self.failures.pop("views", None)

    async def _flush(self) -> None:
        if self._views is None:
            return
        waiting = self._views.pending
        for partition, position in (await self._views.flush()).items():
            follower = self._followers.get(partition)
            if follower is not None:
                follower.wrote(position)
        self.written += waiting
        self._room.set()

    async def _watch(self) -> None:
        looks = 0
        while True:
            for partition, follower in list(self._followers.items()):
                follower.end = max(follower.end, await self._log.end(partition))
            await self._follow_generation()
            if looks % SWEEP == SWEEP - 1 and self._views is not None:
                await self._views.sweep()
            looks += 1
            self.failures.pop("watch", None)
            await asyncio.sleep(WATCH)

    async def _follow_generation(self) -> None:
        opened = await self._open(self._views)
        if opened is None:
            return
        async with self._changing:
            await self._leave(self._following.keys())
            self._views = opened
            self._room.set()
            self._begin()

    async def _again(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run for ever: one that fails is reported and begins again."""
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await run()
            except Exception as error:
                if loop.time() - started > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                told = str(error) if isinstance(error, ViewsUnavailable) else f"{type(error).__name__}: {error}"
                if self.failures.get(name) != told:
                    logger.warning("projecting failed and is tried again", part=name, reason=told)
                self.failures[name] = told
                await asyncio.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, LONGEST_PAUSE)
