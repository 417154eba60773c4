"""Appends to Kafka, with a producer that never has an answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from taskscheduler.commands.ports import LogUnavailable

pytest.importorskip("aiokafka")

from taskscheduler.streams.kafka.appender import Appender
from taskscheduler.streams.kafka.clock import ClockCheck

BOUND = 0.1


class _Silent:
    """A producer, and what makes them: it takes whatever comes, and says nothing."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def get(self) -> _Silent:
        return self

    def give_up(self, producer: Any) -> None:
        """There is only this one."""

    def create_batch(self) -> _Silent:
        return self

    def append(self, *, timestamp: int | None, key: bytes, value: bytes) -> object:
        self.sent.append(value)
        return self

    async def send_batch(self, batch: _Silent, topic: str, partition: int) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("busy", [0, BOUND / 2], ids=["idle", "busy"])
async def test_after_one_was_given_up_the_next_is_refused_at_once(busy: float) -> None:
    silent: Any = _Silent()
    appender = Appender(silent, "topic", bound=BOUND, clock=lambda: 0, clock_check=ClockCheck())
    asyncio.get_running_loop().call_soon(time.sleep, busy)  # so that the batch leaves long after it was asked for
    with pytest.raises(LogUnavailable, match="did not say within"):
        await appender.append({0: [(b"key", b"first")]})
    with pytest.raises(LogUnavailable, match="has not answered for a while"):
        await appender.append({0: [(b"key", b"second")]})
    assert silent.sent == [b"first"], "what was refused never leaves"
    await appender.close()
