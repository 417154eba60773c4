"""From the triggers topic to the command handler: what is due gets its decision, whichever instance takes it.

An offset is committed only after the verdicts on it and everything before, so an instance that dies leaves its
triggers to others. A trigger that comes twice decides nothing the second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from taskscheduler.commands.handler import Ask, CommandHandler, Unavailable
from taskscheduler.commands.ports import Folded, LogUnavailable
from taskscheduler.domain.entities import id_of
from taskscheduler.domain.messages import Wake
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.kafka.client_options import KafkaSettings
from taskscheduler.streams.kafka.consumers import stop_consumer
from taskscheduler.streams.kafka.feed import PACE
from taskscheduler.streams.kafka.groups import group_options
from taskscheduler.streams.kafka.messages import Trigger
from taskscheduler.streams.kafka.topics import Topics
from taskscheduler.streams.looking import ACTOR, until

BATCH = 256
UNDER_WAY = 512
"""Triggers that wait for their decisions at once. More would only let more runs begin before earlier ones end."""

_FETCH_BYTES = 64 * 1024
"""Of one partition: few, so that the partitions take turns."""

_POLL = 1_000
_COMMIT_EVERY = 0.5
_LAST_WORD = 5.0
"""Seconds that decisions under way, and commits, are given when their partitions go to others."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0

_decoder = msgspec.json.Decoder(Trigger)
_Due = tuple[int, Ask]
"""A version that the state must have reached, and what to ask then."""


class _Share:
    """A partition that this instance serves: batches in order, and the offset up to which all have their verdicts."""

    def __init__(self) -> None:
        self.batches: deque[tuple[int, asyncio.Task[None]]] = deque()
        self.done: int | None = None
        self.committed: int | None = None

    def advance(self) -> None:
        """Take off the batches at the head that are done."""
        while self.batches and (task := self.batches[0][1]).done() and not task.cancelled():
            self.done = self.batches.popleft()[0]


class TriggerConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of the group of all instances that take triggers. `run` is its loop, which can be run again."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Topics,
        folded: Folded,
        handler: CommandHandler,
        handing: Handing,
        *,
        role: str = "triggers",
    ) -> None:
        self._settings = settings
        self._topic = topics.triggers
        self._role = role
        self._folded = folded
        self._handler = handler
        self._handing = handing
        self._consumer: Any = None
        self._shares: dict[TopicPartition, _Share] = {}
        self._deciding: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._room = asyncio.Event()
        self.unreadable = 0
        """Triggers that were none, or of a decision that is not on the log."""

    @property
    def partitions(self) -> frozenset[int]:
        """Those whose triggers come here."""
        return frozenset(place.partition for place in self._shares)

    @property
    def lag(self) -> int:
        """How many triggers of these partitions are known to wait for their verdicts."""
        total = 0
        for place, share in self._shares.items():
            end = self._consumer.highwater(place)
            if end is not None and share.done is not None:
                total += max(0, end - share.done)
        return total

    async def run(self) -> None:
        """Take triggers until cancelled; then finish those under way, within a bound. Raises KafkaError."""
        consumer = AIOKafkaConsumer(
            **group_options(self._settings, self._role),
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        self._consumer = consumer
        committing = asyncio.create_task(self._commit_regularly())
        try:
            consumer.subscribe([self._topic], listener=self)
            await consumer.start()
            while True:
                await until(lambda: self._under_way < UNDER_WAY, self._room)
                fetched = await consumer.getmany(timeout_ms=_POLL, max_records=BATCH)
                for place, messages in fetched.items():
                    self._take(place, messages)
                if fetched:
                    await asyncio.sleep(PACE)
        finally:
            committing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await committing
            await self._finish()
            await stop_consumer(consumer)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called by the consumer before others may take them over."""
        await self._finish()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Called by the consumer: it goes on where the group has committed."""
        self._shares = {place: _Share() for place in assigned}

    async def _finish(self) -> None:
        """Give what is under way a moment, commit what has its verdict, and leave the rest to others."""
        if self._deciding:
            await asyncio.wait(self._deciding, timeout=_LAST_WORD)
        for task in self._deciding:
            task.cancel()
        await self._commit()
        self._shares = {}

    def _take(self, place: TopicPartition, messages: Sequence[Any]) -> None:
        share = self._shares.get(place)
        if share is None:
            return
        if share.done is None:
            share.done = messages[0].offset
        triggers = [trigger for message in messages if (trigger := self._read(message)) is not None]
        self._under_way += len(triggers)
        task = asyncio.get_running_loop().create_task(self._decide(triggers))
        share.batches.append((messages[-1].offset + 1, task))
        self._deciding.add(task)
        task.add_done_callback(lambda done: self._decided(done, share, len(triggers)))

    def _decided(self, task: asyncio.Task[None], share: _Share, count: int) -> None:
        self._deciding.discard(task)
        self._under_way -= count
        self._room.set()
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # It is given again, like every trigger without a decision: one that is at fault must not hold up the rest.
            message = "no decision on triggers"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
        share.advance()

    def _read(self, message: Any) -> _Due | None:
        try:
            trigger = _decoder.decode(message.value or b"")
            task_id = id_of(trigger.stream)
        except (msgspec.DecodeError, ValueError):
            self.unreadable += 1
            return None
        return trigger.version, Ask(task_id, Wake(), ACTOR, cause="timer", due_at=trigger.due_at)

    async def _decide(self, triggers: Sequence[_Due]) -> None:
        """Returns when each has its verdict, however long that takes."""
        waiting = await self._reached(triggers)
        pauses = _pauses()
        if waiting:
            waiting = await self._handing.ask(waiting)
        while waiting:
            answers = await self._handler.handle_many(waiting)
            waiting = [ask for ask, answer in zip(waiting, answers, strict=True) if isinstance(answer, Unavailable)]
            if waiting:
                await asyncio.sleep(next(pauses))

    async def _reached(self, triggers: Sequence[_Due]) -> list[Ask]:
        """Wait until the state is no older than the triggers; gives those whose decision is on the log."""
        pauses = _pauses()
        reached: list[Ask] = []
        for version, ask in triggers:
            while self._folded.state(ask.task_id).version < version:
                try:
                    await self._folded.caught_up(ask.task_id)
                except LogUnavailable:
                    await asyncio.sleep(next(pauses))
                else:
                    break
            if self._folded.state(ask.task_id).version >= version:
                reached.append(ask)
            else:
                self.unreadable += 1
        return reached

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY)
            await self._commit()

    async def _commit(self) -> None:
        shares = self._shares
        offsets = {
            place: share.done
            for place, share in shares.items()
            if share.done is not None and share.done != share.committed
        }
        if not offsets:
            return
        try:
            async with asyncio.timeout(_LAST_WORD):
                await self._consumer.commit(offsets)
        except (KafkaError, TimeoutError):
            return  # others have the partitions by now, or it is tried again: what comes twice decides nothing
        for place, offset in offsets.items():
            shares[place].committed = offset


def _pauses() -> Iterator[float]:
    """Seconds between attempts: doubling, up to a bound, each with jitter."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(2 * pause, _LONGEST_PAUSE)
