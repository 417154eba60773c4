"""Outcomes on their way to the server: at once when idle, many in one request under load."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from uuid import uuid4

import msgspec

from taskscheduler.client.backoff import RETRYABLE, Backoff, Reply
from taskscheduler.client.claims import Send
from taskscheduler.client.clock import Clock
from taskscheduler.client.errors import ApiError
from taskscheduler.client.job import Outcome, failure
from taskscheduler.client.requests import reader
from taskscheduler.client.transport import ERRORS

MOST_OUTCOMES = 100
MOST_BYTES = 900 * 1024
REPLY_SECONDS = 10.0

log = logging.getLogger("taskscheduler.client")


class Entry(msgspec.Struct, frozen=True):
    """The outcome of a claim; at `lost_at` (by the clock) its lease has surely run out. `refused`: it is a stand-in."""

    token: str
    outcome: Outcome
    lost_at: float
    name: str
    refused: bool = False


class _Status(msgspec.Struct, frozen=True, kw_only=True):
    status: int


class _Statuses(msgspec.Struct, frozen=True, kw_only=True):
    results: list[_Status]


_read_statuses = reader(_Statuses)


class Reporter:
    """Delivers outcomes until the server has answered for each, or its lease ran out; `idle` is set while it has none.

    One request is under way at a time: what ends meanwhile goes with the next one.
    """

    def __init__(self, send: Send, *, clock: Clock, backoff: Backoff, delivered: Callable[[], None]) -> None:
        self._send = send
        self._clock = clock
        self._backoff = backoff
        self._delivered = delivered
        self._waiting: deque[Entry] = deque()
        self._under_way = 0
        self._filled = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def backlog(self) -> int:
        """How many outcomes the server has not answered for."""
        return len(self._waiting) + self._under_way

    def add(self, entry: Entry) -> None:
        """Take an outcome."""
        self._waiting.append(entry)
        self.idle.clear()
        self._filled.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            await self._filled.wait()
            batch = self._take()
            self._under_way = len(batch)
            await self._deliver(batch)
            self._under_way = 0
            if not self._waiting:
                self._filled.clear()
                self.idle.set()
            self._delivered()

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        while self._waiting and len(batch) < MOST_OUTCOMES:
            size += len(self._waiting[0].outcome.body) + len(self._waiting[0].token) + 20
            if batch and size > MOST_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _deliver(self, batch: list[Entry]) -> None:
        key = uuid4().hex
        while batch:
            reply = await self._report(batch, key)
            if reply is not None and reply.status == 200:
                left = self._settle(batch, reply)
            elif reply is not None and 400 <= reply.status < 500 and reply.status not in RETRYABLE:
                await self._refused(batch, reply)
                return
            else:
                left = batch
            if not left:
                self._backoff.reset()
                return
            await self._clock.sleep(self._backoff.next(reply.retry_after() if reply else None))
            left = self._still_held(left)
            if left != batch:
                batch, key = left, uuid4().hex

    async def _report(self, batch: list[Entry], key: str) -> Reply | None:
        body = b'{"outcomes":[' + b",".join(entry.outcome.report(entry.token) for entry in batch) + b"]}"
        try:
            return await self._send("/api/claims/report", body, {"Idempotency-Key": key}, REPLY_SECONDS)
        except ERRORS as error:
            log.debug("outcomes could not be reported: %s", error)
            return None

    def _settle(self, batch: list[Entry], reply: Reply) -> list[Entry]:
        left: list[Entry] = []
        try:
            statuses = [result.status for result in _read_statuses(reply).results]
        except ApiError as error:
            log.error("the reply to a report cannot be read: %s", error.detail)
            return left
        for entry, status in zip(batch, statuses, strict=False):
            if status in RETRYABLE or status >= 500:
                left.append(entry)
            elif status in (404, 409, 410):
                log.warning("%s: the claim was lost, its outcome does not count", entry.name)
            elif status >= 400:
                self._stand_in(entry, status)
        return left

    async def _refused(self, batch: list[Entry], reply: Reply) -> None:
        if len(batch) == 1:
            self._stand_in(batch[0], reply.status)
            return
        # One bad outcome must not take the others with it.
        middle = len(batch) // 2
        await self._deliver(batch[:middle])
        await self._deliver(batch[middle:])

    def _stand_in(self, entry: Entry, status: int) -> None:
        log.error("%s: the server refused its outcome with %s", entry.name, status)
        if not entry.refused:
            outcome = failure("OutcomeRefused", f"the server refused the outcome with {status}", retryable=False)
            self.add(Entry(entry.token, outcome, entry.lost_at, entry.name, refused=True))

    def _still_held(self, batch: list[Entry]) -> list[Entry]:
        now = self._clock.now()
        for entry in batch:
            if entry.lost_at <= now:
                log.warning("%s: its lease ran out before the outcome could be reported", entry.name)
        return [entry for entry in batch if entry.lost_at > now]
