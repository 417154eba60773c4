"""Appends to partitions of a topic: what comes while a batch is on its way goes into the next one, together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from taskscheduler.commands.ports import LogUnavailable, Receipt
from taskscheduler.domain.values import Instant
from taskscheduler.streams.kafka.client_options import why
from taskscheduler.streams.kafka.clock import ClockCheck
from taskscheduler.streams.kafka.producers import Producers

Message = tuple[bytes, bytes]
"""Key and value."""


class _Share:
    """What one append has in a partition. `done` gets the receipts, in order."""

    __slots__ = ("done", "messages", "receipts")

    def __init__(self, messages: Sequence[Message], done: asyncio.Future[list[Receipt]]) -> None:
        self.messages = messages
        self.done = done
        self.receipts: list[Receipt] = []

    def fail(self, error: LogUnavailable) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Appender:
    """`bound`: seconds until an append is given up. `observe` is told the seconds and the number of each batch.

    A batch that was given up is still tried until the producer has an answer, since nobody knows whether it landed:
    `valid_until` bounds how late it may. Until then its partition refuses at once.
    """

    def __init__(
        self,
        producers: Producers,
        topic: str,
        *,
        bound: float,
        clock: Callable[[], Instant],
        clock_check: ClockCheck,
        observe: Callable[[float, int], None] | None = None,
    ) -> None:
        self._producers = producers
        self._topic = topic
        self._bound = bound
        self._clock = clock
        self._clock_check = clock_check
        self._observe = observe
        self._writers: dict[int, _Writer] = {}
        self._closed = False

    async def append(self, messages: Mapping[int, Sequence[Message]]) -> dict[int, list[Receipt]]:
        """Append durably, in order within each partition. Raises LogUnavailable."""
        if self._closed:
            raise LogUnavailable("the log is closed")
        shares = {partition: self._writer(partition).add(some) for partition, some in messages.items()}
        try:
            _, late = await asyncio.wait(shares.values(), timeout=self._bound)
        finally:
            for share in shares.values():
                share.cancel()
        failed = [error for share in shares.values() if not share.cancelled() and (error := share.exception())]
        if failed:
            raise failed[0]
        if late:
            for partition, share in shares.items():
                if share in late:
                    self._writer(partition).overdue = True
            raise LogUnavailable(f"Kafka did not say within {self._bound:g} s that the decisions are safe")
        return {partition: share.result() for partition, share in shares.items()}

    async def close(self) -> None:
        """Finish what is under way, within the bound, and take nothing more. The producers stay open."""
        self._closed = True
        running = [task for writer in self._writers.values() if (task := writer.task) is not None]
        if running:
            await asyncio.wait(running, timeout=self._bound)
        for task in running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _writer(self, partition: int) -> _Writer:
        writer = self._writers.get(partition)
        if writer is None:
            writer = self._writers[partition] = _Writer(partition, self._send)
        return writer

    async def _send(self, partition: int, messages: Sequence[Message], start: int) -> tuple[int, int, Instant]:
        """Send as many from `start` on as fit into a message set: their number, first offset and instant."""
        producer = await self._producers.get()
        try:
            batch = producer.create_batch()
            end = start
            while end < len(messages):
                key, value = messages[end]
                if batch.append(timestamp=None, key=key, value=value) is None:
                    break
                end += 1
            since, before = asyncio.get_running_loop().time(), self._clock()
            landed = await (await producer.send_batch(batch, self._topic, partition=partition))
            if landed.offset < 0:
                raise LogUnavailable("the decisions are on the log, and Kafka no longer knows where")
            self._clock_check.observe(partition, before, self._clock(), landed.timestamp)
        except Exception as error:
            self._producers.give_up(producer)
            if isinstance(error, KafkaError | OSError | TimeoutError):
                raise LogUnavailable(f"Kafka did not take the decisions: {why(error)}") from None
            raise
        if self._observe is not None:
            self._observe(asyncio.get_running_loop().time() - since, end - start)
        return end - start, landed.offset, landed.timestamp


class _Writer:
    """One batch of a partition is on its way at a time, so nothing overtakes.

    `overdue`: an append was given up, and the batch under way since then has no answer yet.
    """

    def __init__(self, partition: int, send: Callable[..., Any]) -> None:
        self._partition = partition
        self._send = send
        self._waiting: list[_Share] = []
        self.overdue = False
        self.task: asyncio.Task[None] | None = None

    def add(self, messages: Sequence[Message]) -> asyncio.Future[list[Receipt]]:
        """Resolves to receipts or LogUnavailable, at once while an earlier batch is overdue. Cancelled, it may land."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Receipt]] = loop.create_future()
        share = _Share(messages, done)
        if self.overdue:
            share.fail(LogUnavailable("Kafka has not answered for a while; what was sent is still on its way"))
            return done
        self._waiting.append(share)
        if self.task is None:
            self.task = loop.create_task(self._run())
        return done

    async def _run(self) -> None:
        try:
            while self._waiting:
                # Who gave up before anything was sent has nothing on the log.
                shares = [share for share in self._waiting if not share.done.done()]
                self._waiting = []
                await self._put(shares)
        finally:
            self.task = None

    async def _put(self, shares: Sequence[_Share]) -> None:
        try:
            await self._send_all(shares)
        except BaseException as error:
            unavailable = error if isinstance(error, LogUnavailable) else LogUnavailable("the append was broken off")
            for share in shares:
                share.fail(unavailable)
            if not isinstance(error, LogUnavailable):
                raise
        finally:
            self.overdue = False

    async def _send_all(self, shares: Sequence[_Share]) -> None:
        messages = [message for share in shares for message in share.messages]
        owners = iter([share for share in shares for _ in share.messages])
        sent = 0
        while sent < len(messages):
            count, offset, appended_at = await self._send(self._partition, messages, sent)
            self.overdue = False
            for position in range(offset, offset + count):
                share = next(owners)
                share.receipts.append(Receipt(self._partition, position, appended_at))
                if len(share.receipts) == len(share.messages) and not share.done.done():
                    share.done.set_result(share.receipts)
            sent += count
